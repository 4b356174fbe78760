"""What measurements on a real device change while a search runs: predictions, limits, and the status of candidates."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from nas.candidates.candidate import Candidate
from nas.candidates.pareto import evenly_spread_subset
from nas.engine.progress import Reporter
from nas.engine.reference_networks import ReferenceNetworks
from nas.engine.state import SearchState
from nas.engine.verification import Verification
from nas.searchers.protocol import Outcome


class DeviceFeedback:
    """Measures the best candidates of a search and estimates all others again by what that taught the prediction.

    ``verification`` is ``None`` where no device measures; then nothing is done.
    """

    def __init__(
        self,
        state: SearchState,
        reference_networks: ReferenceNetworks,
        verification: Verification | None,
        reporter: Reporter,
    ) -> None:
        self._state = state
        self._reference_networks = reference_networks
        self._verification = verification
        self._reporter = reporter

    @property
    def active(self) -> bool:
        """Whether a device measures, so that predictions change while the search runs."""
        return self._verification is not None

    def verify(self, candidates: Collection[Candidate], count: int) -> None:
        """Measure the best ``count`` of the candidates, correct the prediction, and estimate every candidate again."""
        verification, state = self._verification, self._state
        if verification is None or count < 1:
            return
        finished = "trained" if any(c.status == "trained" for c in candidates) else "scored"
        eligible = [c for c in candidates if c.status == finished and c.key not in verification.verified]
        chosen = [eligible[i] for i in evenly_spread_subset([self._losses_of(c) for c in eligible], count)]
        self._reporter.phase("measuring", len(chosen))
        for candidate in chosen:
            verified = verification.measure(candidate, self._reference_networks.graph(candidate))
            self._reporter.advance(
                verified.failure or f"{verified.measured_ms:.3g} ms, predicted {verified.predicted_ms:.3g}"
            )
        verification.refit_correction()
        pool = state.candidate_pool
        for key, candidate in pool.candidates.items():
            pool.candidates[key] = corrected = self._reestimate(candidate, verification)
            pool.outcomes[key] = Outcome(corrected.genotype, self._losses_of(corrected), corrected.constraint_violation)
        state.references[:] = [self._reestimate(reference, verification) for reference in state.references]
        state.tally.infeasible = sum(c.status == "infeasible" for c in pool.candidates.values())

    def record_untrained(self) -> None:
        """Record all that is not recorded yet, where a device measures.

        Trials of a study never change: where measurements change predictions, all but trained candidates come last.
        """
        if self.active:
            for candidate in list(self._state.candidate_pool.candidates.values()):
                self._state.record(candidate)

    def _losses_of(self, candidate: Candidate) -> tuple[float, ...]:
        """Losses with the trained quality where there is one, else with the expected one."""
        if candidate.status == "trained":
            return self._state.problem.losses(candidate.metrics)
        return self._state.candidate_pool.estimator.expected_losses(candidate)

    def _reestimate(self, candidate: Candidate, verification: Verification) -> Candidate:
        """A candidate by the prediction as it is corrected now, and by what was measured of it."""
        problem = self._state.problem
        current_estimates, unsupported = problem.estimate_metrics(self._reference_networks.graph(candidate))
        measurements = verification.with_device_latency(candidate.key, {**candidate.measurements, **current_estimates})
        values = verification.with_measured_values(candidate.key, {name: m.value for name, m in measurements.items()})
        constraint_violation, reason = problem.constraint_violation(
            values, unsupported, verification.refusal(candidate.key)
        )
        status = candidate.status
        if candidate.reference or status == "failed":
            return replace(candidate, measurements=measurements, constraint_violation=constraint_violation)
        if constraint_violation > 0:
            status = "infeasible"
        elif status == "stopped":
            reason = candidate.reason
        elif status == "infeasible":
            status = "trained" if candidate.was_trained else "scored"
        return replace(
            candidate,
            measurements=measurements,
            constraint_violation=constraint_violation,
            status=status,
            reason=reason,
        )
