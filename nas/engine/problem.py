"""What a search is about: its settings, turned into the things that they name."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from evaluators.catalog import make_evaluator, task_served
from evaluators.evaluator import QualityEvaluator
from evaluators.zero_cost.scores import Score, make_score
from hardware_models.composed.multi_device import CostOnSeveral, Hardware, check_devices, labels_of, load_devices
from hardware_models.cost import HardwareModel
from nas.candidates.candidate import Measurement
from nas.candidates.free_metrics import counted, predicted
from nas.candidates.metrics import metric_row
from nas.candidates.objectives import Limit, Objective, parse_limits, parse_objectives
from nas.engine.settings import Settings
from nas.hashing import functional_hash
from nas.hashing.rules import rule_set
from nas.version import __version__
from search_spaces.catalog import load_space
from search_spaces.graph.graph import Graph
from search_spaces.space.genotype import SpaceError
from search_spaces.space.space import Space
from search_spaces.tasks import space_for, task_of


@dataclass
class Problem:
    """The settings, turned into the things they name."""

    settings: Settings
    space: Space
    hardware: HardwareModel
    limits: tuple[Limit, ...]
    objectives: tuple[Objective, ...]
    evaluator: QualityEvaluator | None
    score: Score | None
    proxy: dict[str, Any]
    proxy_space: Space

    @cached_property
    def named(self) -> tuple[str, ...]:
        """The metrics that limits and objectives name."""
        return (*(limit.metric for limit in self.limits), *(o.metric for o in self.objectives))

    def judged(self, graph: Graph) -> tuple[dict[str, Measurement], tuple[str, ...]]:
        """What is counted and predicted of a network, and the operations that the hardware cannot run."""
        cost = self.hardware.estimate(graph)
        measurements = {**predicted(cost, self.named), **counted(graph, self.named)}
        for name in self.named:
            if metric_row(name).origin == "hardware" and name not in measurements:
                raise ValueError(f"hardware {self.hardware.name!r} does not say {name}; choose another metric")
        return measurements, cost.unsupported_ops

    def verdict(self, values: Mapping[str, float], unsupported: Sequence[str], refused: str = "") -> tuple[float, str]:
        """How far a network is from being allowed, and why; 0 and nothing where it breaks no hard limit.

        Each operation that the hardware cannot run counts as much as a limit passed twice over, so that searches
        move away from it; ``refused`` is why a real device does not take the network.
        """
        broken = [(limit, excess) for limit in self.limits if (excess := limit.excess(values)) > 0]
        reasons = [f"{limit.metric} is {values[limit.metric]:.4g}, limit {limit}" for limit, _ in broken]
        if unsupported:
            where = "" if labels_of(self.hardware) else f" on {self.hardware.name}"
            reasons.append(f"cannot run {', '.join(unsupported)}{where}")
        if refused:
            reasons.append(refused)
        return sum(excess for _, excess in broken) + len(unsupported) + bool(refused), "; ".join(reasons)

    def losses(self, values: Mapping[str, float]) -> tuple[float, ...]:
        """One loss an objective; the zero-cost score stands in for a quality that is not known yet."""
        losses = []
        for objective in self.objectives:
            if objective.metric in values:
                losses.append(objective.loss(values))
            elif "score" in values:
                losses.append(-values["score"])
        return tuple(losses)


def problem_of(
    settings: Settings,
    space: str | Path | Callable[..., Graph] | Space,
    hw: Hardware,
    evaluator: QualityEvaluator | None,
) -> Problem:
    trains = settings.train > 0
    if settings.trials < 1:
        raise ValueError(f"trials must be at least 1, not {settings.trials}")
    if settings.train < 0:
        raise ValueError(f"train must be at least 0, not {settings.train}")
    if settings.evaluations < 1:
        raise ValueError(f"evaluations must be at least 1, not {settings.evaluations}")
    if settings.in_flight < 1:
        raise ValueError(f"in_flight must be at least 1, not {settings.in_flight}")
    if not 0 <= settings.forget <= 1:
        raise ValueError(f"forget is a probability, 0 to 1, not {settings.forget}")
    if not trains and settings.score == "none":
        raise ValueError("nothing ranks the candidates: choose a score, or train some (train=12)")
    loaded = load_space(space, **settings.space_options)
    if trains and evaluator is None:
        task = trained_task(loaded, settings.data, settings.task)
        evaluator = make_evaluator(settings.data, task, **settings.evaluator)
    if settings.task:
        loaded = space_for(loaded, settings.task)
    loaded = rule_set(settings.rules).written(loaded)  # what is hashed is what is trained
    loaded.check()
    hardware = load_devices(hw)
    proxy: dict[str, Any] = {}
    proxy_space = loaded
    if trains and evaluator is not None:
        wanted = getattr(evaluator, "task", "")
        chosen = settings.task or settings.space_options.get("task")
        if wanted and not chosen and _complaint(evaluator, _small(loaded, evaluator)) is not None:
            settings = replace(settings, task=wanted)
            loaded = space_for(loaded, wanted)
            loaded.check()
        if "num_classes" in evaluator.proxy and not loaded.accepts("num_classes"):
            raise SpaceError(
                f"space {loaded.name!r} takes no option 'num_classes', which training on {settings.data} needs; give"
                " its function a keyword argument num_classes, or search by prediction alone (train 0)"
            )
        deploy = {o: v for o, v in evaluator.deploy.items() if o not in settings.space_options and loaded.accepts(o)}
        loaded = loaded.with_options(**deploy) if deploy else loaded
        proxy = {o: v for o, v in evaluator.proxy.items() if loaded.accepts(o)}
        proxy_space = _small(loaded, evaluator)
        complaint = _complaint(evaluator, proxy_space)
        if complaint is not None:
            raise SpaceError(
                f"space {loaded.name!r} cannot be trained on {settings.data}: {complaint}; or search by prediction"
                " alone (--train 0)"
            )
    problem = Problem(
        settings=settings,
        space=loaded,
        hardware=hardware,
        limits=parse_limits(settings.limits),
        objectives=parse_objectives(settings.objectives, trains),
        evaluator=evaluator if trains else None,
        score=None if settings.score == "none" else make_score(settings.score),
        proxy=proxy,
        proxy_space=proxy_space,
    )
    check_devices(problem.named, hardware)
    return problem


def trained_task(space: Space, data: str, asked: str) -> str:
    """The task asked for; else the space's own, where the data can train it; else ``""``, the data's default."""
    return asked or task_served(data, task_of(space))


def _small(space: Space, evaluator: QualityEvaluator) -> Space:
    """The space at the evaluator's proxy scale."""
    return space.with_options(**{o: v for o, v in evaluator.proxy.items() if space.accepts(o)})


def _complaint(evaluator: QualityEvaluator, space: Space) -> str | None:
    """Why the evaluator cannot train networks of this kind, as far as one of them shows; ``None`` where it can."""
    try:
        evaluator.check(space.graph(space.sample(random.Random(0))))
    except ValueError as error:
        return str(error)
    return None


def fingerprint_of(problem: Problem, device: str) -> str:
    """Eight hex digits that change with the settings, the version, and what the space and the hardware model do.

    ``device`` is the name of a device that is an object, of which the settings have no text.
    """
    rng = random.Random(0)
    space = problem.space
    behaviour: list[Any] = [__version__, problem.settings.to_document(), space.name]
    for _ in range(4):
        genotype = space.sample(rng)
        graph = space.graph(genotype)
        cost = problem.hardware.estimate(graph)
        behaviour += [dict(genotype), functional_hash(graph), cost.latency_ms]
        behaviour += [one.latency_ms for one in cost.devices.values()] if isinstance(cost, CostOnSeveral) else []
    if problem.evaluator is not None:
        behaviour += [problem.evaluator.describe(), problem.proxy]
    if device:
        behaviour.append(device)
    return hashlib.blake2b(json.dumps(behaviour, default=str).encode(), digest_size=4).hexdigest()
