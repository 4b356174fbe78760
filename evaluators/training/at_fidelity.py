"""Training at a fidelity, a fraction of the full steps, for searches that train promising candidates for longer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, is_dataclass, replace
from typing import Any

from evaluators.evaluator import QualityEvaluator


def at_fidelity(evaluator: QualityEvaluator, fidelity: float) -> QualityEvaluator | None:
    """The evaluator with that fraction of its steps, at least one; itself for all of them.

    ``fidelity`` is above 0 and up to 1, else ``ValueError``. For evaluators that are dataclasses with a whole number of
    ``steps``, as all trainings of ``TrainingSettings`` are; ``None`` for others, which cannot train for less. Their
    learning-rate schedules span the shortened steps, so that a short training is complete in itself, and their
    ``cache_identity`` names the steps, so that its results are not taken for those of a longer one. Time limits stay.
    """
    if not 0 < fidelity <= 1:
        raise ValueError(f"a fidelity is above 0 and up to 1, not {fidelity!r}")
    if not is_dataclass(evaluator) or "steps" not in {field.name for field in fields(evaluator) if field.init}:
        return None
    settings: Any = evaluator
    full_steps = settings.steps
    if not isinstance(full_steps, int) or isinstance(full_steps, bool):
        return None
    steps = max(1, round(fidelity * full_steps))
    if steps == full_steps:
        return evaluator
    shorter: QualityEvaluator = replace(settings, steps=steps)
    return shorter


def evaluators_by_fidelity(evaluator: QualityEvaluator, fidelities: Sequence[float]) -> dict[float, QualityEvaluator]:
    """The evaluator for each fidelity; itself for 1.

    Raises ``ValueError`` where it cannot train for less, and where two fidelities come to the same number of steps.
    """
    evaluators: dict[float, QualityEvaluator] = {}
    fidelity_of_steps: dict[int, float] = {}
    for fidelity in fidelities:
        shorter = evaluator if fidelity == 1 else at_fidelity(evaluator, fidelity)
        if shorter is None:
            raise ValueError(
                f"{type(evaluator).__name__} cannot train at fidelity {fidelity:.3g}: it has no steps; choose a"
                " searcher that trains in full, such as gp"
            )
        evaluators[fidelity] = shorter
        steps = getattr(shorter, "steps", None)
        if len(fidelities) > 1 and steps is not None and fidelity_of_steps.setdefault(steps, fidelity) != fidelity:
            full: Any = evaluator
            raise ValueError(
                f"of {full.steps} steps, fidelities {fidelity_of_steps[steps]:.3g} and {fidelity:.3g} are both {steps};"
                " train for more steps (--training steps=200), or in fewer rungs (--searching rungs=2)"
            )
    return evaluators
