"""Executors by name: a table of strings, and the executor that a text names.

A row names a factory, ``factory(*, workers, ...) -> Executor``; ``workers`` is how many to use, or ``None`` where
nobody said. Other packages add rows through the entry-point group ``nas.executors``; what an entry point names may also
be an executor that is there already.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import parse_qsl

from evaluators.evaluator import Evaluator
from nas.execution.executor import Executor
from nas.execution.transfer import is_transferable
from search_spaces.registry import import_named, named_row, plugin_paths, unknown_name

EXECUTORS: dict[str, str] = {
    "in_process": "nas.execution.in_process:in_process",
    "local": "nas.execution.local_processes:local_processes",
}


class ExecutorError(ValueError):
    """An executor that cannot be made as asked; the message says why."""


def executors() -> dict[str, str]:
    """``package.module:name`` by name, those of installed plug-ins (entry-point group ``nas.executors``) included."""
    return {**plugin_paths("nas.executors"), **EXECUTORS}


def make_executor(spec: str | Executor | None, *, workers: int | None, evaluator: Evaluator | None) -> Executor:
    """The executor that evaluates candidates with ``evaluator``.

    ``spec``: a name of ``EXECUTORS`` or of a plug-in, ``package.module:name`` or ``file.py:name``, each with options
    after a question mark (``local?threads=2``); or an executor, which comes back as it is. ``None``: ``in_process``
    where there are no ``workers``, or the evaluator is absent, not ``isolated`` or cannot be sent; else ``local``.
    Raises ``UnknownName``, and ``ExecutorError`` for options and workers that make no sense.
    """
    return _executor_and_whether_made(spec, workers, evaluator)[0]


@contextmanager
def open_executor(
    spec: str | Executor | None, *, workers: int | None, evaluator: Evaluator | None
) -> Iterator[Executor]:
    """As ``make_executor``; closes it in the end if it was made here. One that was given stays open for its owner."""
    executor, made = _executor_and_whether_made(spec, workers, evaluator)
    try:
        yield executor
    finally:
        if made:
            executor.close()


def _executor_and_whether_made(
    spec: str | Executor | None, workers: int | None, evaluator: Evaluator | None
) -> tuple[Executor, bool]:
    if workers is not None and workers < 0:
        raise ExecutorError(f"workers must be 0 or more, not {workers}")
    if spec is None:
        stays_here = workers == 0 or evaluator is None or not evaluator.isolated or not is_transferable(evaluator)
        spec = "in_process" if stays_here else "local"
    if not isinstance(spec, str):
        return _checked_executor(spec, "the executor"), False
    name, _, query = spec.partition("?")
    target = _named_object(name)
    if isinstance(target, Executor) and not isinstance(target, type):
        if query:
            raise ExecutorError(f"the executor {name!r} is there already and takes no options such as {query!r}")
        return target, False
    if workers == 0 and name != "in_process":
        raise ExecutorError(f"the executor {name!r} needs workers, not 0; in_process has none")
    options = _options(name, query, target)
    try:
        made = target(workers=workers, **options)
    except (TypeError, ValueError) as error:
        raise ExecutorError(f"the executor {spec!r} cannot be made: {error}") from error
    return _checked_executor(made, f"what {name!r} makes"), True


def _named_object(name: str) -> Any:
    return import_named(name if ":" in name else named_row("executor", name, executors()), ExecutorError)


def _checked_executor(value: Any, what: str) -> Executor:
    if isinstance(value, Executor) and not isinstance(value, type):
        return value
    raise ExecutorError(f"{what} is {value!r:.80}; an executor has submit(evaluator, job, middleware) and close()")


def _options(name: str, query: str, factory: Any) -> dict[str, Any]:
    """The options behind the question mark, as the factory's keyword arguments."""
    options = {option: _plain_value(text) for option, text in parse_qsl(query, keep_blank_values=True)}
    if not options:
        return {}
    parameters = inspect.signature(factory).parameters.values()
    if any(p.kind is p.VAR_KEYWORD for p in parameters):
        return options
    known = [p.name for p in parameters if p.kind in (p.KEYWORD_ONLY, p.POSITIONAL_OR_KEYWORD) and p.name != "workers"]
    for option in options:
        if option not in known:
            raise unknown_name(f"option of the executor {name!r}:", option, known)
    return options


def _plain_value(text: str) -> int | float | str:
    for number in (int, float):
        try:
            return number(text)
        except ValueError:
            pass
    return text
