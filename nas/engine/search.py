"""Searches: what the settings name is made, a strategy run, and the result put together."""

from __future__ import annotations

import functools
import inspect
import random
import time
from collections.abc import Callable
from contextlib import ExitStack, closing
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, ParamSpec

from evaluators.devices.device import Device
from hardware_models.composed.corrected import CorrectedModel
from nas.cache import EvaluationCache
from nas.candidates.published_baselines import baseline_rows
from nas.engine.candidate_estimates import CandidateEstimator
from nas.engine.candidate_pool import CandidatePool
from nas.engine.device_feedback import DeviceFeedback
from nas.engine.fingerprint import legacy_fingerprint, study_fingerprint
from nas.engine.options import SettingError, options_of
from nas.engine.problem import SearchProblem, build_problem
from nas.engine.progress import SilentReporter
from nas.engine.reference_networks import ReferenceNetworks
from nas.engine.result import METRICS_NOTE, SearchResult, Tally
from nas.engine.searcher_factory import SearcherFactory, warm_start_from_study
from nas.engine.settings import SearchSettings
from nas.engine.state import SearchState
from nas.engine.strategies.catalog import find_strategy, make_strategy
from nas.engine.strategies.strategy import SearchContext
from nas.engine.training_jobs import TrainingScheduler
from nas.engine.verification import (
    Verification,
    VerificationError,
    device_and_label,
    open_verification_device,
    with_correction,
)
from nas.execution.cached_training import CACHE_OFF, open_cache
from nas.execution.catalog import open_executor
from nas.execution.executor import Executor
from nas.hashing.deduplicate import Deduplicator
from nas.searchers.multi_fidelity import as_multi_fidelity
from nas.study.artifacts import WeightStore
from nas.study.earlier_names import EARLIER_NAMES
from nas.study.load import study_name
from nas.study.storage import JOURNAL_NAME, as_study_name, require_study_name
from nas.study.study import Study
from search_spaces.registry import unknown_name

_DeviceSetup = tuple[Device, CorrectedModel, str]
Arguments = ParamSpec("Arguments")


def takes_options_of(
    settings_type: Callable[Arguments, SearchSettings],
) -> Callable[[Callable[[SearchSettings], SearchResult]], Callable[Arguments, SearchResult]]:
    """Makes a function of settings one of their fields, which type checkers and editors see."""

    def decorate(function: Callable[[SearchSettings], SearchResult]) -> Callable[Arguments, SearchResult]:
        @functools.wraps(function)
        def with_options(*args: Arguments.args, **kwargs: Arguments.kwargs) -> SearchResult:
            named: dict[str, Any] = {EARLIER_NAMES.get(name, name): value for name, value in kwargs.items()}
            known = list(inspect.signature(settings_type).parameters)
            for name in named:
                if name not in known:
                    raise TypeError(
                        f"{function.__name__}() takes no such option: {unknown_name('option', name, known)}"
                    )
            return function(settings_type(*args, **named))

        signature = inspect.signature(settings_type)
        with_options.__signature__ = signature.replace(return_annotation="SearchResult")  # type: ignore[attr-defined]
        with_options.__doc__ = f"{inspect.getdoc(function)}\n\nArgs:\n{_described_options(settings_type)}"
        return with_options

    return decorate


def _described_options(settings_type: Any) -> str:
    """One line an option, as documentation tools read them."""
    return "\n".join(f"    {named.name}: {named.option.help}" for named in options_of(settings_type))


@takes_options_of(SearchSettings)
def search(settings: SearchSettings) -> SearchResult:
    """Search ``space`` for networks that are good and fit ``hw``; the result holds their Pareto front.

    ``trials`` distinct candidates are costed and scored; the ``train`` most promising are trained on ``data``.
    ``limits`` are hard: ``{"latency_ms": 7.0}`` or ``["latency<=7ms", "accuracy>=0.9"]``. ``score="none"`` trains every
    candidate within the limits until ``train`` are trained; ``searcher="halving:gp"`` trains for a fraction of the
    steps first, which costs that fraction of ``train``. Genotypes over a limit are repaired by predicted cost alone
    before they count, unless ``repair`` is off.

    ``evaluator`` is a ``nas.Evaluator`` of one's own, in place of training on ``data``; ``training`` holds the settings
    of either. ``searcher`` may be an Optuna sampler, or a function of (space, random source, earlier outcomes) that
    returns a searcher; ``strategy`` a function of a ``SearchContext``; ``executor`` an object with ``submit`` and
    ``close``, which the search leaves open. Worker processes train side by side, one thread each; their number does not
    change the result.

    ``task`` puts a head for ``classify``, ``detect`` or ``segment`` on the space's networks, which are then trained for
    it. By default they keep their own where the data can train it, or get the data's first task.

    Candidates that are one network under ``rules`` (``functional_hash``) are one candidate. What their training gave
    is kept in ``cache`` and serves later searches; ``None``: nothing is kept nor shared.

    ``hw`` may be several: then ``latency`` is that of the slowest for each network, and ``latency@pixel3_cpu`` one
    device's own, in limits and objectives. A network with operations that a device cannot run is over a limit.

    ``device`` is a real one: an address for ``open_device``, or an object with its ``measure``; ``{name: device}`` says
    which of several ``hw`` it stands for. While searching, the best ``verify`` candidates are measured on it, and later
    candidates are predicted with the correction that these teach. Then the same seed no longer gives the same result,
    for a device does not answer twice alike.

    Every finished candidate goes once into an Optuna study: ``storage`` is any Optuna URL, by default a journal file
    under ``directory``. Calling again with the same arguments goes on where a stopped search was, or returns its
    result. The same seed gives the same result.

    Raises ``ValueError``s of its own small classes (``UnknownName``, ``SettingError``, ``SpaceError``,
    ``ObjectiveError``, ``StudyError``, ``DataError``) for settings that make no sense, before anything is evaluated,
    and ``EvaluatorError`` where the first evaluation shows that the evaluator does.
    """
    return run(settings)


def run(settings: SearchSettings) -> SearchResult:
    """As ``search``, from settings."""
    settings = settings.with_training_apart()
    _require_objects(settings)
    if settings.study is not None:
        require_study_name(settings.study)
    started = time.monotonic()
    directory = Path(settings.directory)
    problem = build_problem(settings)
    strategy = find_strategy(settings.strategy, problem)
    problem, device_setup = _set_up_device(problem)
    deduplicator = Deduplicator(problem.space, settings.rules)
    estimator = CandidateEstimator(problem, deduplicator)
    make_searcher = SearcherFactory(
        problem, deduplicator, estimator.featurize, *warm_start_from_study(settings.warm_start, problem, directory)
    )
    with ExitStack() as resources:
        executor = resources.enter_context(
            open_executor(settings.executor or None, workers=settings.workers, evaluator=problem.evaluator)
        )
        study_record, name = _open_study(problem, directory, device_setup)
        cache, owns_cache = open_cache(CACHE_OFF if problem.evaluator is None else settings.cache, directory)
        if cache is not None and owns_cache:
            resources.enter_context(closing(cache))
        verification = None
        if device_setup is not None:
            verification = resources.enter_context(
                closing(Verification(*device_setup, study_record, seed=settings.seed))
            )
        if problem.evaluator is not None:
            rows = {m.name: {n: v for n, v in asdict(m).items() if n != "name"} for m in problem.evaluator.metrics}
            study_record.note(METRICS_NOTE, rows)
        tally = Tally()
        state = SearchState(problem, CandidatePool(problem, estimator, tally), study_record, tally)
        reference_networks = ReferenceNetworks(problem, deduplicator)
        weights = WeightStore(directory / name, settings.keep_weights_mib) if settings.keep_weights_mib else None
        context = _search_context(
            state, make_searcher, reference_networks, executor, cache, weights, directory / name, verification
        )
        make_strategy(strategy, context).run()
        tally.collisions, tally.undecided = deduplicator.collisions, deduplicator.undecided
        tally.hash_seconds = deduplicator.seconds
        tally.seconds = time.monotonic() - started
        study_record.note("tally", asdict(tally))
    result = SearchResult(
        study=name,
        directory=directory / name,
        settings=problem.to_document(),
        space=problem.space,
        metrics=problem.metrics,
        objectives=problem.objectives,
        limits=problem.limits,
        candidates=tuple(sorted(state.candidate_pool.candidates.values(), key=lambda c: c.number)),
        references=tuple(state.references),
        reference_spaces={c.reference: reference_networks.space(c) for c in state.references},
        proxy=problem.evaluator.describe() if problem.evaluator else "",
        tally=tally,
        verified=() if verification is None else tuple(verification.verified.values()),
        baselines=baseline_rows(problem.space, problem.hardware) if settings.baselines else (),
    )
    if weights is not None:
        weights.prune([c.key for c in result.front])
    return result


def _require_objects(settings: SearchSettings) -> None:
    """Raise ``SettingError`` for what a study has no text of and nobody passed again."""
    for name in ("space", "hw", "data", "evaluator", "searcher", "strategy"):
        value = getattr(settings, name)
        if isinstance(value, str) and (value.startswith("<") if name == "evaluator" else not value):
            raise SettingError(
                f"this search was started from Python with an object for {name}; call nas.search with it again"
            )


def _set_up_device(problem: SearchProblem) -> tuple[SearchProblem, _DeviceSetup | None]:
    """The problem with a hardware model that measurements correct, and the device, that model and its latency metric.

    Nothing changes where nothing is measured. The device is open; the caller closes it.
    """
    settings = problem.settings
    if not settings.verify_count:
        return problem, None
    if not settings.device:
        raise VerificationError(
            f"verify needs a real device, on which {settings.verify_count} candidates are measured: --device litert,"
            " onnxruntime, adb://SERIAL or ssh://user@host/litert; from Python, device="
        )
    device_or_address, label = device_and_label(settings.device)
    hardware, model, metric = with_correction(problem.hardware, label)
    return replace(problem, hardware=hardware), (open_verification_device(device_or_address, model), model, metric)


def _open_study(problem: SearchProblem, directory: Path, device_setup: _DeviceSetup | None) -> tuple[Study, str]:
    """The study of this search and its name, by default one that tells searches apart. Raises ``StudyError``.

    It holds the settings as the user wrote them, not with the task that the problem may have added.
    """
    settings = problem.settings
    document = problem.to_document()
    device_name = device_setup[0].name if device_setup is not None and not document["device"] else ""
    fingerprint = study_fingerprint(problem, device_name)
    name = settings.study
    if name is None:
        # a study of the first release has another fingerprint in its name
        fingerprints = [str(fingerprint), legacy_fingerprint(problem, device_name)]
        names = [f"{problem.space.name}-{problem.hardware.name}-{one}" for one in fingerprints if one is not None]
        # and one of a space with a slash in its name may lie in a folder more
        name = study_name([*map(as_study_name, names), *names], directory, settings.storage)
    study = Study.open(
        settings.storage or directory / name / JOURNAL_NAME,
        name,
        problem.objectives,
        problem.limits,
        {**document, "fingerprint": fingerprint.to_document()},
        defaults=SearchSettings().to_document(),
    )
    return study, name


def _search_context(
    state: SearchState,
    make_searcher: SearcherFactory,
    reference_networks: ReferenceNetworks,
    executor: Executor,
    cache: EvaluationCache | None,
    weights: WeightStore | None,
    folder: Path,
    verification: Verification | None,
) -> SearchContext:
    """What the strategy works with, its first searcher among it."""
    problem = state.problem
    reporter = problem.settings.reporter or SilentReporter()
    searcher = make_searcher(random.Random(problem.settings.seed), (), restarted=False)
    trainings = None
    if problem.evaluator is not None:
        trainings = TrainingScheduler(
            state,
            problem.evaluator,
            reference_networks,
            executor,
            cache,
            weights,
            folder / "workspace",
            fidelities=as_multi_fidelity(searcher).fidelities,
        )
    return SearchContext(
        state=state,
        make_searcher=make_searcher,
        searcher=searcher,
        trainings=trainings,
        trainings_are_shared=cache is not None,
        reference_networks=reference_networks,
        feedback=DeviceFeedback(state, reference_networks, verification, reporter),
        reporter=reporter,
    )
