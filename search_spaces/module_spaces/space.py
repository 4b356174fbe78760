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
from search_spaces.module_spaces.network import Changes, Network
from search_spaces.module_spaces.openings import KEYS, STRUCTURE, NotHere, Opening, droppable, logits, opened, tail
from search_spaces.module_spaces.regions import Region, matching
from search_spaces.pytorch.from_module import UnsupportedModule
from search_spaces.pytorch.from_module.recording import Recording, record
from search_spaces.space.choose import Choose
from search_spaces.space.genotype import Genotype, GenotypeError, SpaceError, Value
from search_spaces.space.space import Notation, Space

Wanted = tuple[str, str, tuple[Any, ...], str]  # path, key, options, pattern


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
    are named ``path.key``. Channels that are tied to an open width follow it; openings of one tied region that have
    the same options are one choice, named after the first of them. ``inputs`` is the input's shape without the batch.

    Options: ``image_size`` (the module is read again for it), ``num_classes`` (of the layer that gives the logits),
    ``width`` (a factor on all other widths, rounded to multiples of 8). Raises ``SpaceError`` for what cannot be
    opened, ``UnsupportedModule`` for a module that no graph describes.
    """
    if not isinstance(module, nn.Module):
        raise TypeError(f"space_from takes an nn.Module, not {type(module).__name__}")
    function = OpenedModule(copy.deepcopy(module), vary, tuple(inputs))
    named = name or type(module).__name__.lower()
    return Space(
        function, named, notation=Notation(partial(_parse, function), _format), alike=Space(function.choices, named)
    )


def original(space: Space) -> Genotype:
    """The module itself in its space, heads of other tasks put on or not.

    Raises ``SpaceError`` where the space is of no module, or leaves one of the module's own values out.
    """
    function: Any = space.function
    while not isinstance(function, OpenedModule):
        within = getattr(function, "keywords", {}).get("space")
        if not isinstance(within, Space):
            raise SpaceError(f"space {space.name!r} was not made of a module by space_from")
        function = within.function
    return function.original()


@dataclass(frozen=True)
class _Plan:
    """One recording, and its openings in the order of their choices."""

    network: Network
    openings: tuple[Opening, ...]


class OpenedModule:
    """The function of a module's space."""

    def __init__(self, module: nn.Module, vary: Mapping[str, Mapping[str, Sequence[Any]]], inputs: Shape) -> None:
        self.module = module
        self.inputs = inputs
        self.__name__ = type(module).__name__
        self.wanted = _wanted(module, vary)
        self._plans: dict[int, _Plan] = {}
        plan = self.plan(None)
        self.__signature__ = self._signature(plan)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_plans": {}}  # made again where they are needed

    def _signature(self, plan: _Plan) -> inspect.Signature:
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

    def plan(self, image_size: int | None) -> _Plan:
        """How candidates are built from images of this size. Raises ``SpaceError``."""
        size = image_size or 0
        if size not in self._plans:
            if image_size is None or self.inputs[1:] == (image_size,) * 2:
                recording = record(self.module, self.inputs)
            else:
                recording = self._resized(image_size)
            self._plans[size] = _planned(self.module, recording, self.wanted)
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
        changes = _chosen(plan, choose)
        _resize(plan.network, changes, width, num_classes)
        return plan.network.graph(changes)

    def choices(self, choose: Choose) -> Graph:
        """The choices alone; the graph is always the same."""
        _chosen(self.plan(None), choose)
        builder = Builder()
        return builder.build(builder.input((1,)))

    def original(self) -> Genotype:
        """The module's own values. Raises ``SpaceError`` where an opening does not have it among its options."""
        openings = self.plan(None).openings
        lacking = [opening.name for opening in openings if opening.own is None]
        if lacking:
            raise SpaceError(f"the module is not in its space: its own value is no option of {', '.join(lacking)}")
        return Genotype({opening.name: opening.own for opening in openings})


def _parse(function: OpenedModule, text: str, options: Mapping[str, Any]) -> dict[str, Value]:
    if text.strip() != "original":
        raise GenotypeError(f"no architecture {text!r}: write 'original', or the decisions as a JSON object")
    return dict(function.original())


def _format(decisions: Mapping[str, Value], options: Mapping[str, Any]) -> str:
    return Genotype(decisions).to_json()


# -- what is open ------------------------------------------------------------------------------------------------------


def _wanted(module: nn.Module, vary: Mapping[str, Mapping[str, Sequence[Any]]]) -> list[Wanted]:
    """Each key of each module that ``vary`` names, patterns resolved."""
    paths = [path for path, _ in module.named_modules(remove_duplicate=False)]
    if not isinstance(vary, Mapping) or not vary:
        raise SpaceError("vary: expected a mapping from a module's path to what is open in it, with one entry at least")
    found: dict[tuple[str, str], Wanted] = {}
    for pattern, keys in vary.items():
        if not isinstance(keys, Mapping):
            raise SpaceError(f"vary: {pattern!r} needs a mapping such as {{'width': (0.5, 1.0)}}, not {keys!r}")
        for path in matching(str(pattern), paths):
            for key, options in keys.items():
                if key not in KEYS:
                    raise SpaceError(f"vary: {pattern!r}: no key {key!r}; known: {', '.join(KEYS)}")
                if isinstance(options, str) or not isinstance(options, Sequence) or not options:
                    raise SpaceError(f"vary: {pattern!r}: {key} needs its options as a list, not {options!r}")
                if (path, key) in found:
                    raise SpaceError(
                        f"vary: {path}.{key} is opened by {found[path, key][3]!r} and by {pattern!r}; name it once"
                    )
                found[path, key] = (path, key, tuple(options), str(pattern))
    return list(found.values())


def _children(module: nn.Module, path: str) -> list[str]:
    part = module.get_submodule(path)
    return [f"{path}.{name}" for name, _ in part.named_children()] if isinstance(part, _LISTS) else []


_LISTS = (nn.Sequential, nn.ModuleList)


def _planned(module: nn.Module, recording: Recording, wanted: Sequence[Wanted]) -> _Plan:
    equal = []
    for path, key, options, _ in wanted:
        droppables = [path] if key == "keep" and False in options else []
        if key == "depth":
            droppables += tail(options, _children(module, path))
        for dropped in droppables:
            found = droppable(recording, dropped)
            if isinstance(found, Region):
                equal.append((found.source, found.end))
    network = Network(recording, trace(recording.steps, equal))
    made: dict[str, list[Opening]] = {}
    reasons: dict[str, SpaceError] = {}
    for path, key, options, pattern in wanted:
        made.setdefault(f"{pattern}\0{key}", [])
        try:
            made[f"{pattern}\0{key}"].append(opened(key, path, options, network, _children(module, path)))
        except NotHere as reason:
            reasons.setdefault(f"{pattern}\0{key}", reason)
    for entry, openings in made.items():
        if not openings:
            raise reasons[entry]
    together = [opening for openings in made.values() for opening in openings]
    return _Plan(network, tuple(_in_order(_one_per_class(together, network))))


def _one_per_class(openings: Sequence[Opening], network: Network) -> list[Opening]:
    """Openings of one tied region are one choice, that of the first in the network."""
    kept: list[Opening] = []
    by_root: dict[int, Opening] = {}
    for opening in sorted(openings, key=lambda o: o.layer):
        other = by_root.get(opening.width_of) if opening.width_of >= 0 else None
        if other is None:
            kept.append(opening)
            by_root[opening.width_of] = opening
        elif _sizes(other, network) != _sizes(opening, network):
            raise SpaceError(
                f"vary: {other.name} and {opening.name} are one width, tied in the network; open one of them, or both"
                " with the same options"
            )
    return kept


def _sizes(opening: Opening, network: Network) -> list[int]:
    sizes = []
    for option in opening.options:
        changes = Changes(list(network.widths.own))
        opening.apply(changes, option)
        sizes.append(changes.sizes[opening.width_of])
    return sizes


def _in_order(openings: Sequence[Opening]) -> list[Opening]:
    """What leaves modules out before what is in them, outer modules first; then as the network runs."""

    def order(opening: Opening) -> tuple[Any, ...]:
        path, _, key = opening.name.rpartition(".")
        if key not in STRUCTURE:
            return (1, min(opening.steps), 0, "")
        return (0, path.count("."), min(opening.steps), ("keep", "block", "depth").index(key))

    return sorted(openings, key=order)


# -- one candidate -----------------------------------------------------------------------------------------------------


def _chosen(plan: _Plan, choose: Choose) -> Changes:
    """Make the choices that bear on the network, as it is after those before."""
    changes = Changes(list(plan.network.widths.own))
    for opening in plan.openings:
        blocks = {end for end, (_, _, block) in changes.instead.items() if block is not None}
        if not opening.steps <= changes.gone or opening.ends & blocks:
            opening.apply(changes, choose.one_of(opening.name, opening.options))
    return changes


def _resize(network: Network, changes: Changes, width: float, num_classes: int | None) -> None:
    classes = logits(network)
    if not isinstance(width, int | float) or not width > 0:
        raise GraphError(f"width must be a factor above 0, not {width!r}")
    if width != 1:
        for root in {network.widths.root(v).variable for v in range(len(network.widths.own))}:
            if root not in network.widths.held and root not in classes:
                multiple = network.multiples.get(root, 1)
                rounded = lcm(8, multiple) if lcm(8, multiple) <= max(network.widths.own[root], 8) else multiple
                changes.sizes[root] = max(1, int(changes.sizes[root] * width / rounded + 0.5)) * rounded
    if num_classes is None:
        return
    for root in classes:
        own = changes.sizes[root]
        if num_classes != own and root in network.widths.held:
            raise GraphError(f"num_classes is {own} here and cannot change: it is tied to {network.widths.held[root]}")
        changes.sizes[root] = num_classes
