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

from evaluators.catalog import make_evaluator, trainable_task
from evaluators.evaluator import QualityEvaluator
from evaluators.zero_cost.scores import ZeroCostScore, make_score
from hardware_models.composed.multi_device import (
    HardwareSpec,
    MultiDeviceCost,
    check_device_metrics,
    device_labels,
    load_hardware_models,
)
from hardware_models.cost import HardwareModel
from nas.candidates.candidate import Measurement
from nas.candidates.free_metrics import counted_metrics, predicted_metrics
from nas.candidates.metrics import metric_row
from nas.candidates.objectives import Limit, Objective, parse_limits, parse_objectives
from nas.engine.settings import SearchSettings
from nas.hashing import functional_hash
from nas.hashing.rules import parse_equivalence
from nas.version import __version__
from search_spaces.catalog import load_space
from search_spaces.graph.graph import Graph
from search_spaces.space.genotype import SpaceError
from search_spaces.space.space import Space
from search_spaces.tasks import space_for_task, task_of


@dataclass
class SearchProblem:
    """The settings, turned into the things they name."""

    settings: SearchSettings
    space: Space
    hardware: HardwareModel
    limits: tuple[Limit, ...]
    objectives: tuple[Objective, ...]
    evaluator: QualityEvaluator | None
    score: ZeroCostScore | None
    proxy: dict[str, Any]
    proxy_space: Space

    @cached_property
    def metric_names(self) -> tuple[str, ...]:
        """The metrics that limits and objectives name."""
        return (*(limit.metric for limit in self.limits), *(o.metric for o in self.objectives))

    def estimate_metrics(self, graph: Graph) -> tuple[dict[str, Measurement], tuple[str, ...]]:
        """What is counted and predicted of a network, and the operations that the hardware cannot run."""
        cost = self.hardware.estimate(graph)
        measurements = {**predicted_metrics(cost, self.metric_names), **counted_metrics(graph, self.metric_names)}
        for name in self.metric_names:
            if metric_row(name).origin == "hardware" and name not in measurements:
                raise ValueError(f"hardware {self.hardware.name!r} does not say {name}; choose another metric")
        return measurements, cost.unsupported_ops

    def constraint_violation(
        self, values: Mapping[str, float], unsupported: Sequence[str], refusal: str = ""
    ) -> tuple[float, str]:
        """How far a network is from being allowed, and why; 0 and nothing where it breaks no hard limit.

        Each operation that the hardware cannot run counts as much as a limit passed twice over, so that searches
        move away from it; ``refusal`` is why a real device does not take the network.
        """
        broken_limits = [
            (limit, constraint_violation)
            for limit in self.limits
            if (constraint_violation := limit.constraint_violation(values)) > 0
        ]
        reasons = [f"{limit.metric} is {values[limit.metric]:.4g}, limit {limit}" for limit, _ in broken_limits]
        if unsupported:
            where = "" if device_labels(self.hardware) else f" on {self.hardware.name}"
            reasons.append(f"cannot run {', '.join(unsupported)}{where}")
        if refusal:
            reasons.append(refusal)
        return sum(constraint_violation for _, constraint_violation in broken_limits) + len(unsupported) + bool(
            refusal
        ), "; ".join(reasons)

    def losses(self, values: Mapping[str, float]) -> tuple[float, ...]:
        """One loss an objective; the zero-cost score stands in for a quality that is not known yet."""
        losses = []
        for objective in self.objectives:
            if objective.metric in values:
                losses.append(objective.loss(values))
            elif "score" in values:
                losses.append(-values["score"])
        return tuple(losses)


def build_problem(
    settings: SearchSettings,
    space: str | Path | Callable[..., Graph] | Space,
    hw: HardwareSpec,
    evaluator: QualityEvaluator | None,
) -> SearchProblem:
    trains = settings.train > 0
    if settings.trials < 1:
        raise ValueError(f"trials must be at least 1, not {settings.trials}")
    if settings.train < 0:
        raise ValueError(f"train must be at least 0, not {settings.train}")
    if settings.repeats < 1:
        raise ValueError(f"evaluations must be at least 1, not {settings.repeats}")
    if settings.in_flight < 1:
        raise ValueError(f"in_flight must be at least 1, not {settings.in_flight}")
    if not 0 <= settings.revisit_probability <= 1:
        raise ValueError(f"forget is a probability, 0 to 1, not {settings.revisit_probability}")
    if not trains and settings.score == "none":
        raise ValueError("nothing ranks the candidates: choose a score, or train some (train=12)")
    loaded_space = load_space(space, **settings.space_options)
    if trains and evaluator is None:
        task = trained_task(loaded_space, settings.data, settings.task)
        evaluator = make_evaluator(settings.data, task, **settings.evaluator)
    if settings.task:
        loaded_space = space_for_task(loaded_space, settings.task)
    loaded_space = parse_equivalence(settings.rules).canonical_space(loaded_space)  # what is hashed is what is trained
    loaded_space.check()
    hardware = load_hardware_models(hw)
    proxy: dict[str, Any] = {}
    proxy_space = loaded_space
    if trains and evaluator is not None:
        evaluator_task = getattr(evaluator, "task", "")
        task_is_chosen = settings.task or settings.space_options.get("task")
        if (
            evaluator_task
            and not task_is_chosen
            and _training_obstacle(evaluator, _proxy_space(loaded_space, evaluator)) is not None
        ):
            settings = replace(settings, task=evaluator_task)
            loaded_space = space_for_task(loaded_space, evaluator_task)
            loaded_space.check()
        if "num_classes" in evaluator.proxy and not loaded_space.accepts("num_classes"):
            raise SpaceError(
                f"space {loaded_space.name!r} takes no option 'num_classes', which training on {settings.data} needs; give"
                " its function a keyword argument num_classes, or search by prediction alone (train 0)"
            )
        deploy = {
            o: v for o, v in evaluator.deploy.items() if o not in settings.space_options and loaded_space.accepts(o)
        }
        loaded_space = loaded_space.with_options(**deploy) if deploy else loaded_space
        proxy = {o: v for o, v in evaluator.proxy.items() if loaded_space.accepts(o)}
        proxy_space = _proxy_space(loaded_space, evaluator)
        obstacle = _training_obstacle(evaluator, proxy_space)
        if obstacle is not None:
            raise SpaceError(
                f"space {loaded_space.name!r} cannot be trained on {settings.data}: {obstacle}; or search by prediction"
                " alone (--train 0)"
            )
    problem = SearchProblem(
        settings=settings,
        space=loaded_space,
        hardware=hardware,
        limits=parse_limits(settings.limits),
        objectives=parse_objectives(settings.objectives, trains),
        evaluator=evaluator if trains else None,
        score=None if settings.score == "none" else make_score(settings.score),
        proxy=proxy,
        proxy_space=proxy_space,
    )
    check_device_metrics(problem.metric_names, hardware)
    return problem


def trained_task(space: Space, data: str, requested_task: str) -> str:
    """The task asked for; else the space's own, where the data can train it; else ``""``, the data's default."""
    return requested_task or trainable_task(data, task_of(space))


def _proxy_space(space: Space, evaluator: QualityEvaluator) -> Space:
    """The space at the evaluator's proxy scale."""
    return space.with_options(**{o: v for o, v in evaluator.proxy.items() if space.accepts(o)})


def _training_obstacle(evaluator: QualityEvaluator, space: Space) -> str | None:
    """Why the evaluator cannot train networks of this kind, as far as one of them shows; ``None`` where it can."""
    try:
        evaluator.check(space.graph(space.sample(random.Random(0))))
    except ValueError as error:
        return str(error)
    return None


def study_fingerprint(problem: SearchProblem, device: str) -> str:
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
        behaviour += [one.latency_ms for one in cost.devices.values()] if isinstance(cost, MultiDeviceCost) else []
    if problem.evaluator is not None:
        behaviour += [problem.evaluator.describe(), problem.proxy]
    if device:
        behaviour.append(device)
    return hashlib.blake2b(json.dumps(behaviour, default=str).encode(), digest_size=4).hexdigest()
