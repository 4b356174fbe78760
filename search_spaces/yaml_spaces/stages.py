"""Spaces that are YAML files alone: a stem, stages of layers, a head; blocks, choices and arithmetic on choices.

``docs/yaml.md`` says what a file holds. It is read once into functions of a ``Frame``, which then run in every network;
whatever is wrong with the file, ``stages_space`` raises as ``SpaceError`` with the place.
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
from search_spaces.yaml_spaces.block_reader import BlockReader, Head, Layer, Lets, note_sizes, read_let
from search_spaces.yaml_spaces.parameter_types import WHOLE, WHOLES
from search_spaces.yaml_spaces.values import (
    LAYER_NAMES,
    RESERVED,
    SIZES,
    STAGE_NAMES,
    Frame,
    Place,
    Scope,
    Step,
    check_name,
    mapping,
    read_value,
    shown,
    suggestion,
)

KEYS = ("name", "options", "input", "let", "stem", "stages", "head", "heads")
STAGE_KEYS = ("name", "let", "width", "depth", "stride", "first", "block", "share", "feature")
MOST_STAGES = 100
MOST_BLOCKS = 10_000  # of one network, a layer's alternatives counted all
_SPACE_NAME = re.compile(r"[\w.+ -]{1,80}")
INPUT = ["3", "image_size", "image_size"]


class Stage(NamedTuple):
    """One stage, read: what is asked once, and what makes its first layer and the others."""

    name: str
    place: Place
    let: Lets
    width: Step | None
    depth: Step
    stride: Step
    first: Layer
    block: Layer
    feature: bool
    blocks: int  # of a layer at most


def stages_space(document: Mapping[Any, Any], path: Path, **options: Any) -> Space:
    """The space of a document with ``stages``; ``options`` win over the document's. Raises ``SpaceError``."""
    top = Place(str(path), "", frozenset(), Scope())
    mapping(document, top, KEYS, ["stages"])
    defaults = _read_options(document.get("options") or {}, top.at("options"))
    name = document.get("name", path.stem)
    if not isinstance(name, str) or not _SPACE_NAME.fullmatch(name):
        raise top.at("name").error(f"expected letters, digits, spaces and . _ + -, at most 80, not {shown(name)}")
    return Space(_network(document, path, top, defaults), name, options)


def _network(document: Mapping[str, Any], path: Path, top: Place, defaults: Mapping[str, Any]) -> Callable[..., Graph]:
    """The function of a ``Choose`` and the options that makes the document's networks."""
    top = top.knowing(defaults)
    if "input" not in document and "image_size" not in defaults:
        raise top.error("the options need an image_size, or the file an `input`: channels and extents")
    input_place = top.at("input")
    shape = read_value(document.get("input", INPUT), WHOLES, input_place)
    let, top = read_let(document.get("let") or {}, top.at("let"), top)
    reader = BlockReader(path.parent)
    stem = None
    if document.get("stem") is not None:
        stem = reader.layer(document["stem"], _part(top.at("stem")).knowing(SIZES))
    stages = _read_stages(document["stages"], top, reader)
    heads = _read_heads(document, top, reader, any(s.feature for s in stages))

    def network(choose: Choose, **given: Any) -> Graph:
        names = {**defaults, **{n: tuple(v) if isinstance(v, list) else v for n, v in given.items()}}
        frame = Frame(choose, names, "", {}, "")
        for name, step in let:
            names[name] = step(frame)
        b = Builder()
        try:
            x = b.input(shape(frame))
        except GraphError as error:
            raise GraphError(input_place.said(str(error))) from None
        if stem is not None:
            x = stem(_below(frame, "stem."), b, x)
        features, blocks = [], 0
        for number, stage in enumerate(stages):
            x, depth = _run_stage(stage, number, frame, b, x, MOST_BLOCKS - blocks)
            blocks += depth * stage.blocks
            if stage.feature:
                features.append(x)
        return b.build(_outputs(heads, frame, b, x, features) or x)

    positional = inspect.Parameter("choose", inspect.Parameter.POSITIONAL_OR_KEYWORD)
    keywords = [inspect.Parameter(n, inspect.Parameter.KEYWORD_ONLY, default=v) for n, v in defaults.items()]
    network.__signature__ = inspect.Signature([positional, *keywords])  # type: ignore[attr-defined]
    return network


def _part(place: Place, scope: Scope | None = None) -> Place:
    """The same place with choices of its own, whose names begin anew behind the part's prefix."""
    return Place(place.file, place.where, place.known, scope or Scope())


def _below(frame: Frame, prefix: str) -> Frame:
    return Frame(frame.choose, dict(frame.names), prefix, {}, prefix)


# -- options, names, stages --------------------------------------------------------------------------------------------


def _read_options(raw: Any, place: Place) -> dict[str, Any]:
    if not isinstance(raw, dict):
        raise place.error(f"expected a mapping of names and values, not {shown(raw)}")
    options = {}
    for name, value in raw.items():
        check_name(name, place, RESERVED)
        if name == "choose":
            raise place.error("options are given, not chosen; choices go under `let`")
        if isinstance(value, dict):
            raise place.at(name).error("an option is a plain value or a list of them; choices go under `let`")
        options[name] = tuple(value) if isinstance(value, list) else value
    return options


def _read_stages(raw: Any, top: Place, reader: BlockReader) -> list[Stage]:
    if not isinstance(raw, list) or not raw:
        raise top.at("stages").error(f"expected a list of stages, not {shown(raw)}")
    if len(raw) > MOST_STAGES:
        raise top.at("stages").error(f"a network has at most {MOST_STAGES} stages, this one {len(raw)}")
    stages: list[Stage] = []
    for number, each in enumerate(raw):
        place = top.at("stages").at(number)
        stage = _read_stage(each, f"stage{number}", place, reader)
        if stage.name in ("stem", "head", "heads", *(s.name for s in stages)):
            raise place.at("name").error(f"the name {stage.name!r} is taken; take another one")
        stages.append(stage)
    return stages


def _read_stage(raw: Any, default_name: str, place: Place, reader: BlockReader) -> Stage:
    mapping(raw, place, STAGE_KEYS, ["block"])
    name = check_name(raw.get("name", default_name), place.at("name"))
    feature = raw.get("feature", False)
    if not isinstance(feature, bool):
        raise place.at("feature").error(f"expected true or false, not {shown(feature)}")
    own = _part(place).knowing(STAGE_NAMES)
    let, own = read_let(raw.get("let") or {}, place.at("let"), own)
    once = {
        key: read_value(raw[key], kind, own.at(key, key))
        for key, kind in (("width", WHOLE), ("depth", WHOLE), ("stride", WHOLES))
        if key in raw
    }
    share = _read_share(raw.get("share", False), place.at("share"))
    known = [*LAYER_NAMES, *(["width_of_stage"] if "width" in raw else [])]
    defaults = {"stride": "stride", **({"out_channels": "width_of_stage"} if "width" in raw else {})}
    shared: dict[str, tuple[Any, ...]] = {}  # one choice, in the first layer and in the others
    layer = Place(place.file, place.where, own.known.union(known), Scope(share, shared), (), defaults)
    read_before = reader.blocks_read
    block = first = reader.layer(raw["block"], layer.at("block"))
    if "first" in raw:
        first = reader.layer(raw["first"], replace(layer, scope=Scope(share, shared)).at("first"))
    for choice in share if isinstance(share, tuple) else ():
        if choice not in shared:
            raise place.at("share").error(
                f"no choice {choice!r} in this stage{suggestion(choice, layer.scope.choices)}"
            )
    blocks = max(1, reader.blocks_read - read_before)
    width, depth, stride = (once.get(key) for key in ("width", "depth", "stride"))
    return Stage(
        name, place, let, width, depth or (lambda _: 1), stride or (lambda _: 1), first, block, feature, blocks
    )


def _read_share(raw: Any, place: Place) -> tuple[str, ...] | bool:
    if isinstance(raw, bool):
        return raw
    if not isinstance(raw, list) or not all(isinstance(name, str) for name in raw):
        raise place.error(f"expected true, or a list of names of choices, not {shown(raw)}")
    return tuple(raw)


def _run_stage(
    stage: Stage, number: int, network: Frame, b: Builder, x: Tensor, blocks_left: int
) -> tuple[Tensor, int]:
    frame = _below(network, f"{stage.name}.")
    names = frame.names
    names["stage"] = number
    note_sizes(names, x)
    for name, step in stage.let:
        names[name] = step(frame)
    width = stage.width(frame) if stage.width is not None else None
    depth, stride = stage.depth(frame), stage.stride(frame)
    if depth < 0 or depth * stage.blocks > blocks_left:
        raise GraphError(
            stage.place.at("depth").said(
                f"{depth} layers; a stage has at least 0, and a network at most {MOST_BLOCKS} blocks, a layer's"
                " alternatives counted all"
            )
        )
    if width is not None:
        names["width_of_stage"] = width
    names["depth_of_stage"] = depth
    for layer in range(depth):
        own = Frame(frame.choose, dict(names), f"{frame.prefix}layer{layer}.", frame.shared, frame.prefix)
        own.names["layer"] = layer
        own.names["stride"] = 1 if layer else stride
        y = (stage.block if layer else stage.first)(own, b, x)
        if layer == 0 and y.shape[1:] == x.shape[1:] and _shrinks(stride, x.shape[1:]):
            raise GraphError(
                stage.place.at("stride").said(
                    f"a stride of {stride} that no block of the first layer has; give it to one, or a `first` layer"
                    " that takes it"
                )
            )
        x = y
    return x, depth


def _shrinks(stride: int | tuple[int, ...], extents: tuple[int, ...]) -> bool:
    strides = stride if isinstance(stride, tuple) else (stride,) * len(extents)
    return any(s > 1 and extent > 1 for s, extent in zip(strides, extents, strict=False))


# -- heads -------------------------------------------------------------------------------------------------------------


def _read_heads(document: Mapping[str, Any], top: Place, reader: BlockReader, features: bool) -> list[Head]:
    if "head" in document and "heads" in document:
        raise top.error("there is `head`, one head, or `heads`, several by name, but not both")
    if document.get("head") is not None:
        return [reader.head("", document["head"], _part(top.at("head")).knowing(SIZES), features)]
    raw, place = document.get("heads") or {}, top.at("heads")
    if not isinstance(raw, dict):
        raise place.error(f"expected a mapping of names and heads, not {shown(raw)}")
    return [
        reader.head(check_name(name, place), each, _part(place.at(name)).knowing(SIZES), features)
        for name, each in raw.items()
    ]


def _outputs(heads: list[Head], frame: Frame, b: Builder, x: Tensor, features: list[Tensor]) -> dict[str, Tensor]:
    outputs: dict[str, Tensor] = {}
    for head in heads:
        own = _below(frame, f"{'heads.' + head.name if head.name else 'head'}.")
        note_sizes(own.names, x)
        made = head.make(own, b, features if head.features else x)
        named = made if isinstance(made, dict) else {head.name or head.output: made}
        for name, tensor in named.items():
            if not isinstance(tensor, Tensor) or name in outputs:
                problem = "is the output of two heads" if name in outputs else "is no tensor"
                raise GraphError(head.place.said(f"{name!r} {problem}"))
            outputs[name] = tensor
    return outputs
