"""The searcher of a search: by name or as an object, repaired to within the limits, advised by an earlier study."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from evaluators.training.fidelity import evaluators_by_fidelity
from nas.engine.problem import SearchProblem
from nas.hashing.deduplicate import Deduplicator
from nas.searchers.catalog import make_searcher
from nas.searchers.multi_fidelity import as_multi_fidelity
from nas.searchers.protocol import Featurizer, KnownFeatures, Outcome, Searcher
from nas.searchers.repair import RepairingSearcher
from nas.searchers.warm_start import PriorStudyModel, WarmStartSearcher, transfer_from_study, with_prior_model
from search_spaces.space.genotype import Genotype
from search_spaces.space.space import Space

if TYPE_CHECKING:
    from optuna.samplers import BaseSampler

SearcherFunction = Callable[[Space, random.Random, Sequence[Outcome]], Searcher]


def searcher_name(searcher: str | BaseSampler | SearcherFunction) -> str:
    """A searcher's name; empty for an object."""
    return searcher if isinstance(searcher, str) else ""


class SearcherFactory:
    """Makes the searchers of one search. Raises what ``make_searcher`` does, at once, and ``ValueError`` for a searcher
    that asks for shares of the full training where this search cannot train for them.

    ``custom``: an Optuna sampler, or a function of (space, random source, known outcomes) that returns a searcher, in
    place of the name in the settings.
    """

    def __init__(
        self,
        problem: SearchProblem,
        deduplicator: Deduplicator,
        custom: BaseSampler | SearcherFunction | None = None,
        warm_start_points: Sequence[Genotype] = (),
        prior_model: PriorStudyModel | None = None,
    ) -> None:
        self._problem = problem
        self._deduplicator = deduplicator
        self._custom = custom
        self._warm_start_points = warm_start_points
        self._prior_model = prior_model
        # A searcher that cannot be made is an error before anything is opened or written.
        searcher = self._make(random.Random(0), (), lambda genotype: KnownFeatures(genotype.to_json()))
        _check_fidelities(as_multi_fidelity(searcher).fidelities, problem)

    def __call__(
        self, rng: random.Random, history: Sequence[Outcome], featurize: Featurizer, restarted: bool
    ) -> Searcher:
        """A searcher that starts from ``history``. One that is made ``restarted`` was advised before."""
        settings = self._problem.settings
        if self._prior_model is not None:
            featurize = with_prior_model(featurize, self._prior_model)
        searcher = self._make(rng, history, featurize)
        if settings.repair:
            repairs = random.Random(f"{settings.seed}:{len(history)}:repair")
            searcher = RepairingSearcher(searcher, self._problem.space, repairs, featurize)
        return (
            searcher
            if restarted or not self._warm_start_points
            else WarmStartSearcher(searcher, self._warm_start_points)
        )

    def _make(self, rng: random.Random, history: Sequence[Outcome], featurize: Featurizer) -> Searcher:
        problem, settings = self._problem, self._problem.settings
        if self._custom is None:
            return make_searcher(
                settings.searcher,
                problem.space,
                rng,
                history,
                network_key=self._deduplicator.name,
                featurize=featurize,
                objectives=len(problem.objectives),
                **settings.searcher_options,
            )
        if settings.searcher_options:
            raise ValueError("a searcher that is an object has its options already; leave searcher_options out")
        if not hasattr(self._custom, "sample_relative"):
            return self._custom(problem.space, rng, history)
        from nas.searchers.optuna_bridge.sampler_as_searcher import OptunaSearcher

        return OptunaSearcher(self._custom, problem.space, rng, history, objectives=len(problem.objectives))  # type: ignore[arg-type]


def _check_fidelities(fidelities: Sequence[float], problem: SearchProblem) -> None:
    """That the search can train for them: ``ValueError`` says what to change."""
    settings = problem.settings
    if len(fidelities) == 1:
        return
    what = f"the searcher {settings.searcher} " if settings.searcher else "a searcher that "
    if problem.evaluator is None:
        raise ValueError(f"{what}trains candidates: say how many in full, as in --train 12, with --score none")
    if problem.score is not None:
        raise ValueError(
            f"{what}trains all that it asks for, which leaves a zero-cost score nothing to choose: --score none"
        )
    if settings.repeats > 1 or settings.revisit_probability > 0:
        raise ValueError(f"{what}trains a network once for each share: leave evaluations at 1 and forget at 0")
    evaluators_by_fidelity(problem.evaluator, fidelities)


def warm_start_from_study(
    study: str, problem: SearchProblem, directory: Path
) -> tuple[list[Genotype], PriorStudyModel | None]:
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
    return transfer_from_study(
        [c for c in candidates if not c.reference], problem.objectives, problem.space, rng, count
    )
