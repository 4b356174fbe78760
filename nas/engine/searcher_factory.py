"""The searcher of a search: by name or as an object, repaired to within the limits, advised by an earlier study."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from evaluators.training.fidelity import shortened_to
from nas.engine.problem import Problem
from nas.hashing.deduplicate import Recogniser
from nas.searchers.catalog import make_searcher
from nas.searchers.multi_fidelity import by_share
from nas.searchers.protocol import Free, Look, Outcome, Searcher
from nas.searchers.repair import Repairing
from nas.searchers.warm_start import Advised, Recollection, earlier, with_recollection
from search_spaces.space.genotype import Genotype
from search_spaces.space.space import Space

if TYPE_CHECKING:
    from optuna.samplers import BaseSampler

MakeOwn = Callable[[Space, random.Random, Sequence[Outcome]], Searcher]


def searcher_text(searcher: str | BaseSampler | MakeOwn) -> str:
    """A searcher's name; empty for an object."""
    return searcher if isinstance(searcher, str) else ""


class Proposals:
    """Makes the searchers of one search. Raises what ``make_searcher`` does, at once, and ``ValueError`` for a searcher
    that asks for shares of the full training where this search cannot train for them.

    ``own``: an Optuna sampler, or a function of (space, random source, known outcomes) that returns a searcher, in
    place of the name in the settings.
    """

    def __init__(
        self,
        problem: Problem,
        recogniser: Recogniser,
        own: BaseSampler | MakeOwn | None = None,
        advice: Sequence[Genotype] = (),
        recollection: Recollection | None = None,
    ) -> None:
        self._problem = problem
        self._recogniser = recogniser
        self._own = own
        self._advice = advice
        self._recollection = recollection
        # A searcher that cannot be made is an error before anything is opened or written.
        searcher = self._made(random.Random(0), (), lambda genotype: Free(genotype.to_json()))
        _check_shares(by_share(searcher).shares, problem)

    def __call__(self, rng: random.Random, known: Sequence[Outcome], look: Look, anew: bool) -> Searcher:
        """A searcher that starts from ``known``. One that is made ``anew`` was advised before."""
        settings = self._problem.settings
        if self._recollection is not None:
            look = with_recollection(look, self._recollection)
        searcher = self._made(rng, known, look)
        if settings.repair:
            repairs = random.Random(f"{settings.seed}:{len(known)}:repair")
            searcher = Repairing(searcher, self._problem.space, repairs, look)
        return searcher if anew or not self._advice else Advised(searcher, self._advice)

    def _made(self, rng: random.Random, known: Sequence[Outcome], look: Look) -> Searcher:
        problem, settings = self._problem, self._problem.settings
        if self._own is None:
            return make_searcher(
                settings.searcher,
                problem.space,
                rng,
                known,
                name_of=self._recogniser.name,
                look=look,
                objectives=len(problem.objectives),
                **settings.searcher_options,
            )
        if settings.searcher_options:
            raise ValueError("a searcher that is an object has its options already; leave searcher_options out")
        if not hasattr(self._own, "sample_relative"):
            return self._own(problem.space, rng, known)
        from nas.searchers.optuna_bridge.sampler_as_searcher import OptunaSearcher

        return OptunaSearcher(self._own, problem.space, rng, known, objectives=len(problem.objectives))  # type: ignore[arg-type]


def _check_shares(shares: Sequence[float], problem: Problem) -> None:
    """That the search can train for them: ``ValueError`` says what to change."""
    settings = problem.settings
    if len(shares) == 1:
        return
    what = f"the searcher {settings.searcher} " if settings.searcher else "a searcher that "
    if problem.evaluator is None:
        raise ValueError(f"{what}trains candidates: say how many in full, as in --train 12, with --score none")
    if problem.score is not None:
        raise ValueError(
            f"{what}trains all that it asks for, which leaves a zero-cost score nothing to choose: --score none"
        )
    if settings.evaluations > 1 or settings.forget > 0:
        raise ValueError(f"{what}trains a network once for each share: leave evaluations at 1 and forget at 0")
    shortened_to(problem.evaluator, shares)


def advised_by(study: str, problem: Problem, directory: Path) -> tuple[list[Genotype], Recollection | None]:
    """What an earlier study says to this search; nothing where ``study`` is empty.

    ``study``: its name in ``directory``, or its folder. Raises ``UnknownName``, ``StudyError``.
    """
    from nas.study.load import load_candidates, stored_study

    if not study:
        return [], None
    where, name = stored_study(study, directory)
    _, candidates, _ = load_candidates(where, name)
    count = max(1, min(8, problem.settings.train // 3)) if problem.evaluator is not None else 8
    rng = random.Random(f"{problem.settings.seed}:warm start")
    return earlier([c for c in candidates if not c.reference], problem.objectives, problem.space, rng, count)
