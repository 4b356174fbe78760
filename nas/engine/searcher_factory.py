"""The searchers of one search: by name or as an object, with constraint repair, warm-started from an earlier study."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

from nas.engine.problem import SearchProblem
from nas.hashing.deduplicate import Deduplicator
from nas.searchers.catalog import make_searcher
from nas.searchers.multi_fidelity import as_multi_fidelity
from nas.searchers.protocol import Featurizer, KnownFeatures, Outcome, Searcher
from nas.searchers.repair import RepairingSearcher
from nas.searchers.warm_start import PriorStudyModel, WarmStartSearcher, transfer_from_study, with_prior_model
from nas.study.load import load_candidates, stored_study
from search_spaces.space.genotype import Genotype

_MAX_WARM_START_POINTS = 8


class SearcherFactory:
    """Makes the searchers of one search.

    The settings' ``searcher`` is a name, an Optuna sampler, or a function of (space, random source, earlier outcomes)
    that returns a searcher. ``warm_start_points`` are tried first, and ``prior_model`` adds a feature to what
    ``featurize`` knows; both come from an earlier study. Raises at once what ``make_searcher`` does, and ``ValueError``
    for a searcher of several fidelities where this search cannot train at them.
    """

    def __init__(
        self,
        problem: SearchProblem,
        deduplicator: Deduplicator,
        featurize: Featurizer,
        warm_start_points: Sequence[Genotype] = (),
        prior_model: PriorStudyModel | None = None,
    ) -> None:
        self._problem = problem
        self._deduplicator = deduplicator
        self._warm_start_points = warm_start_points
        self._featurize = featurize if prior_model is None else with_prior_model(featurize, prior_model)
        # A searcher that cannot be made is an error before anything is opened or written.
        searcher = self._make(random.Random(0), (), lambda genotype: KnownFeatures(genotype.to_json()))
        _check_fidelities(as_multi_fidelity(searcher).fidelities, problem)

    def __call__(self, rng: random.Random, history: Sequence[Outcome], *, restarted: bool) -> Searcher:
        """A searcher that starts from ``history``; one that is ``restarted`` had its warm start before."""
        settings = self._problem.settings
        searcher = self._make(rng, history, self._featurize)
        if settings.repair:
            repair_rng = random.Random(f"{settings.seed}:{len(history)}:repair")
            searcher = RepairingSearcher(searcher, self._problem.space, repair_rng, self._featurize)
        if restarted or not self._warm_start_points:
            return searcher
        return WarmStartSearcher(searcher, self._warm_start_points)

    def _make(self, rng: random.Random, history: Sequence[Outcome], featurize: Featurizer) -> Searcher:
        problem, settings = self._problem, self._problem.settings
        custom = settings.searcher
        if isinstance(custom, str):
            return make_searcher(
                custom,
                problem.space,
                rng,
                history,
                network_key=self._deduplicator.network_key,
                featurize=featurize,
                objectives=len(problem.objectives),
                **settings.searcher_options,
            )
        if settings.searcher_options:
            raise ValueError("a searcher that is an object has its options already; leave searcher_options out")
        if not hasattr(custom, "sample_relative"):
            return custom(problem.space, rng, history)
        from nas.searchers.optuna_bridge.sampler_as_searcher import OptunaSearcher  # Optuna takes a second to import

        return OptunaSearcher(custom, problem.space, rng, history, objectives=len(problem.objectives))  # type: ignore[arg-type]


def _check_fidelities(fidelities: Sequence[float], problem: SearchProblem) -> None:
    """Raise ``ValueError`` where the search cannot train at these fidelities; it says what to change."""
    settings = problem.settings
    if len(fidelities) == 1:
        return
    what = f"the searcher {settings.searcher} " if isinstance(settings.searcher, str) else "a searcher that "
    if problem.evaluator is None:
        raise ValueError(f"{what}trains candidates: say how many in full, as in --train 12, with --score none")
    if problem.score is not None:
        raise ValueError(
            f"{what}trains all that it asks for, which leaves a zero-cost score nothing to choose: --score none"
        )
    if settings.repeats > 1 or settings.revisit_probability > 0:
        raise ValueError(
            f"{what}trains a network once at each fidelity: leave repeats at 1 and revisit_probability at 0"
        )
    problem.evaluator.check_fidelities(fidelities)


def warm_start_from_study(
    study: str, problem: SearchProblem, directory: Path
) -> tuple[list[Genotype], PriorStudyModel | None]:
    """Warm-start points and a model from an earlier study; none where ``study`` is empty.

    ``study``: its name in ``directory``, or its folder. Raises ``UnknownName``, ``StudyError``.
    """
    if not study:
        return [], None
    storage, name = stored_study(study, directory)
    _, candidates, _ = load_candidates(storage, name)
    count = _MAX_WARM_START_POINTS
    if problem.evaluator is not None:
        count = max(1, min(_MAX_WARM_START_POINTS, problem.settings.train // 3))
    rng = random.Random(f"{problem.settings.seed}:warm start")
    return transfer_from_study(
        [c for c in candidates if not c.reference], problem.objectives, problem.space, rng, count, problem.metrics
    )
