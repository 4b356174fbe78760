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
from nas.candidates.constraints import Limit, parse_limits
from nas.candidates.metrics import metric_row
from nas.candidates.objectives import Objective, parse_objectives
from nas.candidates.untrained_metrics import counted_metrics, predicted_metrics
from nas.engine.settings import SearchSettings
from nas.hashing import functional_hash
from nas.hashing.equivalence import parse_equivalence
from nas.version import __version__
from search_spaces.catalog import load_space
from search_spaces.graph.graph import Graph
from search_spaces.space.genotype import SpaceError
from search_spaces.space.space import Space
from search_spaces.task_heads import space_for_task, task_of


@dataclass(frozen=True)
class SearchProblem:
    """The settings, turned into the things they name.

    ``space`` is at the scale of deployment, ``proxy_space`` the same at the scale that the evaluator trains at, by the
    options ``proxy``. ``evaluator`` is ``None`` where nothing is trained, ``score`` where no zero-cost score is wanted.
    """

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
        violations = [(limit, limit.constraint_violation(values)) for limit in self.limits]
        broken_limits = [(limit, violation) for limit, violation in violations if violation > 0]
        reasons = [f"{limit.metric} is {values[limit.metric]:.4g}, limit {limit}" for limit, _ in broken_limits]
        if unsupported:
            where = "" if device_labels(self.hardware) else f" on {self.hardware.name}"
            reasons.append(f"cannot run {', '.join(unsupported)}{where}")
        if refusal:
            reasons.append(refusal)
        total = sum(violation for _, violation in broken_limits) + len(unsupported) + bool(refusal)
        return total, "; ".join(reasons)

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
    """The problem that settings name; ``space``, ``hw`` and ``evaluator`` may be objects in place of names.

    Raises ``ValueError``s of their own small classes for settings that make no sense, and for a space that cannot be
    trained on the data.
    """
    settings.check()
    trains = settings.train > 0
    space = load_space(space, **settings.space_options)
    if trains and evaluator is None:
        task = trained_task(space, settings.data, settings.task)
        evaluator = make_evaluator(settings.data, task, **settings.evaluator)
    if settings.task:
        space = space_for_task(space, settings.task)
    space = parse_equivalence(settings.rules).canonical_space(space)  # what is hashed is what is trained
    space.check()
    hardware = load_hardware_models(hw)
    proxy: dict[str, Any] = {}
    proxy_space = space
    if trains and evaluator is not None:
        settings, space = _with_trainable_task(settings, space, evaluator)
        space = _with_deployment_options(settings, space, evaluator)
        proxy = {o: v for o, v in evaluator.proxy.items() if space.accepts(o)}
        proxy_space = _proxy_space(space, evaluator)
        _check_trainable(settings, space, proxy_space, evaluator)
    problem = SearchProblem(
        settings=settings,
        space=space,
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


def _with_trainable_task(
    settings: SearchSettings, space: Space, evaluator: QualityEvaluator
) -> tuple[SearchSettings, Space]:
    """Settings and space with the evaluator's own task, where nobody chose one and the space's cannot be trained."""
    evaluator_task = getattr(evaluator, "task", "")
    task_is_chosen = settings.task or settings.space_options.get("task")
    if not evaluator_task or task_is_chosen or _training_obstacle(evaluator, _proxy_space(space, evaluator)) is None:
        return settings, space
    space = space_for_task(space, evaluator_task)
    space.check()
    return replace(settings, task=evaluator_task), space


def _with_deployment_options(settings: SearchSettings, space: Space, evaluator: QualityEvaluator) -> Space:
    """The space with what the evaluator says of deployment, such as the number of classes; what a user set stays."""
    if "num_classes" in evaluator.proxy and not space.accepts("num_classes"):
        raise SpaceError(
            f"space {space.name!r} takes no option 'num_classes', which training on {settings.data} needs; give"
            " its function a keyword argument num_classes, or search by prediction alone (train 0)"
        )
    deployment_options = {
        o: v for o, v in evaluator.deploy.items() if o not in settings.space_options and space.accepts(o)
    }
    return space.with_options(**deployment_options) if deployment_options else space


def _proxy_space(space: Space, evaluator: QualityEvaluator) -> Space:
    """The space at the evaluator's proxy scale."""
    return space.with_options(**{o: v for o, v in evaluator.proxy.items() if space.accepts(o)})


def _check_trainable(settings: SearchSettings, space: Space, proxy_space: Space, evaluator: QualityEvaluator) -> None:
    obstacle = _training_obstacle(evaluator, proxy_space)
    if obstacle is not None:
        raise SpaceError(
            f"space {space.name!r} cannot be trained on {settings.data}: {obstacle}; or search by prediction"
            " alone (--train 0)"
        )


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
