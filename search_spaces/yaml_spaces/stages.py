"""Spaces that are YAML files alone: a stem, stages of layers, a head; blocks, choices and arithmetic on choices.

``docs/yaml.md`` says what a file holds. It is read once into functions of a ``NetworkFrame``, which then run in every
network; whatever is wrong with the file, ``stages_space`` raises as ``SpaceError`` with its location.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from search_spaces.graph.builder import Builder, Tensor
from search_spaces.graph.graph import Graph
from search_spaces.graph.operations import GraphError
from search_spaces.space.choose import Choose
from search_spaces.space.space import Space
from search_spaces.yaml_spaces.block_reader import (
    BlockReader,
    HeadSpec,
    LayerFunction,
    NamedValues,
    read_let,
    set_size_names,
)
from search_spaces.yaml_spaces.parameter_types import INT_TYPE, INTS_TYPE
from search_spaces.yaml_spaces.values import (
    LAYER_NAMES,
    RESERVED_NAMES,
    SIZE_NAMES,
    STAGE_NAMES,
    ChoiceScope,
    FileLocation,
    FrameFunction,
    NetworkFrame,
    check_mapping,
    check_name,
    format_value,
    read_value,
    suggestion,
)

DOCUMENT_KEYS = ("name", "options", "input", "let", "stem", "stages", "head", "heads")
STAGE_KEYS = ("name", "let", "width", "depth", "stride", "first", "block", "share", "feature")
MAX_STAGES = 100
MAX_BLOCKS = 10_000  # of one network, a layer's alternatives counted all
_SPACE_NAME = re.compile(r"[\w.+ -]{1,80}")
DEFAULT_INPUT = ["3", "image_size", "image_size"]


class StageSpec(NamedTuple):
    """One stage, read: values that are computed once, and the functions that make its first layer and the others."""

    name: str
    location: FileLocation
    let: NamedValues
    width: FrameFunction | None
    depth: FrameFunction
    stride: FrameFunction
    first: LayerFunction
    block: LayerFunction
    feature: bool
    blocks: int  # of a layer at most


def stages_space(document: Mapping[Any, Any], path: Path, **options: Any) -> Space:
    """The space of a document with ``stages``; ``options`` win over the document's. Raises ``SpaceError``."""
    root = FileLocation(str(path), "", frozenset(), ChoiceScope())
    check_mapping(document, root, DOCUMENT_KEYS, ["stages"])
    defaults = _read_options(document.get("options") or {}, root.child("options"))
    name = document.get("name", path.stem)
    if not isinstance(name, str) or not _SPACE_NAME.fullmatch(name):
        raise root.child("name").error(
            f"expected letters, digits, spaces and . _ + -, at most 80, not {format_value(name)}"
        )
    return Space(_network_function(document, path, root, defaults), name, options)


def _network_function(
    document: Mapping[str, Any], path: Path, root: FileLocation, defaults: Mapping[str, Any]
) -> Callable[..., Graph]:
    """The function of a ``Choose`` and the options that makes the document's networks."""
    root = root.with_names(defaults)
    if "input" not in document and "image_size" not in defaults:
        raise root.error("the options need an image_size, or the file an `input`: channels and extents")
    input_location = root.child("input")
    shape = read_value(document.get("input", DEFAULT_INPUT), INTS_TYPE, input_location)
    let, root = read_let(document.get("let") or {}, root.child("let"), root)
    reader = BlockReader(path.parent)
    stem = None
    if document.get("stem") is not None:
        stem = reader.layer(document["stem"], _section(root.child("stem")).with_names(SIZE_NAMES))
    stages = _read_stages(document["stages"], root, reader)
    heads = _read_heads(document, root, reader, any(s.feature for s in stages))

    def network(choose: Choose, **given_options: Any) -> Graph:
        names = {**defaults, **{n: tuple(v) if isinstance(v, list) else v for n, v in given_options.items()}}
        frame = NetworkFrame(choose, names, "", {}, "")
        for name, step in let:
            names[name] = step(frame)
        b = Builder()
        try:
            x = b.input(shape(frame))
        except GraphError as error:
            raise GraphError(input_location.message(str(error))) from None
        if stem is not None:
            x = stem(_child_frame(frame, "stem."), b.section("stem"), x)
        features, blocks = [], 0
        for number, stage in enumerate(stages):
            x, depth = _build_stage(stage, number, frame, b, x, MAX_BLOCKS - blocks)
            blocks += depth * stage.blocks
            if stage.feature:
                features.append(x)
        return b.build(_head_outputs(heads, frame, b, x, features) or x)

    positional = inspect.Parameter("choose", inspect.Parameter.POSITIONAL_OR_KEYWORD)
    keywords = [inspect.Parameter(n, inspect.Parameter.KEYWORD_ONLY, default=v) for n, v in defaults.items()]
    network.__signature__ = inspect.Signature([positional, *keywords])  # type: ignore[attr-defined]
    return network


def _section(location: FileLocation, scope: ChoiceScope | None = None) -> FileLocation:
    """The same location with choices of its own, whose names begin behind the part's prefix."""
    return FileLocation(location.file, location.where, location.names_in_scope, scope or ChoiceScope())


def _child_frame(frame: NetworkFrame, prefix: str) -> NetworkFrame:
    return NetworkFrame(frame.choose, dict(frame.names), prefix, {}, prefix)


# -- options, names, stages --------------------------------------------------------------------------------------------


def _read_options(raw: Any, location: FileLocation) -> dict[str, Any]:
    if not isinstance(raw, dict):
        raise location.error(f"expected a mapping of names and values, not {format_value(raw)}")
    options = {}
    for name, value in raw.items():
        check_name(name, location, RESERVED_NAMES)
        if name == "choose":
            raise location.error("options are given, not chosen; choices go under `let`")
        if isinstance(value, dict):
            raise location.child(name).error("an option is a plain value or a list of them; choices go under `let`")
        options[name] = tuple(value) if isinstance(value, list) else value
    return options


def _read_stages(raw: Any, root: FileLocation, reader: BlockReader) -> list[StageSpec]:
    if not isinstance(raw, list) or not raw:
        raise root.child("stages").error(f"expected a list of stages, not {format_value(raw)}")
    if len(raw) > MAX_STAGES:
        raise root.child("stages").error(f"a network has at most {MAX_STAGES} stages, this one {len(raw)}")
    stages: list[StageSpec] = []
    for number, each in enumerate(raw):
        location = root.child("stages").child(number)
        stage = _read_stage(each, f"stage{number}", location, reader)
        if stage.name in ("stem", "head", "heads", *(s.name for s in stages)):
            raise location.child("name").error(f"the name {stage.name!r} is taken; take another one")
        stages.append(stage)
    return stages


def _read_stage(raw: Any, default_name: str, location: FileLocation, reader: BlockReader) -> StageSpec:
    check_mapping(raw, location, STAGE_KEYS, ["block"])
    name = check_name(raw.get("name", default_name), location.child("name"))
    feature = raw.get("feature", False)
    if not isinstance(feature, bool):
        raise location.child("feature").error(f"expected true or false, not {format_value(feature)}")
    inner = _section(location).with_names(STAGE_NAMES)
    let, inner = read_let(raw.get("let") or {}, location.child("let"), inner)
    per_stage_values = {
        key: read_value(raw[key], kind, inner.child(key, key))
        for key, kind in (("width", INT_TYPE), ("depth", INT_TYPE), ("stride", INTS_TYPE))
        if key in raw
    }
    share = _read_share(raw.get("share", False), location.child("share"))
    names_in_scope = [*LAYER_NAMES, *(["width_of_stage"] if "width" in raw else [])]
    defaults = {"stride": "stride", **({"out_channels": "width_of_stage"} if "width" in raw else {})}
    shared: dict[str, tuple[Any, ...]] = {}  # one choice, in the first layer and in the others
    layer = FileLocation(
        location.file,
        location.where,
        inner.names_in_scope.union(names_in_scope),
        ChoiceScope(share, shared),
        (),
        defaults,
    )
    read_before = reader.block_count
    block = first = reader.layer(raw["block"], layer.child("block"))
    if "first" in raw:
        first = reader.layer(raw["first"], replace(layer, scope=ChoiceScope(share, shared)).child("first"))
    for choice in share if isinstance(share, tuple) else ():
        if choice not in shared:
            raise location.child("share").error(
                f"no choice {choice!r} in this stage{suggestion(choice, layer.scope.choices)}"
            )
    blocks = max(1, reader.block_count - read_before)
    width, depth, stride = (per_stage_values.get(key) for key in ("width", "depth", "stride"))
    return StageSpec(
        name, location, let, width, depth or (lambda _: 1), stride or (lambda _: 1), first, block, feature, blocks
    )


def _read_share(raw: Any, location: FileLocation) -> tuple[str, ...] | bool:
    if isinstance(raw, bool):
        return raw
    if not isinstance(raw, list) or not all(isinstance(name, str) for name in raw):
        raise location.error(f"expected true, or a list of names of choices, not {format_value(raw)}")
    return tuple(raw)


def _build_stage(
    stage: StageSpec, number: int, network: NetworkFrame, b: Builder, x: Tensor, blocks_left: int
) -> tuple[Tensor, int]:
    frame = _child_frame(network, f"{stage.name}.")
    names = frame.names
    names["stage"] = number
    set_size_names(names, x)
    for name, step in stage.let:
        names[name] = step(frame)
    width = stage.width(frame) if stage.width is not None else None
    depth, stride = stage.depth(frame), stage.stride(frame)
    if depth < 0 or depth * stage.blocks > blocks_left:
        raise GraphError(
            stage.location.child("depth").message(
                f"{depth} layers; a stage has at least 0, and a network at most {MAX_BLOCKS} blocks, a layer's"
                " alternatives counted all"
            )
        )
    if width is not None:
        names["width_of_stage"] = width
    names["depth_of_stage"] = depth
    for layer in range(depth):
        inner = NetworkFrame(frame.choose, dict(names), f"{frame.prefix}layer{layer}.", frame.shared, frame.prefix)
        inner.names["layer"] = layer
        inner.names["stride"] = 1 if layer else stride
        y = (stage.block if layer else stage.first)(inner, b.section(f"{stage.name}.layer{layer}"), x)
        if layer == 0 and y.shape[1:] == x.shape[1:] and _reduces_size(stride, x.shape[1:]):
            raise GraphError(
                stage.location.child("stride").message(
                    f"a stride of {stride} that no block of the first layer has; give it to one, or a `first` layer"
                    " that takes it"
                )
            )
        x = y
    return x, depth


def _reduces_size(stride: int | tuple[int, ...], extents: tuple[int, ...]) -> bool:
    strides = stride if isinstance(stride, tuple) else (stride,) * len(extents)
    return any(s > 1 and extent > 1 for s, extent in zip(strides, extents, strict=False))


# -- heads -------------------------------------------------------------------------------------------------------------


def _read_heads(document: Mapping[str, Any], root: FileLocation, reader: BlockReader, features: bool) -> list[HeadSpec]:
    if "head" in document and "heads" in document:
        raise root.error("there is `head`, one head, or `heads`, several by name, but not both")
    if document.get("head") is not None:
        return [reader.head("", document["head"], _section(root.child("head")).with_names(SIZE_NAMES), features)]
    raw, location = document.get("heads") or {}, root.child("heads")
    if not isinstance(raw, dict):
        raise location.error(f"expected a mapping of names and heads, not {format_value(raw)}")
    return [
        reader.head(check_name(name, location), each, _section(location.child(name)).with_names(SIZE_NAMES), features)
        for name, each in raw.items()
    ]


def _head_outputs(
    heads: list[HeadSpec], frame: NetworkFrame, b: Builder, x: Tensor, features: list[Tensor]
) -> dict[str, Tensor]:
    outputs: dict[str, Tensor] = {}
    for head in heads:
        section = f"heads.{head.name}" if head.name else "head"
        inner = _child_frame(frame, f"{section}.")
        set_size_names(inner.names, x)
        result = head.make(inner, b.section(section, head.block), features if head.features else x)
        named_outputs = result if isinstance(result, dict) else {head.name or head.output: result}
        for name, tensor in named_outputs.items():
            if not isinstance(tensor, Tensor) or name in outputs:
                problem = "is the output of two heads" if name in outputs else "is no tensor"
                raise GraphError(head.location.message(f"{name!r} {problem}"))
            outputs[name] = tensor
    return outputs
