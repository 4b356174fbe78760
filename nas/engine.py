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
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

import nas
from evaluators.quality import QualityEvaluator, make_evaluator
from evaluators.zero_cost import Score, make_score
from hardware_models.catalog import load_hardware
from hardware_models.cost import HardwareModel
from nas.candidate import Candidate, Measurement, Status
from nas.executors import Executor, InProcess, LocalWorkers, Trained, Training
from nas.expectation import LEAST_TRAINED, ExpectedQuality
from nas.hashing import functional_hash
from nas.objectives import METRICS, Limit, Objective, parse_limits, parse_objectives
from nas.pareto import spread
from nas.result import SearchResult, Tally
from nas.searchers import Outcome, Searcher, make_searcher
from nas.store import Study
from search_spaces.catalog import load_space, network_space, networks
from search_spaces.graph import Graph
from search_spaces.space import Genotype, GenotypeError, Space, SpaceError

# A searcher that finds nothing new in this many draws has seen the space, or never will.
_PATIENCE = 2000
# Candidates trained between two tellings where every one is trained; the same however many workers there are.
_ROUND = 4


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
    trials: int = 1000
    train: int = 12
    references: bool = True
    seed: int = 0

    def to_document(self) -> dict[str, Any]:
        """JSON-able data; tuples become lists."""
        document: dict[str, Any] = json.loads(json.dumps(self.__dict__))
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

    def judged(self, graph: Graph) -> tuple[dict[str, Measurement], float]:
        """What is counted and predicted of a network, and how far it breaks the hard limits."""
        cost = self.hardware.estimate(graph)
        counted = {
            name: Measurement(float(getattr(graph, name)), "counted")
            for name, metric in METRICS.items()
            if metric.origin == "graph"
        }
        predicted = {n: Measurement(v, cost.source) for n, v in cost.metrics().items() if n in METRICS}
        for name in (*(limit.metric for limit in self.limits), *(o.metric for o in self.objectives)):
            if METRICS[name].origin == "hardware" and name not in predicted:
                raise ValueError(f"hardware {self.hardware.name!r} does not say {name}; choose another metric")
        measurements = {**predicted, **counted}
        values = {name: m.value for name, m in measurements.items()}
        return measurements, sum(limit.excess(values) for limit in self.limits)

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
    hw: str | Path | HardwareModel,
    evaluator: QualityEvaluator | None,
) -> _Problem:
    trains = settings.train > 0
    if settings.trials < 1:
        raise ValueError(f"trials must be at least 1, not {settings.trials}")
    if settings.train < 0:
        raise ValueError(f"train must be at least 0, not {settings.train}")
    if not trains and settings.score == "none":
        raise ValueError("nothing ranks the candidates: choose a score, or train some (train=12)")
    loaded = load_space(space, **settings.space_options)
    loaded.check()
    hardware = load_hardware(hw)
    if trains and evaluator is None:
        evaluator = make_evaluator(settings.data, **settings.evaluator)
    proxy: dict[str, Any] = {}
    proxy_space = loaded
    if trains and evaluator is not None:
        if "num_classes" in evaluator.proxy and not loaded.accepts("num_classes"):
            raise SpaceError(
                f"space {loaded.name!r} takes no option 'num_classes', which training on {settings.data} needs; give"
                " its function a keyword argument num_classes, or search by prediction alone (train 0)"
            )
        deploy = {o: v for o, v in evaluator.deploy.items() if o not in settings.space_options and loaded.accepts(o)}
        loaded = loaded.with_options(**deploy) if deploy else loaded
        proxy = {o: v for o, v in evaluator.proxy.items() if loaded.accepts(o)}
        proxy_space = loaded.with_options(**proxy)
        try:
            evaluator.check(proxy_space.graph(proxy_space.sample(random.Random(0))))
        except ValueError as error:
            raise SpaceError(
                f"space {loaded.name!r} cannot be trained on {settings.data}: {error}; or search by prediction alone"
                " (--train 0)"
            ) from None
    return _Problem(
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


def _fingerprint(problem: _Problem) -> str:
    """Eight hex digits that change with the settings, the version, and what the space and the hardware model do."""
    rng = random.Random(0)
    space = problem.space
    behaviour: list[Any] = [nas.__version__, problem.settings.to_document(), space.name]
    for _ in range(4):
        genotype = space.sample(rng)
        graph = space.graph(genotype)
        behaviour += [dict(genotype), functional_hash(graph), problem.hardware.estimate(graph).latency_ms]
    if problem.evaluator is not None:
        behaviour += [problem.evaluator.describe(), problem.proxy]
    return hashlib.blake2b(json.dumps(behaviour, default=str).encode(), digest_size=4).hexdigest()


def search(
    space: str | Path | Callable[..., Graph] | Space = "mobiledet",
    hw: str | Path | HardwareModel = "edgetpu",
    *,
    limits: Mapping[str, float] | Sequence[str | Limit] | None = None,
    objectives: Sequence[str | Objective] | None = None,
    trials: int = 1000,
    train: int = 12,
    data: str = "digits",
    evaluator: QualityEvaluator | Mapping[str, Any] | None = None,
    score: str = "entropy",
    searcher: str = "evolution",
    references: bool = True,
    seed: int = 0,
    space_options: Mapping[str, Any] | None = None,
    study: str | None = None,
    storage: str | Path | None = None,
    directory: str | Path = "nas-runs",
    workers: int | None = None,
    reporter: Reporter | None = None,
) -> SearchResult:
    """Search ``space`` for networks that are good and fit ``hw``; the result holds their Pareto front.

    ``trials`` distinct candidates are costed and scored; the ``train`` most promising are trained on ``data``
    (``digits``, ``voc:PATH``, ``coco:PATH``). ``limits`` are hard: ``{"latency_ms": 7.0}`` or ``["latency<=7ms"]``.
    ``score="none"`` trains every candidate within the limits until ``train`` are trained. ``evaluator`` is a mapping
    of settings for the data's evaluator, or an evaluator of one's own. ``workers`` processes train side by side, one
    thread each (default: the machine's cores; 0: in this process); their number does not change the result.

    Every finished candidate goes once into an Optuna study: ``storage`` is any Optuna URL, by default a journal file
    under ``directory``. Calling again with the same arguments goes on where a stopped search was, or returns its
    result. The same seed gives the same result.

    Raises ``ValueError``s of its own small classes (``UnknownName``, ``SpaceError``, ``ObjectiveError``,
    ``StudyError``, ``DataError``) for settings that make no sense, before anything is evaluated.
    """
    own_evaluator = evaluator if evaluator is not None and not isinstance(evaluator, Mapping) else None
    settings = Settings(
        space=space if isinstance(space, str) else str(space) if isinstance(space, Path) else "",
        hw=hw if isinstance(hw, str) else str(hw) if isinstance(hw, Path) else "",
        space_options=dict(space_options or {}),
        limits=tuple(str(limit) for limit in parse_limits(limits)),
        objectives=tuple(f"{o.metric}:{o.direction}" for o in parse_objectives(objectives, train > 0)),
        data=data,
        evaluator=dict(evaluator) if isinstance(evaluator, Mapping) else {},
        score=score,
        searcher=searcher,
        trials=trials,
        train=train,
        references=references,
        seed=seed,
    )
    return run(
        settings,
        space=space,
        hw=hw,
        evaluator=own_evaluator,
        study=study,
        storage=storage,
        directory=directory,
        workers=workers,
        reporter=reporter,
    )


def run(
    settings: Settings,
    *,
    space: str | Path | Callable[..., Graph] | Space | None = None,
    hw: str | Path | HardwareModel | None = None,
    evaluator: QualityEvaluator | None = None,
    study: str | None = None,
    storage: str | Path | None = None,
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
    searcher = make_searcher(settings.searcher, problem.space, random.Random(settings.seed))
    fingerprint = _fingerprint(problem)
    name = study or f"{problem.space.name}-{problem.hardware.name}-{fingerprint}"
    home = Path(directory) / name
    record = Study.open(
        storage or home / "study.journal",
        name,
        problem.objectives,
        problem.limits,
        {**settings.to_document(), "fingerprint": fingerprint},
    )
    here = evaluator is not None or workers == 0
    executor: Executor = InProcess() if here else LocalWorkers(workers or os.cpu_count() or 1)
    with closing(executor):
        engine = _Engine(problem, searcher, record, executor, reporter or Silent())
        engine.run()
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
        tally=replace(engine.tally, seconds=time.monotonic() - started),
    )


def _rounds(trials: int, train: int) -> list[tuple[int, int]]:
    """How many candidates to score and to train in each round: half of them, then twice a quarter."""
    if train < 4:
        return [(trials, train)]
    later_trials, later_train = trials // 4, train // 4
    first = (trials - 2 * later_trials, train - 2 * later_train)
    return [first, (later_trials, later_train), (later_trials, later_train)]


class _Engine:
    """One run of the loop. Everything that it draws follows from the seed, so that a resumed run draws it again."""

    def __init__(
        self, problem: _Problem, searcher: Searcher, study: Study, executor: Executor, reporter: Reporter
    ) -> None:
        self.problem = problem
        self.searcher = searcher
        self.study = study
        self.executor = executor
        self.reporter = reporter
        known = study.known
        self.recorded = {c.key: c for c in known if not c.reference}
        self.recorded_references = {c.reference: c for c in known if c.reference}
        self.outcomes: dict[str, Outcome] = {}
        self.candidates: dict[str, Candidate] = {}
        self.references: list[Candidate] = []
        self.tally = Tally()
        self.expectation: ExpectedQuality | None = None
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
            return
        if problem.evaluator is None:
            self._score(settings.trials, settings.trials)
            return
        references = self._published() if settings.references else []
        for place, (trials, train) in enumerate(_rounds(settings.trials, settings.train)):
            if place:
                self._learn(place)
            found = self._score(len(self.candidates) + trials, trials)
            feasible = [c for c in found if c.status == "scored"]
            chosen = [feasible[i] for i in spread([self.outcomes[c.key].losses for c in feasible], train)]
            keys = {c.key for c in chosen}
            for candidate in feasible:
                if candidate.key not in keys:
                    self._record(candidate)
            queue = chosen if place else [*references, *chosen]
            self.reporter.phase("training", len(queue))
            # The slowest first, so that no worker waits alone for it at the end; results do not depend on the order.
            for candidate in self._trained(sorted(queue, key=lambda c: -c.metrics["macs"])):
                self._record(candidate)
        self.references.sort(key=lambda c: -c.number)

    def _learn(self, place: int) -> None:
        """Start the searcher anew from what was trained, and expect of new candidates what resembles them gave."""
        problem = self.problem
        trained = self._parents()
        if len(trained) < LEAST_TRAINED:
            return
        qualities = [o.metric for o in problem.objectives if METRICS[o.metric].origin == "quality"]
        self.expectation = ExpectedQuality(problem.space, qualities, trained)
        self.searcher = make_searcher(
            problem.settings.searcher,
            problem.space,
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
            if candidate.status == "infeasible" or self.problem.evaluator is None:
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
                if functional_hash(own) == reference.key:
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
        graph = self.problem.space.graph(genotype)
        key = functional_hash(graph)
        known = self.outcomes.get(key)
        if known is not None:
            self._fruitless += 1
            self.tally.duplicates += 1
            return None, replace(known, genotype=genotype)
        self._fruitless = 0
        candidate, outcome = self._judge(genotype, graph, key)
        self.tally.infeasible += candidate.status == "infeasible"
        self.outcomes[key] = outcome
        self.candidates[key] = candidate
        return candidate, outcome

    def _judge(self, genotype: Genotype, graph: Graph, key: str) -> tuple[Candidate, Outcome]:
        """Predicted cost, limits and zero-cost score of a new candidate."""
        problem = self.problem
        measurements, excess = problem.judged(graph)
        self.tally.scored += 1
        status: Status = "scored"
        reason = ""
        if excess > 0:
            status = "infeasible"
            values = {limit.metric: measurements[limit.metric].value for limit in problem.limits}
            broken = [limit for limit in problem.limits if limit.excess(values) > 0]
            reason = "; ".join(f"{limit.metric} is {values[limit.metric]:.4g}, limit {limit}" for limit in broken)
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
        """Every candidate within the limits is trained, and its quality told: rounds of ``_ROUND``, in order."""
        problem = self.problem
        settings = problem.settings
        self.reporter.phase("training", settings.train)
        trained = 0
        while trained < settings.train and not self._drawn_out(settings.trials):
            found: dict[str, Candidate] = {}
            while len(found) < min(_ROUND, settings.train - trained) and not self._drawn_out(settings.trials):
                candidate, outcome = self._draw()
                if candidate is None or candidate.status == "infeasible":
                    if len(outcome.losses) == len(problem.objectives) or outcome.excess > 0:
                        self.searcher.tell(outcome)
                    if candidate is not None:
                        self._record(candidate)
                else:
                    found[candidate.key] = candidate
            for candidate in self._trained(list(found.values())):
                found[candidate.key] = candidate
                self._record(candidate)
            for candidate in found.values():
                trained += 1
                infinite = tuple(float("inf") for _ in problem.objectives)
                losses = problem.losses(candidate.metrics) if candidate.status == "trained" else infinite
                self.outcomes[candidate.key] = Outcome(candidate.genotype, losses)
                self.searcher.tell(self.outcomes[candidate.key])

    def _trained(self, candidates: Sequence[Candidate]) -> Iterator[Candidate]:
        """The candidates trained, in the order they finish; those that the study has already come first."""
        problem = self.problem
        assert problem.evaluator is not None
        best = 0.0
        waiting: list[Candidate] = []
        for candidate in candidates:
            known = (
                self.recorded_references.get(candidate.reference)
                if candidate.reference
                else self.recorded.get(candidate.key)
            )
            if known is not None and known.status in ("trained", "failed"):
                self.tally.resumed += 1
                done = replace(candidate, status=known.status, reason=known.reason, measurements=known.measurements)
                best = max(best, done.metrics.get("map", 0.0))
                self.reporter.advance(f"best mAP {best:.3f}")
                yield done
            else:
                waiting.append(candidate)
        trainings = [Training(self._proxy_graph(c), problem.settings.seed) for c in waiting]
        twins: dict[str, list[int]] = {}
        for place, training in enumerate(trainings):
            twins.setdefault(training.graph.digest, []).append(place)
        # Candidates that are one network at the proxy scale share its training.
        firsts = [places[0] for places in twins.values()]
        for place, trained in self.executor.run(problem.evaluator, [trainings[p] for p in firsts]):
            for twin in twins[trainings[firsts[place]].graph.digest]:
                candidate = self._with_quality(waiting[twin], trained)
                self.tally.trained += 1
                self.tally.failed += candidate.status == "failed"
                best = max(best, candidate.metrics.get("map", 0.0))
                self.reporter.advance(f"best mAP {best:.3f}")
                yield candidate

    def _proxy_graph(self, candidate: Candidate) -> Graph:
        if candidate.reference:
            space, architecture = self._reference_space(candidate.reference, self.problem.proxy)
            return space.graph(space.parse(architecture))
        return self.problem.proxy_space.graph(candidate.genotype)

    def _with_quality(self, candidate: Candidate, trained: Trained) -> Candidate:
        problem = self.problem
        candidate = replace(candidate, train_seconds=trained.seconds)
        if trained.failure:
            return replace(candidate, status="failed", reason=f"{trained.failure}: {trained.message}")
        source = f"trained:{problem.settings.data}"
        quality = {n: Measurement(float(v), source) for n, v in trained.metrics.items()}
        return replace(candidate, status="trained", measurements={**candidate.measurements, **quality})

    # -- published networks ----------------------------------------------------------------------------------------

    def _reference_space(self, name: str, proxy: Mapping[str, Any]) -> tuple[Space, str]:
        return network_space(name, **{**self.problem.settings.space_options, **self._deployed(), **proxy})

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
            measurements, excess = problem.judged(graph)
            found.append(
                Candidate(
                    number=-1 - place,
                    key=functional_hash(graph),
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

    def _record(self, candidate: Candidate) -> None:
        options = {} if candidate.reference else self.problem.space.decisions()
        self.study.add(candidate, options)
        if candidate.reference:
            self.references.append(candidate)
        else:
            self.candidates[candidate.key] = candidate
