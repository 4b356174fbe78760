"""A search that trains nothing: candidates are ranked by what is counted, predicted and scored."""

from __future__ import annotations

from nas.candidates.pareto import evenly_spread_subset
from nas.engine.options import SettingError
from nas.engine.strategies.candidate_scoring import CandidateScoring, split_into_rounds
from nas.engine.strategies.strategy import SearchContext
from nas.searchers.protocol import Outcome

# Outcomes that a searcher restarts from, after a measurement has changed all predictions.
_RESTART_OUTCOMES = 64


class PredictOnly:
    """Scores ``trials`` candidates; where a device measures, in rounds, each after a correction of the prediction."""

    def __init__(self, context: SearchContext) -> None:
        if context.trainings is not None:
            raise SettingError("the strategy predict_only trains nothing: say train=0")
        self._state = context.state
        self._feedback = context.feedback
        records = not context.feedback.active
        self._scoring = CandidateScoring(context, records_infeasible=records, records_scored=records)

    def run(self) -> None:
        """Score the candidates, measure the best of them where there is a device, and record all."""
        settings, pool = self._state.problem.settings, self._state.candidate_pool
        for round_index, (trials, verify_count) in enumerate(split_into_rounds(settings.trials, settings.verify_count)):
            if round_index:
                self._scoring.replace_searcher(round_index, self._best_outcomes())
            self._scoring.score_more(trials)
            self._feedback.verify(pool.candidates.values(), verify_count)
        self._feedback.record_untrained()

    def _best_outcomes(self) -> list[Outcome]:
        """The best by the corrected prediction, to restart from; the best last, to stay longest in a population."""
        outcomes = list(self._state.candidate_pool.outcomes.values())
        feasible = [o for o in outcomes if o.constraint_violation == 0]
        best = [feasible[i] for i in evenly_spread_subset([o.losses for o in feasible], _RESTART_OUTCOMES)]
        if not best:
            best = sorted(outcomes, key=lambda o: o.constraint_violation)[:_RESTART_OUTCOMES]
        return best[::-1]
