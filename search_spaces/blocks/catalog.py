"""Blocks and heads by the names that YAML files use: tables of strings, and the parameters of what they name.

A new block is a row in ``BLOCKS``, a new head one in ``HEADS``. Installed packages add either through the entry-point
group ``nas.blocks``, whose objects are the functions themselves; ``package.module:function`` and
``./file.py:function`` name one without a row. Nothing is imported before it is used.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, get_origin, get_type_hints

from search_spaces.graph.builder import Builder, Tensor
from search_spaces.registry import UnknownName, import_file, import_object, plugin_paths, unknown_name
from search_spaces.space.genotype import SpaceError

BLOCKS: dict[str, str] = {
    # shared blocks
    "conv_norm_act": "search_spaces.blocks.mobile:conv_norm_act",
    "depthwise_norm_act": "search_spaces.blocks.mobile:depthwise_norm_act",
    "squeeze_excite": "search_spaces.blocks.mobile:squeeze_excite",
    "inverted_bottleneck": "search_spaces.blocks.mobile:inverted_bottleneck",
    "fused_inverted_bottleneck": "search_spaces.blocks.mobile:fused_inverted_bottleneck",
    "tucker": "search_spaces.blocks.mobile:tucker",
    "spatial_squeeze_excite": "search_spaces.blocks.squeeze_excite:spatial_squeeze_excite",
    "spatial_channel_squeeze_excite": "search_spaces.blocks.squeeze_excite:spatial_channel_squeeze_excite",
    "inverted_bottleneck_3d": "search_spaces.blocks.volumetric:inverted_bottleneck_3d",
    "conv_2plus1d": "search_spaces.blocks.volumetric:conv_2plus1d",
    "inverted_bottleneck_2plus1d": "search_spaces.blocks.volumetric:inverted_bottleneck_2plus1d",
    "split_bottleneck": "search_spaces.blocks.split_bottleneck:split_bottleneck",
    # blocks of one system, with its padding and constants
    "conv_norm_act_symmetric": "search_spaces.families.mobilenetv4:conv_norm_act",
    "inverted_residual": "search_spaces.families.mobilenetv2:inverted_residual",
    "bneck": "search_spaces.families.mobilenetv3:bottleneck",
    "mb_conv": "search_spaces.families.proxylessnas:mb_conv",
    "mnasnet_layer": "search_spaces.families.mnasnet:mnasnet_layer",
    "universal_inverted_bottleneck": "search_spaces.families.mobilenetv4:universal_inverted_bottleneck",
    "multi_query_attention": "search_spaces.families.mobilenetv4:multi_query_attention",
    "irmb": "search_spaces.families.emo:irmb",
    "i2rmb": "search_spaces.families.emo:i2rmb",
    # single operations
    "identity": "search_spaces.blocks.catalog:identity",
    "conv": "search_spaces.graph.builder:Builder.conv",
    "norm": "search_spaces.graph.builder:Builder.norm",
    "act": "search_spaces.graph.builder:Builder.act",
    "pool": "search_spaces.graph.builder:Builder.pool",
    "global_pool": "search_spaces.graph.builder:Builder.global_pool",
    "resize": "search_spaces.graph.builder:Builder.resize",
    "layer_scale": "search_spaces.graph.builder:Builder.layer_scale",
    "softmax": "search_spaces.graph.builder:Builder.softmax",
}

HEADS: dict[str, str] = {
    "classifier": "search_spaces.blocks.heads:classifier",
    "ssdlite": "search_spaces.blocks.heads:ssdlite",
    "dnin": "search_spaces.families.leyolo:dnin",
    "regressor": "search_spaces.blocks.multitask_heads:regressor",
    "segmentation_decoder": "search_spaces.blocks.multitask_heads:segmentation_decoder",
}

# What the output of a head is called that has one
HEAD_OUTPUT_NAMES: dict[str, str] = {
    "classifier": "logits",
    "regressor": "values",
    "segmentation_decoder": "segmentation",
}


def identity(b: Builder, x: Tensor) -> Tensor:
    """Nothing: ``x`` itself, as an alternative to a block that keeps the shape."""
    return x


@dataclass(frozen=True)
class Parameter:
    """One parameter of a block: its annotation (``inspect.Parameter.empty``: none) and whether it needs a value."""

    annotation: Any
    required: bool


@dataclass(frozen=True)
class BlockFunction:
    """A block or head, and what it takes behind builder and tensor; ``features``: it takes a sequence of tensors."""

    name: str
    function: Callable[..., Any]
    parameters: Mapping[str, Parameter]
    signature: str
    features: bool


def blocks(heads: bool = False) -> dict[str, str]:
    """Names of blocks, or of heads, and where each is; those of installed packages are in both."""
    return {**plugin_paths("nas.blocks"), **(HEADS if heads else BLOCKS)}


def load_block(name: str, folder: Path, *, head: bool = False) -> BlockFunction:
    """The block, or head, of that name; files are looked for in ``folder``.

    Raises ``UnknownName`` or ``SpaceError``; whatever else importing the named module raises goes through.
    """
    kind = "head" if head else "block"
    location, _, attribute = name.rpartition(":")
    if not location:
        table = blocks(head)
        if name not in table:
            other = blocks(not head)
            if name in other:
                raise UnknownName(f"{name!r} is a {'block' if head else 'head'}, not a {kind}")
            raise unknown_name(kind, name, list(table))
        location, _, attribute = table[name].partition(":")
    first, *rest = attribute.split(".")
    is_file = location.endswith(".py")
    target = import_file(folder / location, first, SpaceError) if is_file else import_object(f"{location}:{first}")
    for part in rest:
        target = getattr(target, part, None)
    if not callable(target):
        raise SpaceError(f"{name!r} is {type(target).__name__}, not a function of a builder and a tensor")
    return _inspect_block(name, target)


def _inspect_block(name: str, function: Callable[..., Any]) -> BlockFunction:
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        raise SpaceError(f"{name!r} does not say which parameters it takes") from None
    all_parameters = list(signature.parameters.values())
    if len(all_parameters) < 2 or any(
        p.kind not in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD) for p in all_parameters[:2]
    ):
        raise SpaceError(f"{name!r} takes {signature}; a block takes a builder and a tensor first")
    try:
        hints = get_type_hints(function.func if isinstance(function, partial) else function)
    except (NameError, TypeError, AttributeError):  # names that exist for type checkers alone
        hints = {}
    named_parameters = [p for p in all_parameters[2:] if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    settable = [p for p in named_parameters if get_origin(hints.get(p.name)) is not _CALLABLE_ORIGIN]
    first_input_type = hints.get(all_parameters[1].name)
    return BlockFunction(
        name,
        function,
        {p.name: Parameter(hints.get(p.name, p.empty), p.default is p.empty) for p in settable},
        f"{name}({', '.join(_parameter_text(p) for p in settable)})",
        features=first_input_type is not None
        and first_input_type is not Tensor
        and get_origin(first_input_type) is not None,
    )


def _parameter_text(parameter: inspect.Parameter) -> str:
    """The parameter as in the function's own text; annotations are texts in most files."""
    annotation, text = parameter.annotation, parameter.name
    if annotation is not parameter.empty:
        text += f": {annotation if isinstance(annotation, str) else inspect.formatannotation(annotation)}"
    return text if parameter.default is parameter.empty else f"{text} = {parameter.default!r}"


_CALLABLE_ORIGIN = get_origin(Callable[..., Any])
