"""Entries of earlier releases, which named an evaluator with the release that trained it, and so missed in the next.

``detection/1 nas-0.1.0`` is ``detection/1`` now: an evaluator has a version of its own, which says when its results are
others.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from nas.cache.records import question_digest
from nas.cache.tables import CacheSchema, equals

if TYPE_CHECKING:
    import sqlalchemy as sa

_RELEASE = re.compile(r" nas-\d+(\.\w+)*(\+[\w.]+)?$")


def has_earlier_entries(c: sa.Connection, schema: CacheSchema) -> bool:
    """Whether there are any."""
    return bool(_earlier_questions(c, schema))


def adopt_earlier_entries(c: sa.Connection, schema: CacheSchema) -> None:
    """Name the evaluators of earlier entries as this release does, and merge what has become one.

    Of two observations with one ordinal, one that counts goes before one that was marked as forgotten, then the one
    that was recorded first. Claims stay as they are: who holds one frees it under the name that it was made with.
    """
    questions, observations = schema.questions, schema.observations
    for question in _earlier_questions(c, schema):
        evaluator = _RELEASE.sub("", question.evaluator)
        adopted = question_digest(evaluator, question.data, question.fidelity, question.seeds)
        if c.execute(questions.select().where(questions.c.id == adopted)).first() is None:
            columns = {"data": question.data, "fidelity": question.fidelity, "seeds": question.seeds}
            c.execute(questions.insert().values(id=adopted, evaluator=evaluator, **columns))
        for row in c.execute(observations.select().where(observations.c.question == question.id)).all():
            _adopt(c, observations, row, adopted)
        c.execute(questions.delete().where(questions.c.id == question.id))


def _adopt(c: sa.Connection, observations: sa.Table, row: sa.Row[Any], question: str) -> None:
    """Put an observation under its new cache key, where it is the better of two."""
    this = {"network": row.network, "question": row.question, "ordinal": row.ordinal}
    there = {**this, "question": question}
    rival = c.execute(observations.select().where(*equals(observations, there))).first()
    if rival is not None:
        if (rival.forgotten, rival.recorded) <= (row.forgotten, row.recorded):
            c.execute(observations.delete().where(*equals(observations, this)))
            return
        c.execute(observations.delete().where(*equals(observations, there)))
    c.execute(observations.update().where(*equals(observations, this)).values(question=question))


def _earlier_questions(c: sa.Connection, schema: CacheSchema) -> list[sa.Row[Any]]:
    questions = schema.questions
    named = c.execute(questions.select().where(questions.c.evaluator.like("% nas-%"))).all()
    return [question for question in named if _RELEASE.search(question.evaluator)]
