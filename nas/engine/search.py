"""Searches, from arguments or from settings: what these name is made, the loop run, and the result put together."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing, nullcontext
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evaluators.catalog import quality_metric
from evaluators.devices.device import Device
from evaluators.evaluator import QualityEvaluator
from hardware_models.composed.corrected import CorrectedModel
from hardware_models.composed.multi_device import HardwareSpec, hardware_text
from nas.cache import EvaluationCache
from nas.candidates.objectives import Limit, Objective, parse_limits, parse_objectives
from nas.engine.problem import SearchProblem, build_problem, study_fingerprint, trained_task
from nas.engine.progress import Reporter, SilentReporter
from nas.engine.result import SearchResult
from nas.engine.score_then_train import ScoreThenTrain
from nas.engine.searcher_factory import SearcherFactory, SearcherFunction, searcher_name, warm_start_from_study
from nas.engine.settings import SearchSettings
from nas.execution.cached_training import CACHE_OFF, open_cache
from nas.execution.executor import Executor
from nas.execution.in_process import InProcessExecutor
from nas.execution.local_processes import LocalProcessExecutor
from nas.hashing.deduplicate import Deduplicator
from nas.hashing.rules import DEFAULT
from nas.measurement.published_baselines import baseline_rows
from nas.measurement.verification import (
    DEFAULT_VERIFY_COUNT,
    DeviceSpec,
    Verification,
    VerificationError,
    device_and_label,
    device_text,
    open_verification_device,
    with_correction,
)
from nas.study.study import Study
from search_spaces.catalog import load_space
from search_spaces.graph.graph import Graph
from search_spaces.space.space import Space

if TYPE_CHECKING:
    from optuna.samplers import BaseSampler

_DeviceSetup = tuple[Device, CorrectedModel, str]


def search(
    space: str | Path | Callable[..., Graph] | Space = "mobiledet",
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
    ``searcher="halving:gp"`` trains for shares of the steps first, which cost as much of ``train``.
    ``searcher`` is a name of ``nas.searchers.catalog.SEARCHERS``, ``optuna:TPESampler`` or ``halving:gp``, an Optuna sampler,
    or a function of (space, random source, known outcomes) that returns a searcher. Genotypes over a limit are led back
    to within it by free looks before they count, unless ``repair`` is off. ``warm_start`` names an earlier study: its
    best networks are tried first, and what it learnt becomes a feature for searchers that learn. With
    ``score="none"``, ``in_flight`` candidates are in training when the next is asked for.
    ``evaluator`` is a mapping of settings for the data's evaluator, or an evaluator of one's own. ``workers`` processes
    train side by side, one thread each (default: the machine's cores; 0: in this process); their number does not
    change the result.

    ``task`` puts a head for ``classify``, ``detect`` or ``segment`` on the space's networks, which are then trained for
    it. By default they keep their own where the data can train it (``digits`` can train all three), or get the first
    one of the data.

    Candidates that are one network under ``rules`` (``functional_hash``) are one candidate. What their training gave
    is kept in ``cache`` (a file, an SQLAlchemy URL or an ``EvaluationCache``; by default a file under ``directory``;
    ``None``: nothing is kept nor shared) and serves later searches. A network is trained up to ``evaluations`` times,
    with a seed each time, and its quality is their mean: at once, or with ``score="none"`` once each time that it is
    met; then ``forget`` is the probability that a network that was met often enough is trained anew.

    ``hw`` may be several, as a list or ``"pixel3_cpu,samsung_s7"``: then ``latency`` is that of the slowest for each
    network, and ``latency@pixel3_cpu`` one device's own, in limits and objectives. A network with operations that a
    device cannot run is over a limit.

    ``device`` is a real one: an address for ``open_device``, or an object with its ``measure``; ``{name: device}`` says
    which of several ``hw`` it stands for. While searching, the best ``verify`` candidates (default 8) are measured on
    it, and later candidates judged by the prediction that these correct. Then the same seed no longer gives the same
    result, for a device does not answer twice alike. ``baselines=True`` puts the published networks of the task beside
    the front, as they are predicted on ``hw``.

    Every finished candidate goes once into an Optuna study: ``storage`` is any Optuna URL, by default a journal file
    under ``directory``. Calling again with the same arguments goes on where a stopped search was, or returns its
    result. The same seed gives the same result.

    Raises ``ValueError``s of its own small classes (``UnknownName``, ``SpaceError``, ``ObjectiveError``,
    ``StudyError``, ``DataError``) for settings that make no sense, before anything is evaluated.
    """
    custom_evaluator = evaluator if evaluator is not None and not isinstance(evaluator, Mapping) else None
    loaded_space = space
    if custom_evaluator is not None:
        default_quality = getattr(custom_evaluator, "quality", "map")
    elif train > 0:
        loaded_space = load_space(space, **(space_options or {}))
        default_quality = quality_metric(data, trained_task(loaded_space, data, task))
    else:
        default_quality = quality_metric(data)
    settings = SearchSettings(
        space=space if isinstance(space, str) else str(space) if isinstance(space, Path) else "",
        hw=hardware_text(hw),
        space_options=dict(space_options or {}),
        limits=tuple(str(limit) for limit in parse_limits(limits)),
        objectives=tuple(f"{o.metric}:{o.direction}" for o in parse_objectives(objectives, train > 0, default_quality)),
        data=data,
        evaluator=dict(evaluator) if isinstance(evaluator, Mapping) else {},
        score=score,
        searcher=searcher_name(searcher),
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
        verify=(0 if device is None else DEFAULT_VERIFY_COUNT) if verify is None else verify,
        device=device_text(device),
    )
    return run(
        settings,
        space=loaded_space,
        hw=hw,
        evaluator=custom_evaluator,
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
    space: str | Path | Callable[..., Graph] | Space | None = None,
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
    objects = (("space", settings.space, space), ("hw", settings.hw, hw), ("searcher", settings.searcher, searcher))
    for name, text, given in objects:
        if not text and given is None:
            raise ValueError(
                f"this search was started from Python with an object for {name}; call nas.search with it again"
            )
    started = time.monotonic()
    problem = build_problem(settings, space or settings.space, hw or settings.hw, evaluator)
    device_setup = _device_setup(problem, device)
    deduplicator = Deduplicator(problem.space, settings.rules)
    warm_start_points, prior_model = warm_start_from_study(settings.warm_start, problem, Path(directory))
    searcher_factory = SearcherFactory(problem, deduplicator, searcher, warm_start_points, prior_model)
    fingerprint = study_fingerprint(
        problem, device_setup[0].name if device_setup is not None and not settings.device else ""
    )
    name = study or f"{problem.space.name}-{problem.hardware.name}-{fingerprint}"
    study_directory = Path(directory) / name
    study_storage = storage or study_directory / "study.journal"
    study_record = Study.open(
        study_storage,
        name,
        problem.objectives,
        problem.limits,
        {**settings.to_document(), "fingerprint": fingerprint},
    )
    is_tabular = hasattr(problem.evaluator, "evaluate_architecture")
    in_process = evaluator is not None or workers == 0 or is_tabular
    executor: Executor = InProcessExecutor() if in_process else LocalProcessExecutor(workers or os.cpu_count() or 1)
    trains = problem.evaluator is not None
    evaluation_cache, owns_cache = open_cache(cache if trains else CACHE_OFF, Path(directory))
    verification = None
    if device_setup is not None:
        verification = Verification(*device_setup, study_record, seed=settings.seed)
    with (
        closing(executor),
        closing(evaluation_cache) if evaluation_cache is not None and owns_cache else nullcontext(),
        closing(verification) if verification is not None else nullcontext(),
    ):
        loop = ScoreThenTrain(
            problem,
            searcher_factory,
            deduplicator,
            study_record,
            executor,
            evaluation_cache,
            verification,
            reporter or SilentReporter(),
        )
        loop.run()
        tally = replace(
            loop.tally,
            collisions=deduplicator.collisions,
            hash_seconds=deduplicator.seconds,
            seconds=time.monotonic() - started,
        )
        study_record.note("tally", asdict(tally))
    return SearchResult(
        study=name,
        directory=study_directory,
        settings=settings.to_document(),
        space=problem.space,
        objectives=problem.objectives,
        limits=problem.limits,
        candidates=tuple(sorted(loop.candidates.values(), key=lambda c: c.number)),
        references=tuple(loop.references),
        proxy=problem.evaluator.describe() if problem.evaluator else "",
        tally=tally,
        verified=() if verification is None else tuple(verification.verified.values()),
        baselines=baseline_rows(problem.space, problem.hardware) if baselines else (),
    )


def _device_setup(problem: SearchProblem, device: DeviceSpec | None) -> _DeviceSetup | None:
    """The device that measures, the hardware model that learns from it, and of which latency; ``None`` for none."""
    settings = problem.settings
    if settings.verify < 0:
        raise VerificationError(f"verify must be at least 0, not {settings.verify}")
    if not settings.verify:
        return None
    if device is None and not settings.device:
        raise VerificationError(
            f"verify needs a real device, on which {settings.verify} candidates are measured: --device litert,"
            " onnxruntime, adb://SERIAL or ssh://user@host/litert; from Python, device="
        )
    device_or_address, label = device_and_label(device or settings.device)
    problem.hardware, model, metric = with_correction(problem.hardware, label)
    return open_verification_device(device_or_address, model), model, metric
