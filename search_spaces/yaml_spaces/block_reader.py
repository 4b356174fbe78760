"""Layers and heads of the YAML files of spaces: blocks by name, alone, in a row, side by side or by choice."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from search_spaces.blocks.catalog import OUTPUTS, BlockFunction, load_block
from search_spaces.graph.builder import Builder, Tensor
from search_spaces.graph.operations import GraphError
from search_spaces.registry import UnknownName
from search_spaces.space.genotype import SpaceError
from search_spaces.yaml_spaces.parameter_types import COMPUTED, Kind, kind_of
from search_spaces.yaml_spaces.values import (
    RESERVED,
    Frame,
    Place,
    Step,
    check_name,
    mapping,
    read_choice,
    read_value,
    shown,
    suggestion,
)

Layer = Callable[[Frame, Builder, Tensor], Tensor]
Lets = list[tuple[str, Step]]


class Head(NamedTuple):
    """One head, read; ``output`` is the name of what it makes where that is one tensor."""

    name: str
    place: Place
    make: Callable[[Frame, Builder, Any], Any]
    features: bool
    output: str


def read_let(raw: Any, place: Place, outer: Place) -> tuple[Lets, Place]:
    """Named values in order, and ``outer`` with their names known. The next may use the ones before it."""
    if not isinstance(raw, dict):
        raise place.error(f"expected a mapping of names and values, not {shown(raw)}")
    lets: Lets = []
    for name, value in raw.items():
        check_name(name, place, {*outer.known, *RESERVED})
        here = replace(place.at(name), known=outer.known, scope=outer.scope, path=(*outer.path, name))
        lets.append((name, read_value(value, COMPUTED, here)))
        outer = outer.knowing([name])
    return lets, outer


def note_sizes(names: dict[str, Any], x: Tensor) -> None:
    names["in_channels"] = x.channels
    names["in_height"] = x.shape[-2] if len(x.shape) > 2 else 1
    names["in_width"] = x.shape[-1] if len(x.shape) > 1 else 1


class BlockReader:
    """Reads what a layer is: a block, blocks in a row, a sum or concatenation of them, or a choice of these."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.blocks_read = 0

    def layer(self, raw: Any, place: Place) -> Layer:
        if isinstance(raw, str):
            raw = {"block": raw}
        if isinstance(raw, list):
            return self._row(raw, place)
        if isinstance(raw, dict) and "choose" in raw:
            return self._choice(raw, place)
        for joint in ("sum", "concat"):
            if isinstance(raw, dict) and joint in raw:
                mapping(raw, place, (joint,))
                return self._joined(raw[joint], joint, place.at(joint))
        if not isinstance(raw, dict) or "block" not in raw:
            raise place.error(f"expected a block, a list of blocks, a choice, a sum or a concat, not {shown(raw)}")
        return self._block(raw, place)

    def _choice(self, raw: dict[Any, Any], place: Place) -> Layer:
        offered = raw["choose"]
        if isinstance(offered, list) and all(isinstance(name, str) for name in offered):
            raw = {**raw, "choose": {name: name for name in offered}}
        elif not isinstance(offered, dict) or {"from", "to"} <= offered.keys():
            raise place.at("choose").error(f"expected blocks by name, or names of blocks, not {shown(offered)}")
        named = replace(place, path=(*place.path, "block"))
        step = read_choice(raw, named, lambda r, p: self._alternative(r, p, place))
        return lambda frame, b, x: step(frame)(frame, b, x)

    def _alternative(self, raw: Any, named: Place, layer: Place) -> Step:
        """One alternative of a choice of blocks; its own choices are named below it, without the word ``block``."""
        made = self.layer(raw, replace(named, path=(*layer.path, named.path[-1])))
        return lambda _: made

    def _several(self, raw: Any, place: Place) -> list[Layer]:
        if not isinstance(raw, list) or not raw:
            raise place.error(f"expected a list of blocks, not {shown(raw)}")
        bare = replace(place, defaults={})  # which one would the stride be of?
        return [self.layer(each, bare.at(i, str(i))) for i, each in enumerate(raw)]

    def _row(self, raw: Any, place: Place) -> Layer:
        layers = self._several(raw, place)

        def row(frame: Frame, b: Builder, x: Tensor) -> Tensor:
            for layer in layers:
                x = layer(frame, b, x)
            return x

        return row

    def _joined(self, raw: Any, joint: str, place: Place) -> Layer:
        branches = self._several(raw, place)

        def joined(frame: Frame, b: Builder, x: Tensor) -> Tensor:
            tensors = [branch(frame, b, x) for branch in branches]
            try:
                return b.add(*tensors) if joint == "sum" else b.concat(tensors)
            except GraphError as error:
                raise GraphError(place.said(str(error))) from None

        return joined

    def _block(self, raw: dict[Any, Any], place: Place) -> Layer:
        function = self._function(raw["block"], place.at("block"))
        self.blocks_read += 1
        if function.features:
            raise place.at("block").error(f"{function.name!r} takes several tensors; it may be a head")
        let, arguments = self._arguments(function, raw, place)
        make, complaint = function.function, f"{function.name!r} returned no tensor"

        def run(frame: Frame, b: Builder, x: Tensor) -> Tensor:
            names = frame.names
            note_sizes(names, x)
            for name, step in let:
                names[name] = step(frame)
            given = {name: step(frame) for name, step in arguments}
            try:
                y = make(b, x, **given)
            except GraphError as error:
                raise GraphError(place.said(str(error))) from None
            if not isinstance(y, Tensor):
                raise GraphError(place.said(complaint))
            return y

        return run

    def head(self, name: str, raw: Any, place: Place, features: bool) -> Head:
        if isinstance(raw, str):
            raw = {"block": raw}
        if not isinstance(raw, dict) or "block" not in raw:
            raise place.error(f"expected a mapping with a `block`, the name of a head, not {shown(raw)}")
        function = self._function(raw["block"], place.at("block"), head=True)
        if function.features and not features:
            raise place.error(f"{function.name!r} reads the features, and no stage has `feature: true`")
        let, arguments = self._arguments(function, raw, place)

        def make(frame: Frame, b: Builder, x: Any) -> Any:
            for let_name, step in let:
                frame.names[let_name] = step(frame)
            given = {parameter: step(frame) for parameter, step in arguments}
            try:
                return function.function(b, x, **given)
            except GraphError as error:
                raise GraphError(place.said(str(error))) from None

        return Head(name, place, make, function.features, OUTPUTS.get(function.name, "output"))

    def _function(self, name: Any, place: Place, *, head: bool = False) -> BlockFunction:
        if not isinstance(name, str):
            raise place.error(f"expected the name of a {'head' if head else 'block'}, not {shown(name)}")
        try:
            return load_block(name, self.folder, head=head)
        except (UnknownName, SpaceError) as error:
            raise place.error(str(error)) from None

    def _arguments(self, function: BlockFunction, raw: dict[Any, Any], place: Place) -> tuple[Lets, Lets]:
        """The named values of a block, and its arguments, checked against what the function takes."""
        let, place = read_let(raw.get("let") or {}, place.at("let"), place)
        arguments: Lets = []
        for name, value in raw.items():
            if name in ("block", "let"):
                continue
            if name not in function.parameters:
                hint = suggestion(name, function.parameters).removesuffix("?")
                raise place.error(f"no parameter {shown(name)}{hint}; its signature is {function.signature}")
            kind: Kind = kind_of(function.parameters[name].annotation)
            arguments.append((name, read_value(value, kind, place.at(name, name))))
        for name, parameter in function.parameters.items():
            if name in raw:
                continue
            if name in place.defaults:
                source = place.defaults[name]
                arguments.append((name, lambda frame, source=source: frame.names[source]))  # type: ignore[misc]
            elif parameter.required:
                raise place.error(f"the parameter {name!r} is missing; its signature is {function.signature}")
        return let, arguments
