"""Training for a share of the full training: what searches that train the promising for longer need."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, is_dataclass, replace
from typing import Any

from evaluators.evaluator import QualityEvaluator


def at_fidelity(evaluator: QualityEvaluator, fidelity: float) -> QualityEvaluator | None:
    """The evaluator with that share of its steps, at least one; itself for all of them.

    ``fidelity`` is above 0 and up to 1, else ``ValueError``. For evaluators that are dataclasses with a whole number of
    ``steps``, as all trainings of ``TrainingSettings`` are; ``None`` for others, which cannot train for less. Their schedules
    run over the steps that there are, so that a short training is a whole one, and their ``cache_identity`` names the
    steps, so that its results are not taken for those of a longer one. Time limits stay as they are.
    """
    if not 0 < fidelity <= 1:
        raise ValueError(f"a share of the training is above 0 and up to 1, not {fidelity!r}")
    if not is_dataclass(evaluator) or "steps" not in {field.name for field in fields(evaluator) if field.init}:
        return None
    settings: Any = evaluator
    whole = settings.steps
    if not isinstance(whole, int) or isinstance(whole, bool):
        return None
    steps = max(1, round(fidelity * whole))
    if steps == whole:
        return evaluator
    shorter: QualityEvaluator = replace(settings, steps=steps)
    return shorter


def evaluators_by_fidelity(evaluator: QualityEvaluator, fidelities: Sequence[float]) -> dict[float, QualityEvaluator]:
    """The evaluator for each share; itself for 1.

    Raises ``ValueError`` where it cannot train for less, and where two shares come to the same number of steps.
    """
    evaluators: dict[float, QualityEvaluator] = {}
    fidelity_of_steps: dict[int, float] = {}
    for fidelity in fidelities:
        shorter = evaluator if fidelity == 1 else at_fidelity(evaluator, fidelity)
        if shorter is None:
            raise ValueError(
                f"{type(evaluator).__name__} cannot train for a share of {fidelity:.3g}: it has no steps; choose a"
                " searcher that trains in full, such as gp"
            )
        evaluators[fidelity] = shorter
        steps = getattr(shorter, "steps", None)
        if len(fidelities) > 1 and steps is not None and fidelity_of_steps.setdefault(steps, fidelity) != fidelity:
            whole: Any = evaluator
            raise ValueError(
                f"of {whole.steps} steps, shares of {fidelity_of_steps[steps]:.3g} and {fidelity:.3g} are both {steps}; train for more"
                " steps (--training steps=200), or in fewer rungs (--searching rungs=2)"
            )
    return evaluators
