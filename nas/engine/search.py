"""Searches, from arguments or from settings: what they name is made, a strategy run, and the result put together."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Mapping, Sequence
from contextlib import closing, nullcontext
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evaluators.devices.device import Device
from evaluators.evaluator import QualityEvaluator
from hardware_models.composed.corrected import CorrectedModel
from hardware_models.composed.multi_device import HardwareSpec
from nas.cache import EvaluationCache
from nas.candidates.constraints import Limit
from nas.candidates.objectives import Objective
from nas.candidates.published_baselines import baseline_rows
from nas.engine.arguments import SpaceSpec, load_for_default_metric, settings_from_arguments
from nas.engine.candidate_estimates import CandidateEstimator
from nas.engine.candidate_pool import CandidatePool
from nas.engine.device_feedback import DeviceFeedback
from nas.engine.problem import SearchProblem, build_problem, study_fingerprint
from nas.engine.progress import Reporter, SilentReporter
from nas.engine.reference_networks import ReferenceNetworks
from nas.engine.result import SearchResult, Tally
from nas.engine.searcher_factory import SearcherFactory, SearcherFunction, warm_start_from_study
from nas.engine.settings import SearchSettings
from nas.engine.strategies.predict_only import PredictOnly
from nas.engine.strategies.score_then_train import ScoreThenTrain
from nas.engine.strategies.strategy import SearchState, Strategy
from nas.engine.strategies.train_every_candidate import TrainEveryCandidate
from nas.engine.training_jobs import TrainingScheduler
from nas.engine.verification import (
    DeviceSpec,
    Verification,
    VerificationError,
    device_and_label,
    open_verification_device,
    with_correction,
)
from nas.execution.cached_training import CACHE_OFF, open_cache
from nas.execution.executor import Executor
from nas.execution.in_process import InProcessExecutor
from nas.execution.local_processes import LocalProcessExecutor
from nas.hashing.deduplicate import Deduplicator
from nas.hashing.equivalence import DEFAULT
from nas.searchers.multi_fidelity import as_multi_fidelity
from nas.study.study import Study

if TYPE_CHECKING:
    from optuna.samplers import BaseSampler

_DeviceSetup = tuple[Device, CorrectedModel, str]


def search(
    space: SpaceSpec = "mobiledet",
    hw: HardwareSpec = "edgetpu",
    *,
    limits: Mapping[str, float] | Sequence[str | Limit] | None = None,
    objectives: Sequence[str | Objective] | None = None,
    trials: int = 1000,
    train: int = 12,
    data: str = "digits",
    evaluator: QualityEvaluator | Mapping[str, Any] | None = None,
    score: str = "entropy",
    searcher: str | BaseSampler | SearcherFunction = "auto",
    searcher_options: Mapping[str, Any] | None = None,
    task: str = "",
    rules: str = DEFAULT,
    evaluations: int = 1,
    forget: float = 0.0,
    references: bool = True,
    seed: int = 0,
    repair: bool = True,
    in_flight: int = 4,
    warm_start: str = "",
    verify: int | None = None,
    device: DeviceSpec | None = None,
    baselines: bool = False,
    space_options: Mapping[str, Any] | None = None,
    study: str | None = None,
    storage: str | Path | None = None,
    cache: str | Path | EvaluationCache | None = "",
    directory: str | Path = "nas-runs",
    workers: int | None = None,
    reporter: Reporter | None = None,
) -> SearchResult:
    """Search ``space`` for networks that are good and fit ``hw``; the result holds their Pareto front.

    ``trials`` distinct candidates are costed and scored; the ``train`` most promising are trained on ``data``
    (``digits``, ``folder:PATH``, ``voc:PATH``, ``coco:PATH``). ``limits`` are hard: ``{"latency_ms": 7.0}`` or
    ``["latency<=7ms"]``. ``score="none"`` trains every candidate within the limits until ``train`` are trained;
    ``searcher="halving:gp"`` trains for a fraction of the steps first, which costs that fraction of ``train``.
    ``searcher`` is a name of ``nas.searchers.catalog.SEARCHERS``, ``optuna:TPESampler`` or ``halving:gp``, an Optuna
    sampler,
    or a function of (space, random source, earlier outcomes) that returns a searcher. Genotypes over a limit are
    repaired by predicted cost alone before they count, unless ``repair`` is off. ``warm_start`` names an earlier study:
    its best networks are tried first, and a model of it becomes a feature for searchers that learn. With
    ``score="none"``, ``in_flight`` candidates are in training when the next is asked for.
    ``evaluator`` is a mapping of settings for the data's evaluator, or an evaluator of one's own. ``workers`` processes
    train side by side, one thread each (default: the machine's cores; 0: in this process); their number does not
    change the result.

    ``task`` puts a head for ``classify``, ``detect`` or ``segment`` on the space's networks, which are then trained for
    it. By default they keep their own where the data can train it (``digits`` can train all three), or get the data's
    first task.

    Candidates that are one network under ``rules`` (``functional_hash``) are one candidate. What their training gave
    is kept in ``cache`` (a file, an SQLAlchemy URL or an ``EvaluationCache``; by default a file under ``directory``;
    ``None``: nothing is kept nor shared) and serves later searches. A network is trained up to ``evaluations`` times,
    with a seed each time, and its quality is their mean: at once, or with ``score="none"`` once each time that it is
    proposed; then ``forget`` is the probability that a network that was trained so often is trained again.

    ``hw`` may be several, as a list or ``"pixel3_cpu,samsung_s7"``: then ``latency`` is that of the slowest for each
    network, and ``latency@pixel3_cpu`` one device's own, in limits and objectives. A network with operations that a
    device cannot run is over a limit.

    ``device`` is a real one: an address for ``open_device``, or an object with its ``measure``; ``{name: device}`` says
    which of several ``hw`` it stands for. While searching, the best ``verify`` candidates (default 8) are measured on
    it, and later candidates are predicted with the correction that these teach. Then the same seed no longer gives the
    same result, for a device does not answer twice alike. ``baselines=True`` puts the published networks of the task
    beside the front, as they are predicted on ``hw``.

    Every finished candidate goes once into an Optuna study: ``storage`` is any Optuna URL, by default a journal file
    under ``directory``. Calling again with the same arguments goes on where a stopped search was, or returns its
    result. The same seed gives the same result.

    Raises ``ValueError``s of its own small classes (``UnknownName``, ``SpaceError``, ``ObjectiveError``,
    ``StudyError``, ``DataError``) for settings that make no sense, before anything is evaluated.
    """
    loaded_space, default_quality = load_for_default_metric(
        space, data, evaluator, trains=train > 0, task=task, space_options=space_options or {}
    )
    settings = settings_from_arguments(
        space=space,
        hw=hw,
        space_options=dict(space_options or {}),
        limits=limits,
        objectives=objectives,
        default_quality=default_quality,
        data=data,
        evaluator=evaluator,
        score=score,
        searcher=searcher,
        searcher_options=dict(searcher_options or {}),
        task=task,
        rules=rules,
        repeats=evaluations,
        revisit_probability=forget,
        trials=trials,
        train=train,
        train_published=references,
        seed=seed,
        repair=repair,
        in_flight=in_flight,
        warm_start=warm_start,
        verify=verify,
        device=device,
    )
    return run(
        settings,
        space=loaded_space,
        hw=hw,
        evaluator=None if isinstance(evaluator, Mapping) else evaluator,
        searcher=None if isinstance(searcher, str) else searcher,
        device=device,
        baselines=baselines,
        study=study,
        storage=storage,
        cache=cache,
        directory=directory,
        workers=workers,
        reporter=reporter,
    )


def run(
    settings: SearchSettings,
    *,
    space: SpaceSpec | None = None,
    hw: HardwareSpec | None = None,
    evaluator: QualityEvaluator | None = None,
    searcher: BaseSampler | SearcherFunction | None = None,
    device: DeviceSpec | None = None,
    baselines: bool = False,
    study: str | None = None,
    storage: str | Path | None = None,
    cache: str | Path | EvaluationCache | None = "",
    directory: str | Path = "nas-runs",
    workers: int | None = None,
    reporter: Reporter | None = None,
) -> SearchResult:
    """As ``search``, from settings.

    ``space``, ``hw`` and ``searcher`` stand for what their texts in the settings cannot say.
    """
    _require_objects(settings, space, hw, searcher)
    started = time.monotonic()
    directory = Path(directory)
    problem = build_problem(settings, space or settings.space, hw or settings.hw, evaluator)
    problem, device_setup = _set_up_device(problem, device)
    deduplicator = Deduplicator(problem.space, settings.rules)
    estimator = CandidateEstimator(problem, deduplicator)
    warm_start_points, prior_model = warm_start_from_study(settings.warm_start, problem, directory)
    make_searcher = SearcherFactory(
        problem, deduplicator, estimator.featurize, searcher, warm_start_points, prior_model
    )
    device_name = device_setup[0].name if device_setup is not None and not settings.device else ""
    study_record, name = _open_study(settings, problem, study, storage, directory, device_name)
    executor = _choose_executor(problem, workers, custom_evaluator=evaluator is not None)
    evaluation_cache, owns_cache = open_cache(CACHE_OFF if problem.evaluator is None else cache, directory)
    verification = None
    if device_setup is not None:
        verification = Verification(*device_setup, study_record, seed=settings.seed)
    tally = Tally()
    state = SearchState(problem, CandidatePool(problem, estimator, tally), study_record, tally)
    with (
        closing(executor),
        closing(evaluation_cache) if evaluation_cache is not None and owns_cache else nullcontext(),
        closing(verification) if verification is not None else nullcontext(),
    ):
        reporter = reporter or SilentReporter()
        feedback = DeviceFeedback(state, verification, reporter)
        _make_strategy(state, make_searcher, deduplicator, executor, evaluation_cache, feedback, reporter).run()
        tally.collisions, tally.hash_seconds = deduplicator.collisions, deduplicator.seconds
        tally.seconds = time.monotonic() - started
        study_record.note("tally", asdict(tally))
    return SearchResult(
        study=name,
        directory=directory / name,
        settings=settings.to_document(),
        verified=() if verification is None else tuple(verification.verified.values()),
        baselines=baseline_rows(problem.space, problem.hardware) if baselines else (),
        **_findings(state),
    )


def _findings(state: SearchState) -> dict[str, Any]:
    """The fields of a ``SearchResult`` that the search itself decides."""
    problem = state.problem
    return {
        "space": problem.space,
        "objectives": problem.objectives,
        "limits": problem.limits,
        "candidates": tuple(sorted(state.candidate_pool.candidates.values(), key=lambda c: c.number)),
        "references": tuple(state.references),
        "proxy": problem.evaluator.describe() if problem.evaluator else "",
        "tally": state.tally,
    }


def _require_objects(
    settings: SearchSettings,
    space: SpaceSpec | None,
    hw: HardwareSpec | None,
    searcher: BaseSampler | SearcherFunction | None,
) -> None:
    """Raise ``ValueError`` for what the settings have no text of and nobody passed."""
    objects = (("space", settings.space, space), ("hw", settings.hw, hw), ("searcher", settings.searcher, searcher))
    for name, text, passed in objects:
        if not text and passed is None:
            raise ValueError(
                f"this search was started from Python with an object for {name}; call nas.search with it again"
            )


def _set_up_device(problem: SearchProblem, device: DeviceSpec | None) -> tuple[SearchProblem, _DeviceSetup | None]:
    """The problem with a hardware model that measurements correct, and the device, that model and its latency metric.

    Nothing changes where nothing is measured. The device is open; the caller closes it.
    """
    settings = problem.settings
    if settings.verify < 0:
        raise VerificationError(f"verify must be at least 0, not {settings.verify}")
    if not settings.verify:
        return problem, None
    if device is None and not settings.device:
        raise VerificationError(
            f"verify needs a real device, on which {settings.verify} candidates are measured: --device litert,"
            " onnxruntime, adb://SERIAL or ssh://user@host/litert; from Python, device="
        )
    device_or_address, label = device_and_label(device or settings.device)
    hardware, model, metric = with_correction(problem.hardware, label)
    return replace(problem, hardware=hardware), (open_verification_device(device_or_address, model), model, metric)


def _open_study(
    settings: SearchSettings,
    problem: SearchProblem,
    study: str | None,
    storage: str | Path | None,
    directory: Path,
    device_name: str,
) -> tuple[Study, str]:
    """The study of this search and its name, by default one that tells searches apart. Raises ``StudyError``.

    It holds the settings as the user wrote them, not with the task that the problem may have added.
    """
    fingerprint = study_fingerprint(problem, device_name)
    name = study or f"{problem.space.name}-{problem.hardware.name}-{fingerprint}"
    document = {**settings.to_document(), "fingerprint": fingerprint}
    location = storage or directory / name / "study.journal"
    return Study.open(location, name, problem.objectives, problem.limits, document), name


def _choose_executor(problem: SearchProblem, workers: int | None, *, custom_evaluator: bool) -> Executor:
    """This process for evaluators that are objects or look qualities up in a table, else worker processes."""
    is_tabular = hasattr(problem.evaluator, "evaluate_architecture")
    if custom_evaluator or workers == 0 or is_tabular:
        return InProcessExecutor()
    return LocalProcessExecutor(workers or os.cpu_count() or 1)


def _make_strategy(
    state: SearchState,
    make_searcher: SearcherFactory,
    deduplicator: Deduplicator,
    executor: Executor,
    cache: EvaluationCache | None,
    feedback: DeviceFeedback,
    reporter: Reporter,
) -> Strategy:
    """The strategy that the settings ask for, with its first searcher."""
    problem = state.problem
    searcher = make_searcher(random.Random(problem.settings.seed), (), restarted=False)
    if problem.evaluator is None:
        return PredictOnly(state, make_searcher, searcher, feedback, reporter)
    reference_networks = ReferenceNetworks(problem, deduplicator)
    scheduler = TrainingScheduler(
        problem,
        executor,
        cache,
        state.tally,
        fidelities=as_multi_fidelity(searcher).fidelities,
        recorded_candidate=state.recorded_candidate,
        training_graph=reference_networks.training_graph,
    )
    if problem.score is None:
        multi_fidelity = as_multi_fidelity(searcher)
        return TrainEveryCandidate(state, multi_fidelity, scheduler, feedback, reporter, uses_cache=cache is not None)
    return ScoreThenTrain(state, make_searcher, searcher, scheduler, reference_networks, feedback, reporter)
