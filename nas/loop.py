"""The loop of a search: draw, look, rank, train, learn, record.

With a zero-cost score, many candidates are drawn by a searcher that sees predicted cost and the score. The most
promising of them, spread along the front, are trained at a proxy scale, beside the space's published networks. Two more
rounds start from what was trained so far, by its trained quality. Without a score every candidate within the limits is
trained, and the searcher learns from the trained quality alone.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from math import log
from typing import Any, NamedTuple, Protocol

from evaluators.zero_cost import make_score
from nas.cache import EvaluationCache
from nas.candidate import Candidate, Measurement, Status
from nas.evaluations import CachedTraining, question_of
from nas.executors import Around, Executor, plainly
from nas.expectation import LEAST_TRAINED, ExpectedQuality
from nas.hashing import functional_hash
from nas.hashing.canonical import canonical
from nas.hashing.recognise import Recogniser
from nas.hashing.rules import DEFAULT
from nas.objectives import METRICS, metric_row
from nas.pareto import spread
from nas.problem import Problem
from nas.result import Tally
from nas.searchers import Free, Outcome, Searcher
from nas.searchers.graph_features import graph_features
from nas.store import Study
from nas.trainings import Begun, Request, Trainings
from nas.verification import Verification
from search_spaces.catalog import network_space, networks
from search_spaces.graph import Graph, remember
from search_spaces.space import Genotype, GenotypeError, Space, SpaceError
from search_spaces.tasks import space_for

# A searcher that finds nothing new in this many draws has seen the space, or never will.
_PATIENCE = 2000
# Outcomes that a searcher starts anew from, after a measurement has changed all predictions.
_PARENTS = 64


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


class MakeSearcher(Protocol):
    """Makes a searcher of a random source, outcomes that are known, and what looks at genotypes for free."""

    def __call__(
        self, rng: random.Random, known: Sequence[Outcome], look: Callable[[Genotype], Free], anew: bool
    ) -> Searcher: ...


def _rounds(trials: int, train: int) -> list[tuple[int, int]]:
    """How many candidates to score and to train in each round: half of them, then twice a quarter."""
    if train < 4:
        return [(trials, train)]
    later_trials, later_train = trials // 4, train // 4
    first = (trials - 2 * later_trials, train - 2 * later_train)
    return [first, (later_trials, later_train), (later_trials, later_train)]


class _Looked(NamedTuple):
    """A genotype that was looked at, and what of it a device cannot run."""

    candidate: Candidate
    unsupported: tuple[str, ...]
    free: Free


class Loop:
    """One run of the loop. Everything that it draws follows from the seed, so that a resumed run draws it again."""

    def __init__(
        self,
        problem: Problem,
        make_searcher: MakeSearcher,
        recogniser: Recogniser,
        study: Study,
        executor: Executor,
        cache: EvaluationCache | None,
        checks: Verification | None,
        reporter: Reporter,
    ) -> None:
        self.problem = problem
        self.recogniser = recogniser
        self.study = study
        self.checks = checks
        self.reporter = reporter
        self.shares = cache is not None
        around: Around = plainly
        if cache is not None and problem.evaluator is not None:
            around = CachedTraining(cache, question_of(problem.evaluator, problem.settings.seed))
        recorded = {c.key: c for c in study.known if not c.reference}
        recorded_references = {c.reference: c for c in study.known if c.reference}
        self.outcomes: dict[str, Outcome] = {}
        self.candidates: dict[str, Candidate] = {}
        self.references: list[Candidate] = []
        self.tally = Tally()
        self.expectation: ExpectedQuality | None = None
        self.trainings = Trainings(
            problem,
            executor,
            around,
            self.tally,
            shares=self.shares,
            recorded=lambda c: recorded_references.get(c.reference) if c.reference else recorded.get(c.key),
            graph_of=self._proxy_graph,
        )
        self._windows: dict[str, range] = {}  # the trainings that a network's quality is the mean of
        self._forgetting = random.Random(f"{problem.settings.seed}:forget")
        self._fruitless = 0
        self._best = 0.0
        self._looked: dict[str, _Looked] = {}
        self._score = problem.score or make_score("entropy")
        self._score_space: Space | None = None
        if self._score.proxy:
            accepted = {o: v for o, v in self._score.proxy.items() if problem.space.accepts(o)}
            self._score_space = problem.space.with_options(**accepted)
        self._make_searcher = make_searcher
        self.searcher = make_searcher(random.Random(problem.settings.seed), (), self.look, anew=False)

    def run(self) -> None:
        """Search until the budget is spent, or nothing new is found."""
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
                self._draw_scored(len(self.candidates) + trials, trials)
                self._verify(self.candidates.values(), measured)
            self._record_unchosen()
            return
        references = self._published() if settings.references else []
        rounds = _rounds(settings.trials, settings.train)
        measured = settings.verify // (len(rounds) + 1)
        for place, (trials, train) in enumerate(rounds):
            if place:
                self._learn(place)
            found = self._draw_scored(len(self.candidates) + trials, trials)
            self._verify(found, measured)
            feasible = [c for c in [self.candidates[f.key] for f in found] if c.status == "scored"]
            chosen = [feasible[i] for i in spread([self.outcomes[c.key].losses for c in feasible], train)]
            keys = {c.key for c in chosen}
            for candidate in feasible if self.checks is None else ():
                if candidate.key not in keys:
                    self._record(candidate)
            queue = chosen if place else [*references, *chosen]
            self.reporter.phase("training", len(queue))
            self._best = 0.0
            # The slowest first, so that no worker waits alone for it at the end; results do not depend on the order.
            queue.sort(key=lambda c: -c.metrics["macs"])
            whole = range(settings.evaluations)
            for request, candidate in self.trainings.as_they_finish([Request(c, whole) for c in queue]):
                self._advance(candidate, request.counts)
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
        self._replace_searcher(place, best[::-1])

    def _replace_searcher(self, place: int, known: Sequence[Outcome]) -> None:
        """What is expected of a genotype is no longer what it was, so that nothing of before is kept."""
        self._looked.clear()
        rng = random.Random(f"{self.problem.settings.seed}:{place}")
        self.searcher = self._make_searcher(rng, known, self.look, anew=True)

    # -- scoring -------------------------------------------------------------------------------------------------

    def _learn(self, place: int) -> None:
        """Start the searcher anew from what was trained, and expect of new candidates what resembles them gave."""
        problem = self.problem
        trained = self._parents()
        if len(trained) < LEAST_TRAINED:
            return
        qualities = [o.metric for o in problem.objectives if METRICS[o.metric].origin == "quality"]
        self.expectation = ExpectedQuality(problem.space, qualities, trained)
        self._replace_searcher(place, [Outcome(c.genotype, problem.losses(c.metrics)) for c in trained])

    def _expected_losses(self, candidate: Candidate) -> tuple[float, ...]:
        """Losses with the expected quality, or the zero-cost score where nothing is expected yet."""
        expected = {} if self.expectation is None else self.expectation.of(candidate)
        return self.problem.losses({**candidate.metrics, **expected})

    def _draw_scored(self, until: int, total: int) -> list[Candidate]:
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
        self._fruitless = 0
        candidate = replace(self._judged(genotype, key).candidate, number=len(self.candidates))
        if candidate.genotype != genotype:  # another way to write it was looked at first
            candidate = replace(candidate, genotype=genotype, architecture=self.problem.space.format(genotype))
        outcome = Outcome(genotype, self._expected_losses(candidate), candidate.excess)
        self.tally.scored += 1
        self.tally.unsupported += bool(self._judged(genotype, key).unsupported)
        self.tally.infeasible += candidate.status == "infeasible"
        self.outcomes[key] = outcome
        self.candidates[key] = candidate
        return candidate, outcome

    def look(self, genotype: Genotype) -> Free:
        """What is free of a genotype: its predicted cost, its score, what its graph counts, and its key."""
        key = self.recogniser.name(genotype)
        return self._judged(genotype, key).free

    def _judged(self, genotype: Genotype, key: str) -> _Looked:
        """Predicted cost, limits and zero-cost score of a candidate, numbered -1."""
        found = self._looked.get(key)
        if found is None:
            found = self._judge(genotype, key)
            remember(self._looked, key, found)
        return found

    def _judge(self, genotype: Genotype, key: str) -> _Looked:
        problem = self.problem
        graph = problem.space.graph(genotype)
        measurements, unsupported = problem.judged(graph)
        values = {name: m.value for name, m in measurements.items()}
        excess, reason = problem.verdict(values, unsupported)
        status: Status = "infeasible" if excess > 0 else "scored"
        scored = self._scored(graph, genotype)
        if problem.score is not None:
            measurements["score"] = Measurement(scored, f"score:{problem.score.name}")
        candidate = Candidate(
            number=-1,
            key=key,
            architecture=problem.space.format(genotype),
            genotype=genotype,
            measurements=measurements,
            status=status,
            reason=reason,
            excess=excess,
            _space=problem.space,
        )
        losses: tuple[float | None, ...]
        if problem.score is None:
            losses = tuple(o.loss(values) if o.metric in values else None for o in problem.objectives)
        else:
            losses = self._expected_losses(candidate)
        costs = [log(max(v, 1e-9)) for name, v in values.items() if metric_row(name).origin == "hardware"]
        return _Looked(candidate, unsupported, Free(key, (*graph_features(graph), scored, *costs), losses, excess))

    def _scored(self, graph: Graph, genotype: Genotype) -> float:
        """The zero-cost score of a candidate, built at the scale that the score asks for."""
        return self._score.score(graph if self._score_space is None else self._score_space.graph(genotype))

    # -- training ------------------------------------------------------------------------------------------------

    def _train_all(self) -> None:
        """Every candidate within the limits is trained each time it is drawn, as far as it is not known already.

        ``in_flight`` of them are trained at a time, and what became of them is told in the order in which they were
        drawn: the same draws whether trainings are shared or not, and however many workers there are.
        """
        settings = self.problem.settings
        self.reporter.phase("training", settings.train)
        self._best = 0.0
        left = settings.train
        unrecorded: dict[str, Candidate] = {}
        begun: deque[Begun] = deque()
        while True:
            if left > 0 and len(begun) < settings.in_flight and not self._drawn_out(settings.trials):
                request = self._drawn_to_train()
                if request is not None:
                    left -= request.new
                    begun.append(self.trainings.begin(request))
                continue
            if not begun:
                break
            one = begun.popleft()
            candidate = self.trainings.finish(one)
            self._advance(candidate, one.request.counts)
            self.searcher.tell(self._learnt(candidate, unrecorded))
        for candidate in unrecorded.values():  # a study's trials never change: one whose mean may is written at the end
            self._record(candidate)

    def _drawn_to_train(self) -> Request | None:
        """A draw that is to be trained; ``None`` for one over a limit, of which the searcher is told at once."""
        candidate, outcome = self._draw()
        if outcome.excess > 0:
            if candidate is not None:
                self._record(candidate)
            self.searcher.tell(outcome)
            return None
        candidate = candidate or self.candidates[self.recogniser.name(outcome.genotype)]
        window, new = self._next_window(candidate.key)
        written = self.problem.space.format(outcome.genotype)
        return Request(replace(candidate, genotype=outcome.genotype, architecture=written), window, new)

    def _learnt(self, candidate: Candidate, unrecorded: dict[str, Candidate]) -> Outcome:
        """What a finished training means to the searcher; the candidate is kept, and recorded where it is final."""
        problem = self.problem
        infinite = tuple(float("inf") for _ in problem.objectives)
        losses = problem.losses(candidate.metrics) if candidate.status == "trained" else infinite
        self.outcomes[candidate.key] = outcome = Outcome(candidate.genotype, losses)
        first = self.candidates[candidate.key]
        candidate = replace(candidate, number=first.number, genotype=first.genotype, architecture=first.architecture)
        self.candidates[candidate.key] = unrecorded[candidate.key] = candidate
        if problem.settings.evaluations == 1 or candidate.status == "failed":
            self._record(unrecorded.pop(candidate.key))
        return outcome

    def _next_window(self, key: str) -> tuple[range, int]:
        """The trainings that this sight of a network asks for, and how many of them are to be paid for."""
        settings = self.problem.settings
        window = self._windows.get(key, range(0))
        if len(window) == settings.evaluations and settings.forget and self._forgetting.random() < settings.forget:
            window = range(window.stop, window.stop)
        grown = range(window.start, min(window.stop + 1, window.start + settings.evaluations))
        self._windows[key] = grown
        return grown, len(grown) - len(window) if self.shares else len(grown)

    def _advance(self, candidate: Candidate, counts: bool) -> None:
        """Report one more candidate, and the best quality so far."""
        note = ""
        for name in [o.metric for o in self.problem.objectives if METRICS[o.metric].origin == "quality"][:1]:
            self._best = max(self._best, candidate.metrics.get(name, 0.0))
            note = f"best {METRICS[name].label} {self._best:.3f}"
        if counts:
            self.reporter.advance(note)

    def _proxy_graph(self, candidate: Candidate) -> Graph:
        """The network to train, written in the one way that all of its kind are written."""
        if candidate.reference:
            space, architecture = self._reference_space(candidate.reference, self.problem.proxy)
            return canonical(space.graph(space.parse(architecture)))
        return canonical(self.problem.proxy_space.graph(candidate.genotype))

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
