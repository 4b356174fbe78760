"""The loop of a search: draw, look, rank, train, learn, record.

With a zero-cost score, many candidates are drawn by a searcher that sees predicted cost and the score. The most
promising of them, spread along the front, are trained at a proxy scale, beside the space's published networks. Two more
rounds start from what was trained so far, by its trained quality. Without a score every candidate within the limits is
trained, and the searcher learns from the trained quality alone (``nas.engine.train_every_candidate``).
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol

from nas.cache import EvaluationCache
from nas.candidates.candidate import Candidate, Measurement
from nas.candidates.metrics import METRICS
from nas.candidates.pareto import spread
from nas.engine.candidate_pool import Draws
from nas.engine.problem import Problem
from nas.engine.progress import Reporter as Reporter
from nas.engine.progress import Silent as Silent
from nas.engine.progress import TrainingProgress
from nas.engine.quality_predictor import LEAST_TRAINED, ExpectedQuality
from nas.engine.result import Tally
from nas.engine.train_every_candidate import TrainAll
from nas.engine.training_jobs import Request, Trainings
from nas.execution.executor import Executor
from nas.hashing import functional_hash
from nas.hashing.canonical import canonical
from nas.hashing.deduplicate import Recogniser
from nas.hashing.rules import DEFAULT
from nas.measurement.verification import Verification
from nas.searchers.multi_fidelity import by_share
from nas.searchers.protocol import Free, Outcome, Searcher
from nas.study.study import Study
from search_spaces.catalog import network_space
from search_spaces.graph.graph import Graph
from search_spaces.published.networks import networks
from search_spaces.space.genotype import Genotype, GenotypeError, SpaceError
from search_spaces.space.space import Space
from search_spaces.tasks import space_for

# Outcomes that a searcher starts anew from, after a measurement has changed all predictions.
_PARENTS = 64


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
        recorded = {c.key: c for c in study.known if not c.reference}
        recorded_references = {c.reference: c for c in study.known if c.reference}
        self.tally = Tally()
        self.draws = Draws(problem, recogniser, self.tally)
        self.outcomes = self.draws.outcomes
        self.candidates = self.draws.candidates
        self.references: list[Candidate] = []
        self._make_searcher = make_searcher
        self.searcher = make_searcher(random.Random(problem.settings.seed), (), self.draws.look, anew=False)
        self._shared = cache is not None
        self.trainings = Trainings(
            problem,
            executor,
            cache,
            self.tally,
            shares=by_share(self.searcher).shares,
            recorded=lambda c: recorded_references.get(c.reference) if c.reference else recorded.get(c.key),
            graph_of=self._proxy_graph,
        )

    def run(self) -> None:
        """Search until the budget is spent, or nothing new is found."""
        problem = self.problem
        settings = problem.settings
        if problem.score is None:
            everything = TrainAll(
                problem, self.draws, by_share(self.searcher), self.trainings, self._record, shared=self._shared
            )
            everything.run(self.reporter)
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
            progress = TrainingProgress(self.reporter, problem.objectives, len(queue))
            # The slowest first, so that no worker waits alone for it at the end; results do not depend on the order.
            queue.sort(key=lambda c: -c.metrics["macs"])
            whole = range(settings.evaluations)
            for request, candidate in self.trainings.as_they_finish([Request(c, whole) for c in queue]):
                progress.advance(candidate, request.counts)
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
        return self.draws.expected_losses(candidate)

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
        elif status == "stopped":
            reason = candidate.reason
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
        self.draws.forget_looks()
        rng = random.Random(f"{self.problem.settings.seed}:{place}")
        self.searcher = self._make_searcher(rng, known, self.draws.look, anew=True)

    # -- scoring -------------------------------------------------------------------------------------------------

    def _learn(self, place: int) -> None:
        """Start the searcher anew from what was trained, and expect of new candidates what resembles them gave."""
        problem = self.problem
        trained = self._parents()
        if len(trained) < LEAST_TRAINED:
            return
        qualities = [o.metric for o in problem.objectives if METRICS[o.metric].origin == "quality"]
        self.draws.expectation = ExpectedQuality(problem.space, qualities, trained)
        self._replace_searcher(place, [Outcome(c.genotype, problem.losses(c.metrics)) for c in trained])

    def _draw_scored(self, until: int, total: int) -> list[Candidate]:
        """New candidates, costed, scored and told to the searcher, until there are ``until`` of them in all."""
        self.reporter.phase("scoring", total)
        found = []
        best = float("-inf")
        self.draws.fruitless = 0
        while not self.draws.out(until):
            candidate, outcome = self.draws.draw(self.searcher.ask())
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
                    scored = self.draws.scored(own, reference.genotype)
                    score = Measurement(scored, f"score:{problem.settings.score}")
                    able.append(replace(reference, measurements={**reference.measurements, "score": score}))
        return sorted(able, key=lambda c: c.number)

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
