"""A small space and evaluators that need no training, for tests of the engine itself."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nas
from evaluators.evaluator import Diverged, Evaluation, EvaluationJob, Evaluator, QualityMetric


def small_space(choose: nas.Choose, *, image_size: int = 32, num_classes: int = 4) -> nas.Graph:
    """Three to five convolutions: some thousand genotypes."""
    b = nas.Builder()
    x = b.input((3, image_size, image_size))
    x = b.conv(x, choose.one_of("stem", (8, 16, 24)), 3, 2)
    for layer in range(choose.int("depth", 1, 3)):
        kernel = choose.one_of(f"layer{layer}.kernel", (1, 3, 5))
        width = choose.one_of(f"layer{layer}.width", (8, 16, 24, 32))
        x = b.act(b.norm(b.conv(x, width, kernel)), "relu")
    return b.build(nas.heads.classifier(b, x, num_classes))


class StandIn(Evaluator):
    """An evaluator that gives ``map``, and remembers what it was asked: so it stays in the searching process."""

    isolated = False
    time_limit_s = 5.0

    @property
    def metrics(self) -> tuple[QualityMetric, ...]:
        return (QualityMetric("map"),)

    @property
    def name(self) -> str:
        return "stand-in"

    def describe(self) -> str:
        return "a stand-in that does not train"


@dataclass
class CountingEvaluator(StandIn):
    """Quality is a function of the graph; every evaluation is written to ``log``; one in seven diverges."""

    log: Path | None = None
    seconds: float = 0.0
    seen: list[str] = field(default_factory=list)

    @property
    def metrics(self) -> tuple[QualityMetric, ...]:
        return (QualityMetric("map"), QualityMetric("map50"))

    @property
    def proxy(self) -> dict[str, Any]:
        return {"image_size": 32}

    def cache_identity(self, fidelity: float) -> dict[str, Any]:
        return {"evaluator": "counting/1", "data": "none", "fidelity": {}}

    def evaluate(self, job: EvaluationJob) -> Evaluation:
        digest = job.graph.digest
        time.sleep(self.seconds)
        self.seen.append(digest)
        if self.log is not None:
            with self.log.open("a") as file:
                file.write(digest + "\n")
        if int(digest, 16) % 7 == 0:
            raise Diverged("the loss is nan after 3 steps")
        return Evaluation({"map": (job.graph.macs % 9973) / 9973, "map50": 0.5})
