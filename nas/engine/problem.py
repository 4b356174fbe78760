"""What a search is about: its settings, turned into the things that they name."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import inf
from typing import Any

from evaluators.catalog import make_evaluator, trainable_task
from evaluators.evaluator import Evaluator
from evaluators.zero_cost.scores import ZeroCostScore, make_score
from hardware_models.composed.multi_device import check_device_metrics, device_labels, load_hardware_models
from hardware_models.cost import HardwareModel
from nas.candidates.candidate import Measurement
from nas.candidates.constraints import Limit, parse_limits
from nas.candidates.metrics import METRICS, MetricTable, ObjectiveError, metric_row, quality_names, search_metrics
from nas.candidates.objectives import Objective, parse_objectives
from nas.candidates.untrained_metrics import counted_metrics, predicted_metrics
from nas.engine.options import SettingError
from nas.engine.settings import SearchSettings
from nas.hashing.equivalence import parse_equivalence
from search_spaces.catalog import load_space
from search_spaces.graph.graph import Graph
from search_spaces.input_channels import space_for_channels
from search_spaces.registry import import_named, named_row, plugin_paths
from search_spaces.space.genotype import SpaceError
from search_spaces.space.space import Space
from search_spaces.task_heads import TASK_HEADS, space_for_task, task_of


@dataclass(frozen=True)
class SearchProblem:
    """The settings, turned into the things they name.

    ``space`` is at the scale of deployment, ``proxy_space`` the same at the scale that the evaluator trains at, by the
    options ``proxy``. ``task``: the head that was put on the space's networks, if any. ``metrics``: all that limits and
    objectives may name. ``evaluator`` is ``None`` where nothing is trained, ``score`` where no zero-cost score is
    wanted. ``evaluated_on`` names the data, or the evaluator where it is the user's own.
    """

    settings: SearchSettings
    space: Space
    task: str
    hardware: HardwareModel
    metrics: MetricTable
    limits: tuple[Limit, ...]
    objectives: tuple[Objective, ...]
    evaluator: Evaluator | None
    evaluated_on: str
    score: ZeroCostScore | None
    proxy: Mapping[str, Any]
    proxy_space: Space

    @cached_property
    def metric_names(self) -> tuple[str, ...]:
        """The metrics that limits and objectives name."""
        return (*(limit.metric for limit in self.limits), *(o.metric for o in self.objectives))

    @cached_property
    def qualities(self) -> tuple[str, ...]:
        """The objectives that training gives."""
        return tuple(o.metric for o in self.objectives if metric_row(o.metric, self.metrics).origin == "quality")

    def estimate_metrics(self, graph: Graph) -> tuple[dict[str, Measurement], tuple[str, ...]]:
        """What is counted and predicted of a network, and the operations that the hardware cannot run."""
        cost = self.hardware.estimate(graph)
        measurements = {**predicted_metrics(cost, self.metric_names), **counted_metrics(graph, self.metric_names)}
        for name in self.metric_names:
            if metric_row(name, self.metrics).origin == "hardware" and name not in measurements:
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
        """One loss an objective; of a quality that is not known yet the zero-cost score's, or infinity without one."""
        stand_in = -values["score"] if "score" in values else inf
        return tuple(o.loss(values) if o.metric in values else stand_in for o in self.objectives)

    def to_document(self) -> dict[str, Any]:
        """The settings that decide the result, as a study keeps them: limits, objectives and ``verify`` spelled out."""
        return {
            **self.settings.to_document(),
            "limits": [str(limit) for limit in self.limits],
            "objectives": [f"{o.metric}:{o.direction}" for o in self.objectives],
            "verify": self.settings.verify_count,
        }


def build_problem(settings: SearchSettings) -> SearchProblem:
    """The problem that settings name.

    Raises ``ValueError``s of their own small classes for settings that make no sense, and for a space that cannot be
    trained on the data.
    """
    settings.check()
    trains = settings.train > 0
    space = load_space(settings.space, **settings.space_options)
    evaluator = _own_evaluator(settings)
    evaluated_on = evaluator.name if evaluator is not None else settings.to_document()["data"]
    if trains and evaluator is None:
        task = settings.task or trainable_task(settings.data, task_of(space))
        evaluator = make_evaluator(settings.data, task, **settings.training)
    metrics: MetricTable = METRICS if evaluator is None else search_metrics(evaluator.metrics)
    qualities = quality_names(metrics)
    limits = parse_limits(settings.limits, metrics)
    objectives = parse_objectives(settings.objectives, trains, qualities[0], metrics)
    _check_limits_can_be_known(limits, metrics, trains)
    task = settings.task
    if task not in TASK_HEADS and evaluator is not None:
        task = evaluator.task if task else ""  # a task of somebody else's says which head it trains
    if task:
        space = space_for_task(space, task)
    space = parse_equivalence(settings.rules).canonical_space(space)  # what is hashed is what is trained
    space.check()
    proxy: dict[str, Any] = {}
    proxy_space = space
    if trains and evaluator is not None:
        space, task = _with_trainable_task(settings, space, task, evaluator)
        space = _with_deployment_options(settings, space, evaluator, evaluated_on)
        proxy = {o: v for o, v in evaluator.proxy.items() if space.accepts(o)}
        proxy_space = space.with_options(**proxy)
        _check_trainable(space, proxy_space, evaluator, evaluated_on)
    problem = SearchProblem(
        settings=settings,
        space=space,
        task=task,
        hardware=load_hardware_models(settings.hw),
        metrics=metrics,
        limits=limits,
        objectives=objectives,
        evaluator=evaluator if trains else None,
        evaluated_on=evaluated_on,
        score=None if settings.score == "none" else make_score(settings.score),
        proxy=proxy,
        proxy_space=proxy_space,
    )
    check_device_metrics(problem.metric_names, problem.hardware)
    return problem


def _own_evaluator(settings: SearchSettings) -> Evaluator | None:
    """The evaluator that the settings name or hold; ``None`` where the data's own is meant.

    Raises ``SettingError``, ``UnknownName``.
    """
    given: Any = settings.evaluator
    if given is None or given == "":
        return None
    if isinstance(given, str):
        path = given if ":" in given else named_row("evaluator", given, plugin_paths("nas.evaluators"))
        given = import_named(path, SettingError)
    if isinstance(given, Evaluator):
        if settings.training:
            raise SettingError(
                f"the evaluator {given.name} is an object and has its settings already; leave training out"
            )
        return given
    made = given(**settings.training) if callable(given) else given
    if not isinstance(made, Evaluator):
        raise SettingError(
            f"evaluator is {type(made).__name__}, which is no nas.Evaluator; derive it from nas.Evaluator, with a"
            " property metrics and a method evaluate(job)"
        )
    return made


def _check_limits_can_be_known(limits: Sequence[Limit], metrics: MetricTable, trains: bool) -> None:
    """Raise ``ObjectiveError`` for a limit on a quality of networks that are not trained."""
    for limit in limits:
        if not trains and metric_row(limit.metric, metrics).origin == "quality":
            raise ObjectiveError(f"the limit {limit} needs training, but nothing is to be trained; raise --train")


def _with_trainable_task(settings: SearchSettings, space: Space, task: str, evaluator: Evaluator) -> tuple[Space, str]:
    """The space with the evaluator's own task, where nobody chose one and the space's cannot be trained; and the task.

    The task is empty where the space keeps its own head.
    """
    task_is_chosen = task or settings.space_options.get("task")
    if not evaluator.task or task_is_chosen or _training_obstacle(evaluator, _scaled(space, evaluator)) is None:
        return space, task
    space = space_for_task(space, evaluator.task)
    space.check()
    return space, evaluator.task


def _with_deployment_options(settings: SearchSettings, space: Space, evaluator: Evaluator, evaluated_on: str) -> Space:
    """The space with what the evaluator says of deployment, such as the number of classes; what a user set stays."""
    if "num_classes" in evaluator.proxy and not space.accepts("num_classes"):
        raise SpaceError(
            f"space {space.name!r} takes no option 'num_classes', which training on {evaluated_on} needs; give"
            " its function a keyword argument num_classes, or search by prediction alone (train 0)"
        )
    if "image_channels" in evaluator.proxy:
        space = space_for_channels(space, evaluator.proxy["image_channels"])
    deployment_options = {
        o: v for o, v in evaluator.deploy.items() if o not in settings.space_options and space.accepts(o)
    }
    return space.with_options(**deployment_options) if deployment_options else space


def _scaled(space: Space, evaluator: Evaluator) -> Space:
    """The space at the evaluator's proxy scale."""
    if "image_channels" in evaluator.proxy:
        space = space_for_channels(space, evaluator.proxy["image_channels"])
    return space.with_options(**{o: v for o, v in evaluator.proxy.items() if space.accepts(o)})


def _check_trainable(space: Space, proxy_space: Space, evaluator: Evaluator, evaluated_on: str) -> None:
    obstacle = _training_obstacle(evaluator, proxy_space)
    if obstacle is not None:
        raise SpaceError(
            f"space {space.name!r} cannot be trained on {evaluated_on}: {obstacle}; or search by prediction"
            " alone (--train 0)"
        )


def _training_obstacle(evaluator: Evaluator, space: Space) -> str | None:
    """Why the evaluator cannot train networks of this kind, as far as one of them shows; ``None`` where it can."""
    try:
        evaluator.check(space.graph(space.sample(random.Random(0))))
    except ValueError as error:
        return str(error)
    return None
