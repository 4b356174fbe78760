"""The search itself: draw, build, predict, hash, rank, train, record.

Many candidates are drawn by a searcher that sees predicted cost and a zero-cost score. The most promising of them,
spread along the front, are trained at a proxy scale, beside the space's published networks. Two more rounds start from
what was trained so far, by its trained quality. Without a score every candidate within the limits is trained, and the
searcher learns from the trained quality alone.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import time
from collections import ChainMap
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, nullcontext
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import nas
from evaluators.quality import QualityEvaluator, make_evaluator, quality_of, task_served
from evaluators.runners.interface import Device
from evaluators.zero_cost import Score, make_score
from hardware_models.cost import HardwareModel
from nas.baselines_beside import baseline_rows
from nas.cache import EvaluationCache
from nas.candidate import Candidate, Measurement, Status
from nas.correction import Corrected
from nas.device_metrics import counted, predicted
from nas.evaluations import OFF, CachedTraining, averaged, open_cache, question_of, seed_of
from nas.executors import Around, Executor, InProcess, LocalWorkers, Trained, Training, plainly
from nas.expectation import LEAST_TRAINED, ExpectedQuality
from nas.hashing import functional_hash
from nas.hashing.canonical import canonical
from nas.hashing.recognise import Recogniser
from nas.hashing.rules import DEFAULT, rule_set
from nas.objectives import METRICS, Limit, Objective, metric_row, parse_limits, parse_objectives
from nas.pareto import spread
from nas.result import SearchResult, Tally
from nas.searchers import Outcome, Searcher, make_searcher
from nas.several_devices import CostOnSeveral, Hardware, check_devices, hardware_text, labels_of, load_devices
from nas.store import Study
from nas.verification import (
    DEFAULT_COUNT,
    GivenDevice,
    Kept,
    Verification,
    VerificationError,
    correctable,
    device_and_label,
    device_text,
    opened_device,
)
from search_spaces.catalog import load_space, network_space, networks
from search_spaces.graph import Graph
from search_spaces.space import Genotype, GenotypeError, Space, SpaceError
from search_spaces.tasks import space_for, task_of

# A searcher that finds nothing new in this many draws has seen the space, or never will.
_PATIENCE = 2000
# Candidates trained between two tellings where every one is trained; the same however many workers there are.
_ROUND = 4
# Outcomes that a searcher starts anew from, after a measurement has changed all predictions.
_PARENTS = 64


_Measuring = tuple[Device, Corrected, str]


class Reporter(Protocol):
    """Told of the search's progress."""

    def phase(self, name: str, total: int) -> None: ...

    def advance(self, note: str = "") -> None: ...


class Silent:
    """Reports nothing."""

    def phase(self, name: str, total: int) -> None:
        """Nothing to show."""

    def advance(self, note: str = "") -> None:
        """Nothing to show."""


@dataclass(frozen=True)
class Settings:
    """Everything that decides a search's result, as texts and numbers. Kept in the study, from which it resumes."""

    space: str
    hw: str
    space_options: Mapping[str, Any] = field(default_factory=dict)
    limits: tuple[str, ...] = ()
    objectives: tuple[str, ...] = ()
    data: str = "digits"
    evaluator: Mapping[str, Any] = field(default_factory=dict)
    score: str = "entropy"
    searcher: str = "evolution"
    searcher_options: Mapping[str, Any] = field(default_factory=dict)
    task: str = ""
    rules: str = DEFAULT
    evaluations: int = 1
    forget: float = 0.0
    trials: int = 1000
    train: int = 12
    references: bool = True
    seed: int = 0
    verify: int = 0
    device: str = ""

    def to_document(self) -> dict[str, Any]:
        """JSON-able data; tuples become lists. What measures is left out where nothing is measured."""
        document: dict[str, Any] = json.loads(json.dumps(self.__dict__))
        if not self.verify:
            del document["verify"], document["device"]
        return document

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Settings:
        """Read ``to_document``'s data."""
        given: dict[str, Any] = {
            k: tuple(v) if isinstance(v, list) else v for k, v in document.items() if k in cls.__match_args__
        }
        return cls(**given)


@dataclass
class _Problem:
    """The settings, turned into the things they name."""

    settings: Settings
    space: Space
    hardware: HardwareModel
    limits: tuple[Limit, ...]
    objectives: tuple[Objective, ...]
    evaluator: QualityEvaluator | None
    score: Score | None
    proxy: dict[str, Any]
    proxy_space: Space

    @cached_property
    def named(self) -> tuple[str, ...]:
        """The metrics that limits and objectives name."""
        return (*(limit.metric for limit in self.limits), *(o.metric for o in self.objectives))

    def judged(self, graph: Graph) -> tuple[dict[str, Measurement], tuple[str, ...]]:
        """What is counted and predicted of a network, and the operations that the hardware cannot run."""
        cost = self.hardware.estimate(graph)
        measurements = {**predicted(cost, self.named), **counted(graph, self.named)}
        for name in self.named:
            if metric_row(name).origin == "hardware" and name not in measurements:
                raise ValueError(f"hardware {self.hardware.name!r} does not say {name}; choose another metric")
        return measurements, cost.unsupported_ops

    def verdict(self, values: Mapping[str, float], unsupported: Sequence[str], refused: str = "") -> tuple[float, str]:
        """How far a network is from being allowed, and why; 0 and nothing where it breaks no hard limit.

        Each operation that the hardware cannot run counts as much as a limit passed twice over, so that searches
        move away from it; ``refused`` is why a real device does not take the network.
        """
        broken = [(limit, excess) for limit in self.limits if (excess := limit.excess(values)) > 0]
        reasons = [f"{limit.metric} is {values[limit.metric]:.4g}, limit {limit}" for limit, _ in broken]
        if unsupported:
            where = "" if labels_of(self.hardware) else f" on {self.hardware.name}"
            reasons.append(f"cannot run {', '.join(unsupported)}{where}")
        if refused:
            reasons.append(refused)
        return sum(excess for _, excess in broken) + len(unsupported) + bool(refused), "; ".join(reasons)

    def losses(self, values: Mapping[str, float]) -> tuple[float, ...]:
        """One loss an objective; the zero-cost score stands in for a quality that is not known yet."""
        losses = []
        for objective in self.objectives:
            if objective.metric in values:
                losses.append(objective.loss(values))
            elif "score" in values:
                losses.append(-values["score"])
        return tuple(losses)


def _problem(
    settings: Settings,
    space: str | Path | Callable[..., Graph] | Space,
    hw: Hardware,
    evaluator: QualityEvaluator | None,
) -> _Problem:
    trains = settings.train > 0
    if settings.trials < 1:
        raise ValueError(f"trials must be at least 1, not {settings.trials}")
    if settings.train < 0:
        raise ValueError(f"train must be at least 0, not {settings.train}")
    if settings.evaluations < 1:
        raise ValueError(f"evaluations must be at least 1, not {settings.evaluations}")
    if not 0 <= settings.forget <= 1:
        raise ValueError(f"forget is a probability, 0 to 1, not {settings.forget}")
    if not trains and settings.score == "none":
        raise ValueError("nothing ranks the candidates: choose a score, or train some (train=12)")
    loaded = load_space(space, **settings.space_options)
    if trains and evaluator is None:
        task = _trained_task(loaded, settings.data, settings.task)
        evaluator = make_evaluator(settings.data, task, **settings.evaluator)
    if settings.task:
        loaded = space_for(loaded, settings.task)
    loaded = rule_set(settings.rules).written(loaded)  # what is hashed is what is trained
    loaded.check()
    hardware = load_devices(hw)
    proxy: dict[str, Any] = {}
    proxy_space = loaded
    if trains and evaluator is not None:
        wanted = getattr(evaluator, "task", "")
        chosen = settings.task or settings.space_options.get("task")
        if wanted and not chosen and _complaint(evaluator, _small(loaded, evaluator)) is not None:
            settings = replace(settings, task=wanted)
            loaded = space_for(loaded, wanted)
            loaded.check()
        if "num_classes" in evaluator.proxy and not loaded.accepts("num_classes"):
            raise SpaceError(
                f"space {loaded.name!r} takes no option 'num_classes', which training on {settings.data} needs; give"
                " its function a keyword argument num_classes, or search by prediction alone (train 0)"
            )
        deploy = {o: v for o, v in evaluator.deploy.items() if o not in settings.space_options and loaded.accepts(o)}
        loaded = loaded.with_options(**deploy) if deploy else loaded
        proxy = {o: v for o, v in evaluator.proxy.items() if loaded.accepts(o)}
        proxy_space = _small(loaded, evaluator)
        complaint = _complaint(evaluator, proxy_space)
        if complaint is not None:
            raise SpaceError(
                f"space {loaded.name!r} cannot be trained on {settings.data}: {complaint}; or search by prediction"
                " alone (--train 0)"
            )
    problem = _Problem(
        settings=settings,
        space=loaded,
        hardware=hardware,
        limits=parse_limits(settings.limits),
        objectives=parse_objectives(settings.objectives, trains),
        evaluator=evaluator if trains else None,
        score=None if settings.score == "none" else make_score(settings.score),
        proxy=proxy,
        proxy_space=proxy_space,
    )
    check_devices(problem.named, hardware)
    return problem


def _trained_task(space: Space, data: str, asked: str) -> str:
    """The task asked for; else the space's own, where the data can train it; else ``""``, the data's default."""
    return asked or task_served(data, task_of(space))


def _small(space: Space, evaluator: QualityEvaluator) -> Space:
    """The space at the evaluator's proxy scale."""
    return space.with_options(**{o: v for o, v in evaluator.proxy.items() if space.accepts(o)})


def _complaint(evaluator: QualityEvaluator, space: Space) -> str | None:
    """Why the evaluator cannot train networks of this kind, as far as one of them shows; ``None`` where it can."""
    try:
        evaluator.check(space.graph(space.sample(random.Random(0))))
    except ValueError as error:
        return str(error)
    return None


def _fingerprint(problem: _Problem, measuring: _Measuring | None) -> str:
    """Eight hex digits that change with the settings, the version, and what the space and the hardware model do.

    And with the name of a device that is an object, of which the settings have no text.
    """
    rng = random.Random(0)
    space = problem.space
    behaviour: list[Any] = [nas.__version__, problem.settings.to_document(), space.name]
    for _ in range(4):
        genotype = space.sample(rng)
        graph = space.graph(genotype)
        cost = problem.hardware.estimate(graph)
        behaviour += [dict(genotype), functional_hash(graph), cost.latency_ms]
        behaviour += [one.latency_ms for one in cost.devices.values()] if isinstance(cost, CostOnSeveral) else []
    if problem.evaluator is not None:
        behaviour += [problem.evaluator.describe(), problem.proxy]
    if measuring is not None and not problem.settings.device:
        behaviour.append(measuring[0].name)
    return hashlib.blake2b(json.dumps(behaviour, default=str).encode(), digest_size=4).hexdigest()


def search(
    space: str | Path | Callable[..., Graph] | Space = "mobiledet",
    hw: Hardware = "edgetpu",
    *,
    limits: Mapping[str, float] | Sequence[str | Limit] | None = None,
    objectives: Sequence[str | Objective] | None = None,
    trials: int = 1000,
    train: int = 12,
    data: str = "digits",
    evaluator: QualityEvaluator | Mapping[str, Any] | None = None,
    score: str = "entropy",
    searcher: str = "evolution",
    searcher_options: Mapping[str, Any] | None = None,
    task: str = "",
    rules: str = DEFAULT,
    evaluations: int = 1,
    forget: float = 0.0,
    references: bool = True,
    seed: int = 0,
    verify: int | None = None,
    device: GivenDevice | None = None,
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
    ``["latency<=7ms"]``. ``score="none"`` trains every candidate within the limits until ``train`` are trained.
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
    own_evaluator = evaluator if evaluator is not None and not isinstance(evaluator, Mapping) else None
    loaded = space
    if own_evaluator is not None:
        quality = getattr(own_evaluator, "quality", "map")
    elif train > 0:
        loaded = load_space(space, **(space_options or {}))
        quality = quality_of(data, _trained_task(loaded, data, task))
    else:
        quality = quality_of(data)
    settings = Settings(
        space=space if isinstance(space, str) else str(space) if isinstance(space, Path) else "",
        hw=hardware_text(hw),
        space_options=dict(space_options or {}),
        limits=tuple(str(limit) for limit in parse_limits(limits)),
        objectives=tuple(f"{o.metric}:{o.direction}" for o in parse_objectives(objectives, train > 0, quality)),
        data=data,
        evaluator=dict(evaluator) if isinstance(evaluator, Mapping) else {},
        score=score,
        searcher=searcher,
        searcher_options=dict(searcher_options or {}),
        task=task,
        rules=rules,
        evaluations=evaluations,
        forget=forget,
        trials=trials,
        train=train,
        references=references,
        seed=seed,
        verify=(0 if device is None else DEFAULT_COUNT) if verify is None else verify,
        device=device_text(device),
    )
    return run(
        settings,
        space=loaded,
        hw=hw,
        evaluator=own_evaluator,
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
    settings: Settings,
    *,
    space: str | Path | Callable[..., Graph] | Space | None = None,
    hw: Hardware | None = None,
    evaluator: QualityEvaluator | None = None,
    device: GivenDevice | None = None,
    baselines: bool = False,
    study: str | None = None,
    storage: str | Path | None = None,
    cache: str | Path | EvaluationCache | None = "",
    directory: str | Path = "nas-runs",
    workers: int | None = None,
    reporter: Reporter | None = None,
) -> SearchResult:
    """As ``search``, from settings; ``space`` and ``hw`` stand for what their texts in the settings cannot say."""
    for name, text, given in (("space", settings.space, space), ("hw", settings.hw, hw)):
        if not text and given is None:
            raise ValueError(
                f"this search was started from Python with an object for {name}; call nas.search with it again"
            )
    started = time.monotonic()
    problem = _problem(settings, space or settings.space, hw or settings.hw, evaluator)
    measuring = _measuring(problem, device)
    recogniser = Recogniser(problem.space, settings.rules)
    searcher = _searcher(problem, recogniser, random.Random(settings.seed))
    fingerprint = _fingerprint(problem, measuring)
    name = study or f"{problem.space.name}-{problem.hardware.name}-{fingerprint}"
    home = Path(directory) / name
    where = storage or home / "study.journal"
    record = Study.open(
        where,
        name,
        problem.objectives,
        problem.limits,
        {**settings.to_document(), "fingerprint": fingerprint},
    )
    looks_up = hasattr(problem.evaluator, "evaluate_architecture")
    here = evaluator is not None or workers == 0 or looks_up
    executor: Executor = InProcess() if here else LocalWorkers(workers or os.cpu_count() or 1)
    trains = problem.evaluator is not None
    kept, opened = open_cache(cache if trains else OFF, Path(directory))
    checks = None
    if measuring is not None:
        checks = Verification(*measuring, Kept.open(where, name), seed=settings.seed)
    with (
        closing(executor),
        closing(kept) if kept is not None and opened else nullcontext(),
        closing(checks) if checks is not None else nullcontext(),
    ):
        engine = _Engine(problem, searcher, recogniser, record, executor, kept, checks, reporter or Silent())
        engine.run()
        tally = replace(
            engine.tally,
            collisions=recogniser.collisions,
            hash_seconds=recogniser.seconds,
            seconds=time.monotonic() - started,
        )
        record.note(asdict(tally))
    return SearchResult(
        study=name,
        directory=home,
        settings=settings.to_document(),
        space=problem.space,
        objectives=problem.objectives,
        limits=problem.limits,
        candidates=tuple(sorted(engine.candidates.values(), key=lambda c: c.number)),
        references=tuple(engine.references),
        proxy=problem.evaluator.describe() if problem.evaluator else "",
        tally=tally,
        verified=() if checks is None else tuple(checks.verified.values()),
        baselines=baseline_rows(problem.space, problem.hardware) if baselines else (),
    )


def _measuring(problem: _Problem, device: GivenDevice | None) -> _Measuring | None:
    """The device that measures, the hardware model that learns from it, and of which latency; ``None`` for none."""
    settings = problem.settings
    if settings.verify < 0:
        raise VerificationError(f"verify must be at least 0, not {settings.verify}")
    if not settings.verify:
        return None
    if device is None and not settings.device:
        raise VerificationError("verify needs a real device: --device onnxruntime; from Python, device=")
    real, label = device_and_label(device or settings.device)
    problem.hardware, model, metric = correctable(problem.hardware, label)
    return opened_device(real), model, metric


def _searcher(problem: _Problem, recogniser: Recogniser, rng: random.Random, known: Sequence[Outcome] = ()) -> Searcher:
    settings = problem.settings
    return make_searcher(
        settings.searcher, problem.space, rng, known, name_of=recogniser.name, **settings.searcher_options
    )


def _rounds(trials: int, train: int) -> list[tuple[int, int]]:
    """How many candidates to score and to train in each round: half of them, then twice a quarter."""
    if train < 4:
        return [(trials, train)]
    later_trials, later_train = trials // 4, train // 4
    first = (trials - 2 * later_trials, train - 2 * later_train)
    return [first, (later_trials, later_train), (later_trials, later_train)]


class _Request(NamedTuple):
    """A candidate to train, and the numbers of its trainings."""

    candidate: Candidate
    window: range
    counts: bool = True  # as progress


def _before(finished: Iterator[tuple[int, Trained]]) -> Iterator[tuple[int, Trained | None]]:
    """What finishes, and before it a turn for what needs nothing any more."""
    yield -1, None
    yield from finished


def _shared(trained: Trained) -> Trained:
    """A training that another candidate asked for at the same time."""
    return replace(trained, kind="in_flight")


class _Engine:
    """One run of the loop. Everything that it draws follows from the seed, so that a resumed run draws it again."""

    def __init__(
        self,
        problem: _Problem,
        searcher: Searcher,
        recogniser: Recogniser,
        study: Study,
        executor: Executor,
        cache: EvaluationCache | None,
        checks: Verification | None,
        reporter: Reporter,
    ) -> None:
        self.problem = problem
        self.searcher = searcher
        self.recogniser = recogniser
        self.study = study
        self.executor = executor
        self.checks = checks
        self.reporter = reporter
        self.shares = cache is not None
        self.around: Around = plainly
        if cache is not None and problem.evaluator is not None:
            self.around = CachedTraining(cache, question_of(problem.evaluator, problem.settings.seed))
        known = study.known
        self.recorded = {c.key: c for c in known if not c.reference}
        self.recorded_references = {c.reference: c for c in known if c.reference}
        self.outcomes: dict[str, Outcome] = {}
        self.candidates: dict[str, Candidate] = {}
        self.references: list[Candidate] = []
        self.tally = Tally()
        self.expectation: ExpectedQuality | None = None
        self._answers: dict[tuple[str, int], Trained] = {}  # what this search knows of a network's trainings
        self._windows: dict[str, range] = {}  # the trainings that a network's quality is the mean of
        self._forgetting = random.Random(f"{problem.settings.seed}:forget")
        self._fruitless = 0
        self._score_space: Space | None = None
        if problem.score is not None and problem.score.proxy:
            accepted = {o: v for o, v in problem.score.proxy.items() if problem.space.accepts(o)}
            self._score_space = problem.space.with_options(**accepted)

    def run(self) -> None:
        problem = self.problem
        settings = problem.settings
        if problem.score is None:
            self._train_all()
            self._verify(self.candidates.values(), settings.verify)
            return
        if problem.evaluator is None:
            for place, (trials, measured) in enumerate(_rounds(settings.trials, settings.verify)):
                if place:
                    self._start_anew(place)
                self._score(len(self.candidates) + trials, trials)
                self._verify(self.candidates.values(), measured)
            self._record_unchosen()
            return
        references = self._published() if settings.references else []
        rounds = _rounds(settings.trials, settings.train)
        measured = settings.verify // (len(rounds) + 1)
        for place, (trials, train) in enumerate(rounds):
            if place:
                self._learn(place)
            found = self._score(len(self.candidates) + trials, trials)
            self._verify(found, measured)
            feasible = [c for c in [self.candidates[f.key] for f in found] if c.status == "scored"]
            chosen = [feasible[i] for i in spread([self.outcomes[c.key].losses for c in feasible], train)]
            keys = {c.key for c in chosen}
            for candidate in feasible if self.checks is None else ():
                if candidate.key not in keys:
                    self._record(candidate)
            queue = chosen if place else [*references, *chosen]
            self.reporter.phase("training", len(queue))
            # The slowest first, so that no worker waits alone for it at the end; results do not depend on the order.
            queue.sort(key=lambda c: -c.metrics["macs"])
            whole = range(settings.evaluations)
            for _, candidate in self._trained([_Request(candidate, whole) for candidate in queue]):
                self._record(candidate)
        self.references.sort(key=lambda c: -c.number)
        self._verify(self.candidates.values(), settings.verify - len(rounds) * measured)
        self._record_unchosen()

    # -- measuring -----------------------------------------------------------------------------------------------

    def _verify(self, pool: Iterable[Candidate], count: int) -> None:
        """Measure the best of a pool, correct the prediction by what that tells, and judge every candidate anew."""
        checks = self.checks
        if checks is None or count < 1:
            return
        finished = "trained" if any(c.status == "trained" for c in pool) else "scored"
        able = [c for c in pool if c.status == finished and c.key not in checks.verified]
        chosen = [able[i] for i in spread([self._losses_of(c) for c in able], count)]
        self.reporter.phase("measuring", len(chosen))
        for candidate in chosen:
            said = checks.measure(candidate, candidate.graph)
            self.reporter.advance(said.failure or f"{said.measured_ms:.3g} ms, predicted {said.predicted_ms:.3g}")
        checks.learn()
        for key, candidate in self.candidates.items():
            self.candidates[key] = anew = self._judged_anew(candidate, checks)
            self.outcomes[key] = Outcome(anew.genotype, self._losses_of(anew), anew.excess)
        self.references = [self._judged_anew(reference, checks) for reference in self.references]
        self.tally.infeasible = sum(c.status == "infeasible" for c in self.candidates.values())

    def _record_unchosen(self) -> None:
        """Trials never change: where measurements change predictions, all but trained candidates are written last."""
        if self.checks is not None:
            for candidate in list(self.candidates.values()):
                self._record(candidate)

    def _losses_of(self, candidate: Candidate) -> tuple[float, ...]:
        """By the trained quality where there is one, else by the expected one."""
        if candidate.status == "trained":
            return self.problem.losses(candidate.metrics)
        return self._expected_losses(candidate)

    def _judged_anew(self, candidate: Candidate, checks: Verification) -> Candidate:
        """A candidate by the prediction as it is corrected now, and by what was measured of it."""
        fresh, unsupported = self.problem.judged(candidate.graph)
        measurements = checks.added(candidate.key, {**candidate.measurements, **fresh})
        values = checks.known(candidate.key, {name: m.value for name, m in measurements.items()})
        excess, reason = self.problem.verdict(values, unsupported, checks.refused(candidate.key))
        status = candidate.status
        if candidate.reference or status == "failed":
            return replace(candidate, measurements=measurements, excess=excess)
        if excess > 0:
            status = "infeasible"
        elif status == "infeasible":
            status = "trained" if any(m.source.startswith("trained:") for m in measurements.values()) else "scored"
        return replace(candidate, measurements=measurements, excess=excess, status=status, reason=reason)

    def _start_anew(self, place: int) -> None:
        """Start the searcher again from the best by the corrected prediction; the best last, to stay the longest."""
        able = [o for o in self.outcomes.values() if o.excess == 0]
        best = [able[i] for i in spread([o.losses for o in able], _PARENTS)]
        if not best:
            best = sorted(self.outcomes.values(), key=lambda o: o.excess)[:_PARENTS]
        rng = random.Random(f"{self.problem.settings.seed}:{place}")
        self.searcher = _searcher(self.problem, self.recogniser, rng, best[::-1])

    # -- scoring -------------------------------------------------------------------------------------------------

    def _learn(self, place: int) -> None:
        """Start the searcher anew from what was trained, and expect of new candidates what resembles them gave."""
        problem = self.problem
        trained = self._parents()
        if len(trained) < LEAST_TRAINED:
            return
        qualities = [o.metric for o in problem.objectives if METRICS[o.metric].origin == "quality"]
        self.expectation = ExpectedQuality(problem.space, qualities, trained)
        self.searcher = _searcher(
            problem,
            self.recogniser,
            random.Random(f"{problem.settings.seed}:{place}"),
            [Outcome(c.genotype, problem.losses(c.metrics)) for c in trained],
        )

    def _expected_losses(self, candidate: Candidate) -> tuple[float, ...]:
        """Losses with the expected quality, or the zero-cost score where nothing is expected yet."""
        expected = {} if self.expectation is None else self.expectation.of(candidate)
        return self.problem.losses({**candidate.metrics, **expected})

    def _score(self, until: int, total: int) -> list[Candidate]:
        """New candidates, costed, scored and told to the searcher, until there are ``until`` of them in all."""
        self.reporter.phase("scoring", total)
        found = []
        best = float("-inf")
        self._fruitless = 0
        while not self._drawn_out(until):
            candidate, outcome = self._draw()
            self.searcher.tell(outcome)
            if candidate is None:
                continue
            found.append(candidate)
            if self.checks is None and (candidate.status == "infeasible" or self.problem.evaluator is None):
                self._record(candidate)
            if candidate.status != "infeasible":
                best = max(best, candidate.metrics["score"])
            self.reporter.advance(f"best score {best:.4g}" if best > float("-inf") else "none within the limits yet")
        return found

    def _parents(self) -> list[Candidate]:
        """Trained networks that the space contains, the published ones among them, in a fixed order."""
        problem = self.problem
        able = [c for c in self.candidates.values() if c.status == "trained"]
        for reference in self.references:
            if reference.status == "trained" and reference.excess == 0:
                try:
                    own = problem.space.graph(reference.genotype)
                except (GenotypeError, SpaceError):
                    continue
                if self._key_of(own) == reference.key:
                    scored = self._scored(own, reference.genotype)
                    score = Measurement(scored, f"score:{problem.settings.score}")
                    able.append(replace(reference, measurements={**reference.measurements, "score": score}))
        return sorted(able, key=lambda c: c.number)

    # -- drawing -------------------------------------------------------------------------------------------------

    def _drawn_out(self, count: int) -> bool:
        """Whether there are enough distinct candidates, or none left to be found."""
        return len(self.candidates) >= count or self._fruitless >= _PATIENCE

    def _draw(self) -> tuple[Candidate | None, Outcome]:
        """One genotype: a new candidate, costed and scored, or ``None`` where its network is known already."""
        genotype = self.searcher.ask()
        key = self.recogniser.name(genotype)
        known = self.outcomes.get(key)
        if known is not None:
            self._fruitless += 1
            self.tally.duplicates += 1
            return None, replace(known, genotype=genotype)
        graph = self.problem.space.graph(genotype)
        self._fruitless = 0
        candidate, outcome = self._judge(genotype, graph, key)
        self.tally.infeasible += candidate.status == "infeasible"
        self.outcomes[key] = outcome
        self.candidates[key] = candidate
        return candidate, outcome

    def _judge(self, genotype: Genotype, graph: Graph, key: str) -> tuple[Candidate, Outcome]:
        """Predicted cost, limits and zero-cost score of a new candidate."""
        problem = self.problem
        measurements, unsupported = problem.judged(graph)
        excess, reason = problem.verdict({name: m.value for name, m in measurements.items()}, unsupported)
        self.tally.scored += 1
        self.tally.unsupported += bool(unsupported)
        status: Status = "infeasible" if excess > 0 else "scored"
        if problem.score is not None:
            measurements["score"] = Measurement(self._scored(graph, genotype), f"score:{problem.score.name}")
        candidate = Candidate(
            number=len(self.candidates),
            key=key,
            architecture=problem.space.format(genotype),
            genotype=genotype,
            measurements=measurements,
            status=status,
            reason=reason,
            excess=excess,
            _space=problem.space,
        )
        return candidate, Outcome(genotype, self._expected_losses(candidate), excess)

    def _scored(self, graph: Graph, genotype: Genotype) -> float:
        """The zero-cost score of a candidate, built at the scale that the score asks for."""
        assert self.problem.score is not None
        return self.problem.score.score(graph if self._score_space is None else self._score_space.graph(genotype))

    # -- training ------------------------------------------------------------------------------------------------

    def _train_all(self) -> None:
        """Every candidate within the limits is trained each time it is drawn, as far as it is not known already.

        What became of the draws is told in their order, after every ``_ROUND`` of them: the same draws whether
        trainings are shared or not.
        """
        problem = self.problem
        settings = problem.settings
        self.reporter.phase("training", settings.train)
        left = settings.train
        unrecorded: dict[str, Candidate] = {}
        while left > 0 and not self._drawn_out(settings.trials):
            drawn: list[Outcome | _Request] = []
            while sum(isinstance(d, _Request) for d in drawn) < _ROUND and left > 0:
                if self._drawn_out(settings.trials):
                    break
                candidate, outcome = self._draw()
                if outcome.excess > 0:
                    drawn.append(outcome)
                    if candidate is not None:
                        self._record(candidate)
                    continue
                candidate = candidate or self.candidates[self.recogniser.name(outcome.genotype)]
                window, new = self._next_window(candidate.key)
                left -= new
                written = problem.space.format(outcome.genotype)
                candidate = replace(candidate, genotype=outcome.genotype, architecture=written)
                drawn.append(_Request(candidate, window, new > 0))
            requests = [d for d in drawn if isinstance(d, _Request)]
            finished = dict(self._trained(requests))
            place = 0
            for one in drawn:
                if isinstance(one, _Request):
                    candidate = finished[place]
                    place += 1
                    infinite = tuple(float("inf") for _ in problem.objectives)
                    losses = problem.losses(candidate.metrics) if candidate.status == "trained" else infinite
                    self.outcomes[candidate.key] = one = Outcome(candidate.genotype, losses)
                    first = self.candidates[candidate.key]
                    candidate = replace(candidate, genotype=first.genotype, architecture=first.architecture)
                    self.candidates[candidate.key] = unrecorded[candidate.key] = candidate
                    if settings.evaluations == 1 or candidate.status == "failed":
                        self._record(unrecorded.pop(candidate.key))
                self.searcher.tell(one)
        for candidate in unrecorded.values():  # a study's trials never change: one whose mean may is written at the end
            self._record(candidate)

    def _next_window(self, key: str) -> tuple[range, int]:
        """The trainings that this sight of a network asks for, and how many of them are to be paid for."""
        settings = self.problem.settings
        window = self._windows.get(key, range(0))
        if len(window) == settings.evaluations and settings.forget and self._forgetting.random() < settings.forget:
            window = range(window.stop, window.stop)
        grown = range(window.start, min(window.stop + 1, window.start + settings.evaluations))
        self._windows[key] = grown
        return grown, len(grown) - len(window) if self.shares else len(grown)

    def _trained(self, requests: Sequence[_Request]) -> Iterator[tuple[int, Candidate]]:
        """The candidates trained, with their places, as they finish; those that the study has already come first."""
        problem = self.problem
        assert problem.evaluator is not None
        best = 0.0
        trainings: dict[tuple[str, int], Training] = {}
        waiting: dict[int, list[tuple[str, int]]] = {}
        owned: dict[tuple[str, int], int] = {}
        ready: list[tuple[int, Candidate]] = []
        for place, (candidate, window, _) in enumerate(requests):
            known = (
                self.recorded_references.get(candidate.reference)
                if candidate.reference
                else self.recorded.get(candidate.key)
            )
            if known is not None and known.status in ("trained", "failed") and window == self._whole:
                self.tally.resumed += 1
                done = replace(candidate, status=known.status, reason=known.reason, measurements=known.measurements)
                ready.append((place, done))
                continue
            graph = self._proxy_graph(candidate)
            network = graph.digest if self.shares else f"{place}"
            waiting[place] = [(network, ordinal) for ordinal in window]
            for entry in waiting[place]:
                if entry not in self._answers and entry not in trainings:
                    seed = seed_of(problem.settings.seed, entry[1])
                    trainings[entry] = Training(graph, seed, candidate.architecture, entry[1])
                    owned[entry] = place
        for place, candidate in ready:
            best = self._advanced(best, candidate, requests[place].counts)
            yield place, candidate
        entries = list(trainings)
        answers = ChainMap({}, self._answers)
        for at, trained in _before(self.executor.run(problem.evaluator, list(trainings.values()), self.around)):
            if trained is not None:
                answers[entries[at]] = trained
            for place in [p for p, needed in waiting.items() if all(entry in answers for entry in needed)]:
                needed = waiting.pop(place)
                self._count([answers[e] if owned.get(e, place) == place else _shared(answers[e]) for e in needed])
                candidate = self._with_quality(requests[place].candidate, [answers[e] for e in needed])
                self.tally.trained += 1
                self.tally.failed += candidate.status == "failed"
                best = self._advanced(best, candidate, requests[place].counts)
                yield place, candidate
        if self.shares:  # a failure is no answer
            self._answers.update({e: replace(t, kind="full") for e, t in answers.maps[0].items() if not t.failure})

    def _advanced(self, best: float, candidate: Candidate, counts: bool) -> float:
        """The best quality so far; one more candidate is reported with it."""
        note = ""
        for name in [o.metric for o in self.problem.objectives if METRICS[o.metric].origin == "quality"][:1]:
            best = max(best, candidate.metrics.get(name, 0.0))
            note = f"best {METRICS[name].label} {best:.3f}"
        if counts:
            self.reporter.advance(note)
        return best

    @property
    def _whole(self) -> range:
        return range(self.problem.settings.evaluations)

    def _count(self, trained: Sequence[Trained]) -> None:
        """Who trained what one candidate asked for."""
        kinds = {t.kind for t in trained}
        tally = self.tally
        if kinds == {"miss"}:
            tally.misses += 1
        elif "miss" in kinds:
            tally.partial_hits += 1
        elif "in_flight" in kinds:
            tally.in_flight_hits += 1
        else:
            tally.full_hits += 1
        tally.saved_seconds += sum(t.seconds for t in trained if t.kind != "miss")

    def _proxy_graph(self, candidate: Candidate) -> Graph:
        """The network to train, written in the one way that all of its kind are written."""
        if candidate.reference:
            space, architecture = self._reference_space(candidate.reference, self.problem.proxy)
            return canonical(space.graph(space.parse(architecture)))
        return canonical(self.problem.proxy_space.graph(candidate.genotype))

    def _with_quality(self, candidate: Candidate, trainings: list[Trained]) -> Candidate:
        problem = self.problem
        trained, stds = averaged(trainings)
        candidate = replace(candidate, train_seconds=trained.seconds)
        if trained.failure:
            return replace(candidate, status="failed", reason=f"{trained.failure}: {trained.message}")
        source = f"trained:{problem.settings.data}"
        quality = {n: Measurement(float(v), source, stds.get(n)) for n, v in trained.metrics.items()}
        return replace(candidate, status="trained", measurements={**candidate.measurements, **quality})

    # -- published networks ----------------------------------------------------------------------------------------

    def _reference_space(self, name: str, proxy: Mapping[str, Any]) -> tuple[Space, str]:
        options = {**self.problem.settings.space_options, **self._deployed(), **proxy}
        space, architecture = network_space(name, **options)
        task = self.problem.settings.task
        return (space_for(space, task) if task else space), architecture

    def _deployed(self) -> dict[str, Any]:
        return {o: v for o, v in self.problem.space.options.items() if o in ("num_classes", "image_size", "task")}

    def _published(self) -> list[Candidate]:
        """The published networks of this space, to be trained in the same way as its candidates."""
        problem = self.problem
        found = []
        rows = [name for name, row in networks().items() if row.space == problem.settings.space]
        for place, name in enumerate(rows):
            space, architecture = self._reference_space(name, {})
            genotype = space.parse(architecture)
            graph = space.graph(genotype)
            measurements, unsupported = problem.judged(graph)
            excess, _ = problem.verdict({name: m.value for name, m in measurements.items()}, unsupported)
            found.append(
                Candidate(
                    number=-1 - place,
                    key=self._key_of(graph),
                    architecture=architecture,
                    genotype=genotype,
                    measurements=measurements,
                    status="scored",
                    excess=excess,
                    reference=name,
                    _space=space,
                )
            )
        return found

    def _key_of(self, graph: Graph) -> str:
        """The key of a network that is no candidate."""
        return functional_hash(graph, rules=DEFAULT if self.recogniser.by_notation else self.problem.settings.rules)

    def _record(self, candidate: Candidate) -> None:
        options = {} if candidate.reference else self.problem.space.decisions()
        self.study.add(candidate, options)
        if candidate.reference:
            self.references.append(candidate)
        else:
            self.candidates[candidate.key] = candidate
