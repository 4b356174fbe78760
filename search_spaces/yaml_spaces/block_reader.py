"""Layers and heads of the YAML files of spaces: blocks by name, alone, in a row, side by side or by choice."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from search_spaces.blocks.catalog import HEAD_OUTPUT_NAMES, BlockFunction, load_block
from search_spaces.graph.builder import Builder, Tensor
from search_spaces.graph.operations import GraphError
from search_spaces.registry import UnknownName
from search_spaces.space.genotype import SpaceError
from search_spaces.yaml_spaces.parameter_types import EXPRESSION_TYPE, ParameterType, parameter_type_of
from search_spaces.yaml_spaces.values import (
    RESERVED_NAMES,
    FileLocation,
    FrameFunction,
    NetworkFrame,
    check_mapping,
    check_name,
    format_value,
    read_choice,
    read_value,
    suggestion,
)

LayerFunction = Callable[[NetworkFrame, Builder, Tensor], Tensor]
NamedValues = list[tuple[str, FrameFunction]]


class HeadSpec(NamedTuple):
    """One head, read; ``output`` is the name of what it makes where that is one tensor."""

    name: str
    location: FileLocation
    make: Callable[[NetworkFrame, Builder, Any], Any]
    features: bool
    output: str
    block: str


def read_let(raw: Any, location: FileLocation, outer: FileLocation) -> tuple[NamedValues, FileLocation]:
    """Named values in order, and ``outer`` with their names in scope. The next may use the ones before it."""
    if not isinstance(raw, dict):
        raise location.error(f"expected a mapping of names and values, not {format_value(raw)}")
    lets: NamedValues = []
    for name, value in raw.items():
        check_name(name, location, {*outer.names_in_scope, *RESERVED_NAMES})
        here = replace(
            location.child(name), names_in_scope=outer.names_in_scope, scope=outer.scope, path=(*outer.path, name)
        )
        lets.append((name, read_value(value, EXPRESSION_TYPE, here)))
        outer = outer.with_names([name])
    return lets, outer


def set_size_names(names: dict[str, Any], x: Tensor) -> None:
    names["in_channels"] = x.channels
    names["in_height"] = x.shape[-2] if len(x.shape) > 2 else 1
    names["in_width"] = x.shape[-1] if len(x.shape) > 1 else 1


class BlockReader:
    """Reads what a layer is: a block, blocks in a row, a sum or concatenation of them, or a choice of these."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.block_count = 0

    def layer(self, raw: Any, location: FileLocation) -> LayerFunction:
        if isinstance(raw, str):
            raw = {"block": raw}
        if isinstance(raw, list):
            return self._read_sequence(raw, location)
        if isinstance(raw, dict) and "choose" in raw:
            return self._read_layer_choice(raw, location)
        for merge_op in ("sum", "concat"):
            if isinstance(raw, dict) and merge_op in raw:
                check_mapping(raw, location, (merge_op,))
                return self._read_merge(raw[merge_op], merge_op, location.child(merge_op))
        if not isinstance(raw, dict) or "block" not in raw:
            raise location.error(
                f"expected a block, a list of blocks, a choice, a sum or a concat, not {format_value(raw)}"
            )
        return self._read_block(raw, location)

    def _read_layer_choice(self, raw: dict[Any, Any], location: FileLocation) -> LayerFunction:
        raw_options = raw["choose"]
        if isinstance(raw_options, list) and all(isinstance(name, str) for name in raw_options):
            raw = {**raw, "choose": {name: name for name in raw_options}}
        elif not isinstance(raw_options, dict) or {"from", "to"} <= raw_options.keys():
            raise location.child("choose").error(
                f"expected blocks by name, or names of blocks, not {format_value(raw_options)}"
            )
        choice_location = replace(location, path=(*location.path, "block"))
        step = read_choice(raw, choice_location, lambda r, p: self._read_alternative(r, p, location))
        return lambda frame, b, x: step(frame)(frame, b, x)

    def _read_alternative(self, raw: Any, choice_location: FileLocation, layer: FileLocation) -> FrameFunction:
        """One alternative of a choice of blocks; its own choices are named below it, without the word ``block``."""
        layer_function = self.layer(raw, replace(choice_location, path=(*layer.path, choice_location.path[-1])))
        return lambda _: layer_function

    def _read_list(self, raw: Any, location: FileLocation) -> list[LayerFunction]:
        if not isinstance(raw, list) or not raw:
            raise location.error(f"expected a list of blocks, not {format_value(raw)}")
        bare = replace(location, defaults={})  # which one would the stride be of?
        return [self.layer(each, bare.child(i, str(i))) for i, each in enumerate(raw)]

    def _read_sequence(self, raw: Any, location: FileLocation) -> LayerFunction:
        layers = self._read_list(raw, location)

        def row(frame: NetworkFrame, b: Builder, x: Tensor) -> Tensor:
            for layer in layers:
                x = layer(frame, b, x)
            return x

        return row

    def _read_merge(self, raw: Any, merge_op: str, location: FileLocation) -> LayerFunction:
        branches = self._read_list(raw, location)

        def joined(frame: NetworkFrame, b: Builder, x: Tensor) -> Tensor:
            tensors = [branch(frame, b, x) for branch in branches]
            try:
                return b.add(*tensors) if merge_op == "sum" else b.concat(tensors)
            except GraphError as error:
                raise GraphError(location.message(str(error))) from None

        return joined

    def _read_block(self, raw: dict[Any, Any], location: FileLocation) -> LayerFunction:
        function = self._load_function(raw["block"], location.child("block"))
        self.block_count += 1
        if function.features:
            raise location.child("block").error(f"{function.name!r} takes several tensors; it may be a head")
        let, arguments = self._read_arguments(function, raw, location)
        make, error_text = function.function, f"{function.name!r} returned no tensor"
        block = function.name.rpartition(":")[2]

        def run(frame: NetworkFrame, b: Builder, x: Tensor) -> Tensor:
            names = frame.names
            set_size_names(names, x)
            for name, step in let:
                names[name] = step(frame)
            keyword_values = {name: step(frame) for name, step in arguments}
            try:
                with b.scope("", block):
                    y = make(b, x, **keyword_values)
            except GraphError as error:
                raise GraphError(location.message(str(error))) from None
            if not isinstance(y, Tensor):
                raise GraphError(location.message(error_text))
            return y

        return run

    def head(self, name: str, raw: Any, location: FileLocation, features: bool) -> HeadSpec:
        if isinstance(raw, str):
            raw = {"block": raw}
        if not isinstance(raw, dict) or "block" not in raw:
            raise location.error(f"expected a mapping with a `block`, the name of a head, not {format_value(raw)}")
        function = self._load_function(raw["block"], location.child("block"), head=True)
        if function.features and not features:
            raise location.error(f"{function.name!r} reads the features, and no stage has `feature: true`")
        let, arguments = self._read_arguments(function, raw, location)

        def make(frame: NetworkFrame, b: Builder, x: Any) -> Any:
            for let_name, step in let:
                frame.names[let_name] = step(frame)
            keyword_values = {parameter: step(frame) for parameter, step in arguments}
            try:
                return function.function(b, x, **keyword_values)
            except GraphError as error:
                raise GraphError(location.message(str(error))) from None

        output = HEAD_OUTPUT_NAMES.get(function.name, "output")
        return HeadSpec(name, location, make, function.features, output, function.name.rpartition(":")[2])

    def _load_function(self, name: Any, location: FileLocation, *, head: bool = False) -> BlockFunction:
        if not isinstance(name, str):
            raise location.error(f"expected the name of a {'head' if head else 'block'}, not {format_value(name)}")
        try:
            return load_block(name, self.folder, head=head)
        except (UnknownName, SpaceError) as error:
            raise location.error(str(error)) from None

    def _read_arguments(
        self, function: BlockFunction, raw: dict[Any, Any], location: FileLocation
    ) -> tuple[NamedValues, NamedValues]:
        """The named values of a block, and its arguments, checked against what the function takes."""
        let, location = read_let(raw.get("let") or {}, location.child("let"), location)
        arguments: NamedValues = []
        for name, value in raw.items():
            if name in ("block", "let"):
                continue
            if name not in function.parameters:
                hint = suggestion(name, function.parameters).removesuffix("?")
                raise location.error(f"no parameter {format_value(name)}{hint}; its signature is {function.signature}")
            kind: ParameterType = parameter_type_of(function.parameters[name].annotation)
            arguments.append((name, read_value(value, kind, location.child(name, name))))
        for name, parameter in function.parameters.items():
            if name in raw:
                continue
            if name in location.defaults:
                source = location.defaults[name]
                arguments.append((name, lambda frame, source=source: frame.names[source]))  # type: ignore[misc]
            elif parameter.required:
                raise location.error(f"the parameter {name!r} is missing; its signature is {function.signature}")
        return let, arguments
