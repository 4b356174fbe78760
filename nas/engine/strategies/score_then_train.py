"""A search that scores many candidates by a zero-cost score and trains the promising ones.

Many candidates are drawn by a searcher that sees predicted cost and the score. The most promising of them, spread along
the front, are trained at a proxy scale, beside the space's published networks. Two more rounds start from what was
trained so far, by its trained quality.
"""

from __future__ import annotations

from collections.abc import Sequence

from nas.candidates.candidate import Candidate
from nas.candidates.pareto import evenly_spread_subset
from nas.engine.options import SettingError
from nas.engine.progress import TrainingProgress
from nas.engine.quality_predictor import MIN_TRAINED, QualityPredictor
from nas.engine.strategies.candidate_scoring import CandidateScoring, split_into_rounds
from nas.engine.strategies.strategy import SearchContext
from nas.engine.training_jobs import Request
from nas.searchers.protocol import Outcome


class ScoreThenTrain:
    """Scores ``trials`` candidates and trains ``train`` of them, in rounds.

    Where a device measures, the best of each round are measured before training, and the best of all at the end.
    """

    def __init__(self, context: SearchContext) -> None:
        self._state = context.state
        self._trainings = context.required_trainings("score_then_train")
        if context.state.problem.score is None:
            raise SettingError("the strategy score_then_train ranks by a zero-cost score: say score=entropy")
        self._reference_networks = context.reference_networks
        self._feedback = context.feedback
        self._reporter = context.reporter
        self._scoring = CandidateScoring(
            context,
            records_infeasible=not context.feedback.active,
            records_scored=False,  # only once it is known which of them are trained
        )

    def run(self) -> None:
        """Score, measure and train round after round, and record everything."""
        settings, pool = self._state.problem.settings, self._state.candidate_pool
        references = self._reference_networks.candidates() if settings.train_published else []
        rounds = split_into_rounds(settings.trials, settings.train)
        verify_count = settings.verify_count // (len(rounds) + 1)
        for round_index, (trials, train) in enumerate(rounds):
            if round_index:
                self._refit_predictor(round_index)
            new_candidates = self._scoring.score_more(trials)
            self._feedback.verify(new_candidates, verify_count)
            chosen = self._choose_for_training(new_candidates, train)
            self._train(chosen if round_index else [*references, *chosen])
        self._state.references.sort(key=lambda c: -c.number)
        self._feedback.verify(pool.candidates.values(), settings.verify_count - len(rounds) * verify_count)
        self._feedback.record_untrained()

    def _choose_for_training(self, new_candidates: Sequence[Candidate], count: int) -> list[Candidate]:
        """The most promising of a round, spread along the front; the others are recorded as scored."""
        pool = self._state.candidate_pool
        feasible = [c for c in [pool.candidates[new.key] for new in new_candidates] if c.status == "scored"]
        chosen = [feasible[i] for i in evenly_spread_subset([pool.outcomes[c.key].losses for c in feasible], count)]
        chosen_keys = {c.key for c in chosen}
        for candidate in () if self._feedback.active else feasible:
            if candidate.key not in chosen_keys:
                self._state.record(candidate)
        return chosen

    def _train(self, candidates: list[Candidate]) -> None:
        """Train candidates and record them as they finish."""
        problem = self._state.problem
        progress = TrainingProgress(self._reporter, problem.objectives, problem.metrics, len(candidates))
        # The slowest first, so that no worker waits alone for it at the end; results do not depend on the order.
        slowest_first = sorted(candidates, key=lambda c: -c.metrics["macs"])
        all_repeats = range(problem.settings.repeats)
        requests = [Request(candidate, all_repeats) for candidate in slowest_first]
        for request, candidate in self._trainings.as_completed(requests):
            progress.advance(candidate, request.counts_as_progress)
            self._state.record(candidate)

    def _refit_predictor(self, round_index: int) -> None:
        """Predict quality from what was trained, and restart the searcher from it; not while too little was trained."""
        problem, pool = self._state.problem, self._state.candidate_pool
        trained = self._trained_in_space()
        if len(trained) < MIN_TRAINED:
            return
        pool.estimator.quality_predictor = QualityPredictor(problem.space, problem.qualities, trained)
        history = [Outcome(c.genotype, problem.losses(c.metrics), c.constraint_violation) for c in trained]
        self._scoring.replace_searcher(round_index, history)

    def _trained_in_space(self) -> list[Candidate]:
        """Trained networks that the space contains, the published ones among them, in a fixed order."""
        pool = self._state.candidate_pool
        trained = [c for c in pool.candidates.values() if c.was_trained]
        trained += self._reference_networks.in_space(self._state.references, pool.estimator)
        return sorted(trained, key=lambda c: c.number)
