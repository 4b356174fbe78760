"""Rounds of candidates that a searcher proposes and that are scored without training."""

from __future__ import annotations

import random
from collections.abc import Sequence

from nas.candidates.candidate import Candidate
from nas.engine.strategies.strategy import SearchContext
from nas.searchers.protocol import Outcome


def split_into_rounds(trials: int, train: int) -> list[tuple[int, int]]:
    """How many candidates to score and to evaluate further in each round: half of them, then twice a quarter."""
    if train < 4:
        return [(trials, train)]
    later_trials, later_train = trials // 4, train // 4
    first = (trials - 2 * later_trials, train - 2 * later_train)
    return [first, (later_trials, later_train), (later_trials, later_train)]


class CandidateScoring:
    """Scores what a searcher proposes; between rounds the searcher is replaced by one that knows better.

    ``records_infeasible``: what is over a limit is recorded as it comes; ``records_scored``: so is all else.
    """

    def __init__(self, context: SearchContext, *, records_infeasible: bool, records_scored: bool) -> None:
        self._state = context.state
        self._make_searcher = context.make_searcher
        self._searcher = context.searcher
        self._reporter = context.reporter
        self._records_infeasible = records_infeasible
        self._records_scored = records_scored

    def score_more(self, count: int) -> list[Candidate]:
        """Up to ``count`` new candidates, costed, scored and told to the searcher; fewer where it finds no new ones."""
        pool = self._state.candidate_pool
        total = len(pool.candidates) + count
        self._reporter.phase("scoring", count)
        new_candidates = []
        best = float("-inf")
        pool.consecutive_duplicates = 0
        while not pool.exhausted(total):
            candidate, outcome = pool.add_genotype(self._searcher.ask())
            self._searcher.tell(outcome)
            if candidate is None:
                continue
            new_candidates.append(candidate)
            infeasible = candidate.status == "infeasible"
            if self._records_infeasible if infeasible else self._records_scored:
                self._state.record(candidate)
            if not infeasible:
                best = max(best, candidate.metrics["score"])
            self._reporter.advance(f"best score {best:.4g}" if best > float("-inf") else "none within the limits yet")
        return new_candidates

    def replace_searcher(self, round_index: int, history: Sequence[Outcome]) -> None:
        """A new searcher that starts from ``history``, since what is expected of a genotype is no longer what it was.

        Estimates of before are forgotten, and so is all that the searcher learned from them.
        """
        self._state.candidate_pool.estimator.clear()
        rng = random.Random(f"{self._state.problem.settings.seed}:{round_index}")
        self._searcher = self._make_searcher(rng, history, restarted=True)
