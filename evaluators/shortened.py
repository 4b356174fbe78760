"""Training for a share of the full training: what searches that train the promising for longer need."""

from __future__ import annotations

from dataclasses import fields, is_dataclass, replace
from typing import Any

from evaluators.quality import QualityEvaluator


def shortened(evaluator: QualityEvaluator, share: float) -> QualityEvaluator | None:
    """The evaluator with that share of its steps, at least one; itself for all of them.

    ``share`` is above 0 and up to 1, else ``ValueError``. For evaluators that are dataclasses with a whole number of
    ``steps``, as all trainings of ``Recipe`` are; ``None`` for others, which cannot train for less. Their schedules
    run over the steps that there are, so that a short training is a whole one, and their ``cache_identity`` names the
    steps, so that its results are not taken for those of a longer one. Time limits stay as they are.
    """
    if not 0 < share <= 1:
        raise ValueError(f"a share of the training is above 0 and up to 1, not {share!r}")
    if not is_dataclass(evaluator) or "steps" not in {field.name for field in fields(evaluator) if field.init}:
        return None
    settings: Any = evaluator
    whole = settings.steps
    if not isinstance(whole, int) or isinstance(whole, bool):
        return None
    steps = max(1, round(share * whole))
    if steps == whole:
        return evaluator
    shorter: QualityEvaluator = replace(settings, steps=steps)
    return shorter
