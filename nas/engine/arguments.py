"""The arguments of ``nas.search`` as settings, and the space that is loaded on the way."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evaluators.catalog import quality_metric
from evaluators.evaluator import QualityEvaluator
from hardware_models.composed.multi_device import HardwareSpec, hardware_text
from nas.candidates.constraints import Limit, parse_limits
from nas.candidates.objectives import Objective, parse_objectives
from nas.engine.problem import trained_task
from nas.engine.searcher_factory import SearcherFunction, searcher_name
from nas.engine.settings import SearchSettings
from nas.engine.verification import DEFAULT_VERIFY_COUNT, DeviceSpec, device_text
from search_spaces.catalog import load_space
from search_spaces.graph.graph import Graph
from search_spaces.space.space import Space

if TYPE_CHECKING:
    from optuna.samplers import BaseSampler

SpaceSpec = str | Path | Callable[..., Graph] | Space
"""A space by name or file, as its function, or as an object."""


def load_for_default_metric(
    space: SpaceSpec,
    data: str,
    evaluator: QualityEvaluator | Mapping[str, Any] | None,
    *,
    trains: bool,
    task: str,
    space_options: Mapping[str, Any],
) -> tuple[SpaceSpec, str]:
    """The space, loaded where its task decides the quality metric, and that metric, the default objective.

    Raises what ``load_space`` and the table of data sets raise.
    """
    if evaluator is not None and not isinstance(evaluator, Mapping):
        return space, getattr(evaluator, "quality", "map")
    if not trains:
        return space, quality_metric(data)
    loaded_space = load_space(space, **space_options)
    return loaded_space, quality_metric(data, trained_task(loaded_space, data, task))


def settings_from_arguments(
    *,
    space: SpaceSpec,
    hw: HardwareSpec,
    limits: Mapping[str, float] | Sequence[str | Limit] | None,
    objectives: Sequence[str | Objective] | None,
    default_quality: str,
    evaluator: QualityEvaluator | Mapping[str, Any] | None,
    searcher: str | BaseSampler | SearcherFunction,
    verify: int | None,
    device: DeviceSpec | None,
    train: int,
    **others: Any,
) -> SearchSettings:
    """Settings from arguments that may be objects, of which the settings keep the text; empty where there is none.

    ``others`` are fields of ``SearchSettings`` as they are. Raises ``ObjectiveError`` and ``UnknownName``.
    """
    return SearchSettings(
        space=space if isinstance(space, str) else str(space) if isinstance(space, Path) else "",
        hw=hardware_text(hw),
        limits=tuple(str(limit) for limit in parse_limits(limits)),
        objectives=tuple(f"{o.metric}:{o.direction}" for o in parse_objectives(objectives, train > 0, default_quality)),
        evaluator=dict(evaluator) if isinstance(evaluator, Mapping) else {},
        searcher=searcher_name(searcher),
        verify=(0 if device is None else DEFAULT_VERIFY_COUNT) if verify is None else verify,
        device=device_text(device),
        train=train,
        **others,
    )
