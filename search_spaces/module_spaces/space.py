"""The space of a module: its choices in order, and its options."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from math import lcm
from typing import Any

from torch import nn

from search_spaces.graph.builder import Builder
from search_spaces.graph.graph import Graph
from search_spaces.graph.operations import GraphError, Shape
from search_spaces.module_spaces.axis_tracing import trace
from search_spaces.module_spaces.network import NetworkChanges, VariableNetwork
from search_spaces.module_spaces.regions import Region, match_paths
from search_spaces.module_spaces.variations import (
    STRUCTURAL_KEYS,
    VARIATION_KEYS,
    Variation,
    VariationNotApplicable,
    logits,
    make_variation,
    removable_children,
    removable_region,
)
from search_spaces.pytorch.from_module import UnsupportedModule
from search_spaces.pytorch.from_module.recording import Recording, record
from search_spaces.space.choose import Choose
from search_spaces.space.genotype import DecisionValue, Genotype, GenotypeError, SpaceError
from search_spaces.space.notation import Notation
from search_spaces.space.space import Space

VariationRequest = tuple[str, str, tuple[Any, ...], str]  # path, key, options, pattern


def space_from(
    module: nn.Module,
    vary: Mapping[str, Mapping[str, Sequence[Any]]],
    *,
    inputs: tuple[int, ...] = (3, 224, 224),
    name: str = "",
) -> Space:
    """The space of what ``vary`` opens in ``module``, which is read as ``graph_from_module`` reads it.

    ``vary`` maps the path of a named module, or a pattern of paths (``*`` within one name, ``**`` across), to what is
    open there: ``width`` (factors, or output channels), ``kernel``, ``act``, ``depth``, ``keep``, ``block``. Choices
    are named ``path.key``. Channels that are tied to an open width follow it; choices of one tied region that have
    the same options are one choice, named after the first of them. ``inputs`` is the input's shape without the batch.

    Options: ``image_size`` (the module is read again for it), ``num_classes`` (of the layer that gives the logits),
    ``width`` (a factor on all other widths, rounded to multiples of 8). Raises ``SpaceError`` for what cannot be
    opened, ``UnsupportedModule`` for a module that no graph describes.
    """
    if not isinstance(module, nn.Module):
        raise TypeError(f"space_from takes an nn.Module, not {type(module).__name__}")
    function = ModuleSpaceFunction(copy.deepcopy(module), vary, tuple(inputs))
    space_name = name or type(module).__name__.lower()
    return Space(
        function,
        space_name,
        notation=Notation(partial(_parse, function), _format),
        cheap_twin=Space(function.choices, space_name),
    )


def original(space: Space) -> Genotype:
    """The module itself in its space, heads of other tasks put on or not.

    Raises ``SpaceError`` where the space is of no module, or leaves one of the module's own values out.
    """
    function: Any = space.function
    while not isinstance(function, ModuleSpaceFunction):
        inner_space = getattr(function, "keywords", {}).get("space")
        if not isinstance(inner_space, Space):
            raise SpaceError(f"space {space.name!r} was not made of a module by space_from")
        function = inner_space.function
    return function.original()


@dataclass(frozen=True)
class _VariationPlan:
    """One recording, and its variations in the order of their choices."""

    network: VariableNetwork
    variations: tuple[Variation, ...]


class ModuleSpaceFunction:
    """The function of a module's space."""

    def __init__(self, module: nn.Module, vary: Mapping[str, Mapping[str, Sequence[Any]]], inputs: Shape) -> None:
        self.module = module
        self.inputs = inputs
        self.__name__ = type(module).__name__
        self.requests = _resolve_requests(module, vary)
        self._plans: dict[int, _VariationPlan] = {}
        plan = self.plan(None)
        self.__signature__ = self._signature(plan)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_plans": {}}  # rebuilt where they are needed

    def _signature(self, plan: _VariationPlan) -> inspect.Signature:
        keyword, first = inspect.Parameter.KEYWORD_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD
        options: dict[str, Any] = {"width": 1.0}
        if len(self.inputs) == 3 and self.inputs[1] == self.inputs[2]:
            options["image_size"] = self.inputs[1]
        if classes := logits(plan.network):
            last = plan.network.steps[next(iter(classes.values()))]
            options["num_classes"] = last.shape[-1 if last.op == "linear" else 0]
        return inspect.Signature(
            [
                inspect.Parameter("choose", first),
                *[inspect.Parameter(n, keyword, default=v) for n, v in options.items()],
            ]
        )

    def plan(self, image_size: int | None) -> _VariationPlan:
        """How candidates are built from images of this size. Raises ``SpaceError``."""
        size = image_size or 0
        if size not in self._plans:
            if image_size is None or self.inputs[1:] == (image_size,) * 2:
                recording = record(self.module, self.inputs)
            else:
                recording = self._resized(image_size)
            self._plans[size] = _make_plan(self.module, recording, self.requests)
        return self._plans[size]

    def _resized(self, image_size: int) -> Recording:
        if isinstance(image_size, bool) or not isinstance(image_size, int) or image_size < 1:
            raise SpaceError(f"image_size must be a whole number of at least 1, not {image_size!r}")
        try:
            return record(self.module, (self.inputs[0], image_size, image_size))
        except UnsupportedModule as error:
            raise SpaceError(
                f"{self.__name__} cannot be built for image_size {image_size}: {error} (a module that holds sizes as"
                f" constants has its own image_size alone, {self.inputs[1]})"
            ) from error

    def __call__(
        self, choose: Choose, *, width: float = 1.0, image_size: int | None = None, num_classes: int | None = None
    ) -> Graph:
        plan = self.plan(image_size)
        changes = _apply_choices(plan, choose)
        _resize(plan.network, changes, width, num_classes)
        return plan.network.graph(changes)

    def choices(self, choose: Choose) -> Graph:
        """The choices alone; the graph is always the same."""
        _apply_choices(self.plan(None), choose)
        builder = Builder()
        return builder.build(builder.input((1,)))

    def original(self) -> Genotype:
        """The module's own values. Raises ``SpaceError`` where a choice does not have it among its options."""
        variations = self.plan(None).variations
        missing = [variation.name for variation in variations if variation.own is None]
        if missing:
            raise SpaceError(f"the module is not in its space: its own value is no option of {', '.join(missing)}")
        return Genotype({variation.name: variation.own for variation in variations})


def _parse(function: ModuleSpaceFunction, text: str, options: Mapping[str, Any]) -> dict[str, DecisionValue]:
    if text.strip() != "original":
        raise GenotypeError(f"no architecture {text!r}: write 'original', or the decisions as a JSON object")
    return dict(function.original())


def _format(decisions: Mapping[str, DecisionValue], options: Mapping[str, Any]) -> str:
    return Genotype(decisions).to_json()


# -- what is open ------------------------------------------------------------------------------------------------------


def _resolve_requests(module: nn.Module, vary: Mapping[str, Mapping[str, Sequence[Any]]]) -> list[VariationRequest]:
    """Each key of each module that ``vary`` names, patterns resolved."""
    paths = [path for path, _ in module.named_modules(remove_duplicate=False)]
    if not isinstance(vary, Mapping) or not vary:
        raise SpaceError("vary: expected a mapping from a module's path to what is open in it, with one entry at least")
    requests: dict[tuple[str, str], VariationRequest] = {}
    for pattern, keys in vary.items():
        if not isinstance(keys, Mapping):
            raise SpaceError(f"vary: {pattern!r} needs a mapping such as {{'width': (0.5, 1.0)}}, not {keys!r}")
        for path in match_paths(str(pattern), paths):
            for key, options in keys.items():
                if key not in VARIATION_KEYS:
                    raise SpaceError(f"vary: {pattern!r}: no key {key!r}; known: {', '.join(VARIATION_KEYS)}")
                if isinstance(options, str) or not isinstance(options, Sequence) or not options:
                    raise SpaceError(f"vary: {pattern!r}: {key} needs its options as a list, not {options!r}")
                if (path, key) in requests:
                    raise SpaceError(
                        f"vary: {path}.{key} is opened by {requests[path, key][3]!r} and by {pattern!r}; name it once"
                    )
                requests[path, key] = (path, key, tuple(options), str(pattern))
    return list(requests.values())


def _children(module: nn.Module, path: str) -> list[str]:
    part = module.get_submodule(path)
    return [f"{path}.{name}" for name, _ in part.named_children()] if isinstance(part, _LISTS) else []


_LISTS = (nn.Sequential, nn.ModuleList)


def _make_plan(module: nn.Module, recording: Recording, requests: Sequence[VariationRequest]) -> _VariationPlan:
    equal = []
    for path, key, options, _ in requests:
        droppables = [path] if key == "keep" and False in options else []
        if key == "depth":
            droppables += removable_children(options, _children(module, path))
        for dropped in droppables:
            region = removable_region(recording, dropped)
            if isinstance(region, Region):
                equal.append((region.source, region.end))
    network = VariableNetwork(recording, trace(recording.steps, equal))
    variations_by_entry: dict[str, list[Variation]] = {}
    reasons: dict[str, SpaceError] = {}
    for path, key, options, pattern in requests:
        variations_by_entry.setdefault(f"{pattern}\0{key}", [])
        try:
            variations_by_entry[f"{pattern}\0{key}"].append(
                make_variation(key, path, options, network, _children(module, path))
            )
        except VariationNotApplicable as reason:
            reasons.setdefault(f"{pattern}\0{key}", reason)
    for entry, variations in variations_by_entry.items():
        if not variations:
            raise reasons[entry]
    all_variations = [variation for variations in variations_by_entry.values() for variation in variations]
    return _VariationPlan(network, tuple(_in_choice_order(_merge_tied(all_variations, network))))


def _merge_tied(variations: Sequence[Variation], network: VariableNetwork) -> list[Variation]:
    """Variations of one tied region are one choice, that of the first in the network."""
    merged: list[Variation] = []
    by_root: dict[int, Variation] = {}
    for variation in sorted(variations, key=lambda o: o.layer):
        other = by_root.get(variation.width_of) if variation.width_of >= 0 else None
        if other is None:
            merged.append(variation)
            by_root[variation.width_of] = variation
        elif _sizes(other, network) != _sizes(variation, network):
            raise SpaceError(
                f"vary: {other.name} and {variation.name} are one width, tied in the network; open one of them, or both"
                " with the same options"
            )
    return merged


def _sizes(variation: Variation, network: VariableNetwork) -> list[int]:
    sizes = []
    for option in variation.options:
        changes = NetworkChanges(list(network.widths.own))
        variation.apply(changes, option)
        sizes.append(changes.sizes[variation.width_of])
    return sizes


def _in_choice_order(variations: Sequence[Variation]) -> list[Variation]:
    """What leaves modules out before what is in them, outer modules first; then as the network runs."""

    def order(variation: Variation) -> tuple[Any, ...]:
        path, _, key = variation.name.rpartition(".")
        if key not in STRUCTURAL_KEYS:
            return (1, min(variation.steps), 0, "")
        return (0, path.count("."), min(variation.steps), ("keep", "block", "depth").index(key))

    return sorted(variations, key=order)


# -- one candidate -----------------------------------------------------------------------------------------------------


def _apply_choices(plan: _VariationPlan, choose: Choose) -> NetworkChanges:
    """Make the choices that bear on the network, as it is after those before."""
    changes = NetworkChanges(list(plan.network.widths.own))
    for variation in plan.variations:
        blocks = {end for end, (_, _, block) in changes.replacements.items() if block is not None}
        if not variation.steps <= changes.removed_steps or variation.ends & blocks:
            variation.apply(changes, choose.one_of(variation.name, variation.options))
    return changes


def _resize(network: VariableNetwork, changes: NetworkChanges, width: float, num_classes: int | None) -> None:
    classes = logits(network)
    if not isinstance(width, int | float) or not width > 0:
        raise GraphError(f"width must be a factor above 0, not {width!r}")
    if width != 1:
        for root in {network.widths.root(v).variable for v in range(len(network.widths.own))}:
            if root not in network.widths.fixed_reasons and root not in classes:
                multiple = network.multiples.get(root, 1)
                rounded = lcm(8, multiple) if lcm(8, multiple) <= max(network.widths.own[root], 8) else multiple
                changes.sizes[root] = max(1, int(changes.sizes[root] * width / rounded + 0.5)) * rounded
    if num_classes is None:
        return
    for root in classes:
        own = changes.sizes[root]
        if num_classes != own and root in network.widths.fixed_reasons:
            raise GraphError(
                f"num_classes is {own} here and cannot change: it is tied to {network.widths.fixed_reasons[root]}"
            )
        changes.sizes[root] = num_classes
