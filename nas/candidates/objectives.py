"""What is minimised or maximised: metrics by name, and how users write them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from nas.candidates.metrics import METRICS, Direction, MetricTable, ObjectiveError, metric_name, metric_row


@dataclass(frozen=True)
class Objective:
    """A metric to minimise or maximise; ``latency_ms@pixel3_cpu`` is that of one of several devices."""

    metric: str
    direction: Direction

    @classmethod
    def parse(cls, text: str, metrics: MetricTable = METRICS) -> Objective:
        """``latency``, ``map``, ``params:min``, ``macs:max``: a metric and, where it is not the usual, a direction."""
        name, _, direction_text = text.partition(":")
        metric = metric_name(name.strip(), metrics)
        directions: dict[str, Direction] = {
            "": metric_row(metric, metrics).direction,
            "min": "minimize",
            "minimize": "minimize",
            "max": "maximize",
            "maximize": "maximize",
        }
        if direction_text.strip() not in directions:
            raise ObjectiveError(f"objective {text!r}: the direction is min or max, not {direction_text!r}")
        return cls(metric, directions[direction_text.strip()])

    def loss(self, metrics: Mapping[str, float]) -> float:
        """The metric, turned so that less is better."""
        value = metrics[self.metric]
        return value if self.direction == "minimize" else -value


def parse_objectives(
    objectives: str | Sequence[str | Objective] | None,
    trained: bool,
    quality: str = "map",
    metrics: MetricTable = METRICS,
) -> tuple[Objective, ...]:
    """Objectives, parsed; by default latency and ``quality``, or the zero-cost score where nothing is trained.

    Raises ``UnknownName``, ``ObjectiveError``.
    """
    if not objectives:
        objectives = ("latency_ms", quality if trained else "score")
    if isinstance(objectives, str):
        objectives = [objectives]
    parsed = tuple(o if isinstance(o, Objective) else Objective.parse(o, metrics) for o in objectives)
    names = [metric_name(o.metric, metrics) for o in parsed]
    if len(set(names)) != len(names):
        raise ObjectiveError(f"an objective is named twice: {', '.join(names)}")
    if not trained and any(metric_row(n, metrics).origin == "quality" for n in names):
        raise ObjectiveError("an objective needs training, but nothing is to be trained; raise --train")
    return parsed
