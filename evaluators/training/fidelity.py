"""Fractions of a full training, for searches that train promising candidates for longer: fewer steps."""

from __future__ import annotations

from collections.abc import Sequence


def steps_at(full_steps: int, fidelity: float) -> int:
    """That fraction of the steps, at least one. ``fidelity`` is above 0 and up to 1, else ``ValueError``.

    The learning-rate schedule spans the fewer steps, so that a short training is complete in itself.
    """
    if not 0 < fidelity <= 1:
        raise ValueError(f"a fidelity is above 0 and up to 1, not {fidelity!r}")
    return max(1, round(fidelity * full_steps))


def check_step_fidelities(full_steps: int, fidelities: Sequence[float]) -> None:
    """Raise ``ValueError`` where a fidelity is none, and where two come to the same number of steps."""
    fidelity_of_steps: dict[int, float] = {}
    for fidelity in fidelities:
        steps = steps_at(full_steps, fidelity)
        if fidelity_of_steps.setdefault(steps, fidelity) != fidelity:
            raise ValueError(
                f"of {full_steps} steps, fidelities {fidelity_of_steps[steps]:.3g} and {fidelity:.3g} are both {steps};"
                " train for more steps (--training steps=200), or in fewer rungs (--searching rungs=2)"
            )
