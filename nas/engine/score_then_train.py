"""The loop of a search: draw, look, rank, train, learn, record.

With a zero-cost score, many candidates are drawn by a searcher that sees predicted cost and the score. The most
promising of them, spread along the front, are trained at a proxy scale, beside the space's published networks. Two more
rounds start from what was trained so far, by its trained quality. Without a score every candidate within the limits is
trained, and the searcher learns from the trained quality alone (``nas.engine.train_every_candidate``).
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol

from nas.cache import EvaluationCache
from nas.candidates.candidate import Candidate, Measurement
from nas.candidates.metrics import METRICS
from nas.candidates.pareto import evenly_spread_subset
from nas.engine.candidate_pool import CandidatePool
from nas.engine.problem import SearchProblem
from nas.engine.progress import Reporter as Reporter
from nas.engine.progress import SilentReporter as SilentReporter
from nas.engine.progress import TrainingProgress
from nas.engine.quality_predictor import MIN_TRAINED, QualityPredictor
from nas.engine.result import Tally
from nas.engine.train_every_candidate import TrainEveryCandidate
from nas.engine.training_jobs import Request, TrainingScheduler
from nas.execution.executor import Executor
from nas.hashing import functional_hash
from nas.hashing.canonical import canonical
from nas.hashing.deduplicate import Deduplicator
from nas.hashing.rules import DEFAULT
from nas.measurement.verification import Verification
from nas.searchers.multi_fidelity import as_multi_fidelity
from nas.searchers.protocol import Featurizer, Outcome, Searcher
from nas.study.study import Study
from search_spaces.catalog import network_space
from search_spaces.graph.graph import Graph
from search_spaces.published.networks import networks
from search_spaces.space.genotype import GenotypeError, SpaceError
from search_spaces.space.space import Space
from search_spaces.tasks import space_for_task

# Outcomes that a searcher starts anew from, after a measurement has changed all predictions.
_RESTART_OUTCOMES = 64


class SearcherFactoryProtocol(Protocol):
    """Makes a searcher of a random source, outcomes that are known, and what looks at genotypes for free."""

    def __call__(
        self, rng: random.Random, history: Sequence[Outcome], featurize: Featurizer, restarted: bool
    ) -> Searcher: ...


def _rounds(trials: int, train: int) -> list[tuple[int, int]]:
    """How many candidates to score and to train in each round: half of them, then twice a quarter."""
    if train < 4:
        return [(trials, train)]
    later_trials, later_train = trials // 4, train // 4
    first = (trials - 2 * later_trials, train - 2 * later_train)
    return [first, (later_trials, later_train), (later_trials, later_train)]


class ScoreThenTrain:
    """One run of the loop. Everything that it draws follows from the seed, so that a resumed run draws it again."""

    def __init__(
        self,
        problem: SearchProblem,
        make_searcher: SearcherFactoryProtocol,
        deduplicator: Deduplicator,
        study: Study,
        executor: Executor,
        cache: EvaluationCache | None,
        verification: Verification | None,
        reporter: Reporter,
    ) -> None:
        self.problem = problem
        self.deduplicator = deduplicator
        self.study = study
        self.verification = verification
        self.reporter = reporter
        recorded = {c.key: c for c in study.known if not c.reference}
        recorded_references = {c.reference: c for c in study.known if c.reference}
        self.tally = Tally()
        self.candidate_pool = CandidatePool(problem, deduplicator, self.tally)
        self.outcomes = self.candidate_pool.outcomes
        self.candidates = self.candidate_pool.candidates
        self.references: list[Candidate] = []
        self._make_searcher = make_searcher
        self.searcher = make_searcher(
            random.Random(problem.settings.seed), (), self.candidate_pool.featurize, restarted=False
        )
        self._uses_cache = cache is not None
        self.training_scheduler = TrainingScheduler(
            problem,
            executor,
            cache,
            self.tally,
            fidelities=as_multi_fidelity(self.searcher).fidelities,
            recorded_candidate=lambda c: recorded_references.get(c.reference) if c.reference else recorded.get(c.key),
            training_graph=self._training_graph,
        )

    def run(self) -> None:
        """Search until the budget is spent, or nothing new is found."""
        problem = self.problem
        settings = problem.settings
        if problem.score is None:
            strategy = TrainEveryCandidate(
                problem,
                self.candidate_pool,
                as_multi_fidelity(self.searcher),
                self.training_scheduler,
                self._record,
                uses_cache=self._uses_cache,
            )
            strategy.run(self.reporter)
            self._verify(self.candidates.values(), settings.verify)
            return
        if problem.evaluator is None:
            for index, (trials, verify_count) in enumerate(_rounds(settings.trials, settings.verify)):
                if index:
                    self._restart_searcher(index)
                self._score_candidates(len(self.candidates) + trials, trials)
                self._verify(self.candidates.values(), verify_count)
            self._record_untrained()
            return
        references = self._published_candidates() if settings.train_published else []
        rounds = _rounds(settings.trials, settings.train)
        verify_count = settings.verify // (len(rounds) + 1)
        for index, (trials, train) in enumerate(rounds):
            if index:
                self._refit_predictor(index)
            new_candidates = self._score_candidates(len(self.candidates) + trials, trials)
            self._verify(new_candidates, verify_count)
            feasible = [c for c in [self.candidates[f.key] for f in new_candidates] if c.status == "scored"]
            chosen = [feasible[i] for i in evenly_spread_subset([self.outcomes[c.key].losses for c in feasible], train)]
            keys = {c.key for c in chosen}
            for candidate in feasible if self.verification is None else ():
                if candidate.key not in keys:
                    self._record(candidate)
            queue = chosen if index else [*references, *chosen]
            progress = TrainingProgress(self.reporter, problem.objectives, len(queue))
            # The slowest first, so that no worker waits alone for it at the end; results do not depend on the order.
            queue.sort(key=lambda c: -c.metrics["macs"])
            all_repeats = range(settings.repeats)
            for request, candidate in self.training_scheduler.as_completed([Request(c, all_repeats) for c in queue]):
                progress.advance(candidate, request.counts_as_progress)
                self._record(candidate)
        self.references.sort(key=lambda c: -c.number)
        self._verify(self.candidates.values(), settings.verify - len(rounds) * verify_count)
        self._record_untrained()

    # -- measuring -----------------------------------------------------------------------------------------------

    def _verify(self, pool: Iterable[Candidate], count: int) -> None:
        """Measure the best of a pool, correct the prediction by what that tells, and judge every candidate anew."""
        verification = self.verification
        if verification is None or count < 1:
            return
        finished = "trained" if any(c.status == "trained" for c in pool) else "scored"
        eligible = [c for c in pool if c.status == finished and c.key not in verification.verified]
        chosen = [eligible[i] for i in evenly_spread_subset([self._losses_of(c) for c in eligible], count)]
        self.reporter.phase("measuring", len(chosen))
        for candidate in chosen:
            verified = verification.measure(candidate, candidate.graph)
            self.reporter.advance(
                verified.failure or f"{verified.measured_ms:.3g} ms, predicted {verified.predicted_ms:.3g}"
            )
        verification.refit_correction()
        for key, candidate in self.candidates.items():
            self.candidates[key] = anew = self._reestimate(candidate, verification)
            self.outcomes[key] = Outcome(anew.genotype, self._losses_of(anew), anew.constraint_violation)
        self.references = [self._reestimate(reference, verification) for reference in self.references]
        self.tally.infeasible = sum(c.status == "infeasible" for c in self.candidates.values())

    def _record_untrained(self) -> None:
        """Trials never change: where measurements change predictions, all but trained candidates are written last."""
        if self.verification is not None:
            for candidate in list(self.candidates.values()):
                self._record(candidate)

    def _losses_of(self, candidate: Candidate) -> tuple[float, ...]:
        """By the trained quality where there is one, else by the expected one."""
        if candidate.status == "trained":
            return self.problem.losses(candidate.metrics)
        return self.candidate_pool.expected_losses(candidate)

    def _reestimate(self, candidate: Candidate, verification: Verification) -> Candidate:
        """A candidate by the prediction as it is corrected now, and by what was measured of it."""
        current_estimates, unsupported = self.problem.estimate_metrics(candidate.graph)
        measurements = verification.with_device_latency(candidate.key, {**candidate.measurements, **current_estimates})
        values = verification.known(candidate.key, {name: m.value for name, m in measurements.items()})
        constraint_violation, reason = self.problem.constraint_violation(
            values, unsupported, verification.refused(candidate.key)
        )
        status = candidate.status
        if candidate.reference or status == "failed":
            return replace(candidate, measurements=measurements, constraint_violation=constraint_violation)
        if constraint_violation > 0:
            status = "infeasible"
        elif status == "stopped":
            reason = candidate.reason
        elif status == "infeasible":
            status = "trained" if any(m.source.startswith("trained:") for m in measurements.values()) else "scored"
        return replace(
            candidate,
            measurements=measurements,
            constraint_violation=constraint_violation,
            status=status,
            reason=reason,
        )

    def _restart_searcher(self, index: int) -> None:
        """Start the searcher again from the best by the corrected prediction; the best last, to stay the longest."""
        eligible = [o for o in self.outcomes.values() if o.constraint_violation == 0]
        best = [eligible[i] for i in evenly_spread_subset([o.losses for o in eligible], _RESTART_OUTCOMES)]
        if not best:
            best = sorted(self.outcomes.values(), key=lambda o: o.constraint_violation)[:_RESTART_OUTCOMES]
        self._replace_searcher(index, best[::-1])

    def _replace_searcher(self, index: int, known: Sequence[Outcome]) -> None:
        """What is expected of a genotype is no longer what it was, so that nothing of before is kept."""
        self.candidate_pool.clear_estimates()
        rng = random.Random(f"{self.problem.settings.seed}:{index}")
        self.searcher = self._make_searcher(rng, known, self.candidate_pool.featurize, restarted=True)

    # -- scoring -------------------------------------------------------------------------------------------------

    def _refit_predictor(self, index: int) -> None:
        """Start the searcher anew from what was trained, and expect of new candidates what resembles them gave."""
        problem = self.problem
        trained = self._trained_parents()
        if len(trained) < MIN_TRAINED:
            return
        qualities = [o.metric for o in problem.objectives if METRICS[o.metric].origin == "quality"]
        self.candidate_pool.quality_predictor = QualityPredictor(problem.space, qualities, trained)
        self._replace_searcher(index, [Outcome(c.genotype, problem.losses(c.metrics)) for c in trained])

    def _score_candidates(self, until: int, total: int) -> list[Candidate]:
        """New candidates, costed, scored and told to the searcher, until there are ``until`` of them in all."""
        self.reporter.phase("scoring", total)
        new_candidates = []
        best = float("-inf")
        self.candidate_pool.consecutive_duplicates = 0
        while not self.candidate_pool.exhausted(until):
            candidate, outcome = self.candidate_pool.add_genotype(self.searcher.ask())
            self.searcher.tell(outcome)
            if candidate is None:
                continue
            new_candidates.append(candidate)
            if self.verification is None and (candidate.status == "infeasible" or self.problem.evaluator is None):
                self._record(candidate)
            if candidate.status != "infeasible":
                best = max(best, candidate.metrics["score"])
            self.reporter.advance(f"best score {best:.4g}" if best > float("-inf") else "none within the limits yet")
        return new_candidates

    def _trained_parents(self) -> list[Candidate]:
        """Trained networks that the space contains, the published ones among them, in a fixed order."""
        problem = self.problem
        eligible = [c for c in self.candidates.values() if c.status == "trained"]
        for reference in self.references:
            if reference.status == "trained" and reference.constraint_violation == 0:
                try:
                    own = problem.space.graph(reference.genotype)
                except (GenotypeError, SpaceError):
                    continue
                if self._network_key(own) == reference.key:
                    zero_cost_score = self.candidate_pool.zero_cost_score(own, reference.genotype)
                    score = Measurement(zero_cost_score, f"score:{problem.settings.score}")
                    eligible.append(replace(reference, measurements={**reference.measurements, "score": score}))
        return sorted(eligible, key=lambda c: c.number)

    def _training_graph(self, candidate: Candidate) -> Graph:
        """The network to train, written in the one way that all of its kind are written."""
        if candidate.reference:
            space, architecture = self._reference_space(candidate.reference, self.problem.proxy)
            return canonical(space.graph(space.parse(architecture)))
        return canonical(self.problem.proxy_space.graph(candidate.genotype))

    # -- published networks ----------------------------------------------------------------------------------------

    def _reference_space(self, name: str, proxy: Mapping[str, Any]) -> tuple[Space, str]:
        options = {**self.problem.settings.space_options, **self._deployment_options(), **proxy}
        space, architecture = network_space(name, **options)
        task = self.problem.settings.task
        return (space_for_task(space, task) if task else space), architecture

    def _deployment_options(self) -> dict[str, Any]:
        return {o: v for o, v in self.problem.space.options.items() if o in ("num_classes", "image_size", "task")}

    def _published_candidates(self) -> list[Candidate]:
        """The published networks of this space, to be trained in the same way as its candidates."""
        problem = self.problem
        new_candidates = []
        rows = [name for name, row in networks().items() if row.space == problem.settings.space]
        for index, name in enumerate(rows):
            space, architecture = self._reference_space(name, {})
            genotype = space.parse(architecture)
            graph = space.graph(genotype)
            measurements, unsupported = problem.estimate_metrics(graph)
            constraint_violation, _ = problem.constraint_violation(
                {name: m.value for name, m in measurements.items()}, unsupported
            )
            new_candidates.append(
                Candidate(
                    number=-1 - index,
                    key=self._network_key(graph),
                    architecture=architecture,
                    genotype=genotype,
                    measurements=measurements,
                    status="scored",
                    constraint_violation=constraint_violation,
                    reference=name,
                    _space=space,
                )
            )
        return new_candidates

    def _network_key(self, graph: Graph) -> str:
        """The key of a network that is no candidate."""
        return functional_hash(graph, rules=DEFAULT if self.deduplicator.uses_notation else self.problem.settings.rules)

    def _record(self, candidate: Candidate) -> None:
        options = {} if candidate.reference else self.problem.space.decisions()
        self.study.add(candidate, options)
        if candidate.reference:
            self.references.append(candidate)
        else:
            self.candidates[candidate.key] = candidate
