"""The names that timm gives to the tensors of the networks that are known here by name.

timm's state dictionaries name a layer by its stage, its number in it and its place in the block
(``blocks.2.1.conv_pw.weight``; timm/models/_efficientnet_builder.py, _efficientnet_blocks.py and resnet.py).
Stages and layers are counted here in the order in which they run, as there; what a block's parts are called is a row.

A name says nothing of padding and of normalisation's constants, which are the graph's: weights that timm trained with
TensorFlow's padding (``tf_...``) belong on graphs with SAME padding and an epsilon of 1e-3, all others on those with
padding on both sides and 1e-5.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from search_spaces.graph.graph import Graph

# By part and operation, the module in timm's block; where there are several, the first that the file has
Names = Mapping[str, tuple[str, ...]]

_SQUEEZE_EXCITE: Names = {
    "squeeze_excite/reduce/conv": ("se.conv_reduce",),
    "squeeze_excite/expand/conv": ("se.conv_expand",),
}
_INVERTED: Names = {
    "expand/conv": ("conv_pw",),
    "expand/norm": ("bn1",),
    "depthwise/conv": ("conv_dw",),
    "depthwise/norm": ("bn2",),
    "project/conv": ("conv_pwl",),
    "project/norm": ("bn3",),
    **_SQUEEZE_EXCITE,
}
_SEPARABLE: Names = {
    "depthwise/conv": ("conv_dw",),
    "depthwise/norm": ("bn1",),
    "project/conv": ("conv_pw",),
    "project/norm": ("bn2",),
    **_SQUEEZE_EXCITE,
}
_FUSED: Names = {
    "expand/conv": ("conv_exp",),
    "expand/norm": ("bn1",),
    "project/conv": ("conv_pwl",),
    "project/norm": ("bn2",),
    **_SQUEEZE_EXCITE,
}
_UNIVERSAL: Names = {
    f"{part}/{op}": (f"{timm}.{place}",)
    for part, timm in (
        ("depthwise_start", "dw_start"),
        ("expand", "pw_exp"),
        ("depthwise_mid", "dw_mid"),
        ("project", "pw_proj"),
    )
    for op, place in (("conv", "conv"), ("norm", "bn"))
} | {"layer_scale": ("layer_scale",)}
_ATTENTION: Names = {
    "norm": ("norm",),
    "query/conv": ("attn.query.proj",),
    "output/conv": ("attn.output.proj",),
    "layer_scale": ("layer_scale",),
    # Where keys and values are strided, a depthwise convolution and its normalisation come first
    **{f"{kv}/conv": (f"attn.{kv}.down_conv", f"attn.{kv}.proj") for kv in ("key", "value")},
    **{f"{kv}/norm": (f"attn.{kv}.norm",) for kv in ("key", "value")},
    **{f"{kv}/conv_2": (f"attn.{kv}.proj",) for kv in ("key", "value")},
}
_CONVOLUTION: Names = {"conv": ("conv",), "norm": ("bn1",)}
_RESIDUAL: Names = {
    **{f"conv{i}/conv": (f"conv{i}",) for i in (1, 2, 3)},
    **{f"conv{i}/norm": (f"bn{i}",) for i in (1, 2, 3)},
    "shortcut/conv": ("downsample.0",),
    "shortcut/norm": ("downsample.1",),
}

# By the name of the block function; separable are those inverted bottlenecks that do not expand
BLOCK_NAMES: Mapping[str, Names] = {
    **dict.fromkeys(
        ("inverted_bottleneck", "inverted_residual", "bottleneck", "mnasnet_layer", "mbconv", "mb_conv"), _INVERTED
    ),
    "fused_inverted_bottleneck": _FUSED,
    "universal_inverted_bottleneck": _UNIVERSAL,
    "multi_query_attention": _ATTENTION,
    "conv_norm_act": _CONVOLUTION,
    "residual_basic": _RESIDUAL,
    "residual_bottleneck": _RESIDUAL,
}
# Of sections that stand alone, by section and operation
SECTION_NAMES: Mapping[str, Names] = {
    "stem": {"conv": ("conv_stem", "conv1"), "norm": ("bn1",)},
    "feature": {"conv": ("conv_head",), "norm": ("norm_head", "bn2")},
    "head": {"linear": ("classifier", "fc"), "conv": ("classifier",)},
}
_ARRAYS = {"layer_scale": {"weight": "gamma"}}  # by operation, where timm's name is another


class TimmPlace(NamedTuple):
    """Where timm may have a node's tensors: module paths to try in order, and names of tensors that differ."""

    paths: tuple[str, ...]
    arrays: Mapping[str, str]


def timm_places(graph: Graph) -> dict[int, TimmPlace | None]:
    """Of every node in a section the place of its tensors in timm's network; ``None`` where no row has one."""
    parts: dict[str, set[str]] = {}  # of each section
    blocks: dict[str, set[str]] = {}
    for label in graph.labels:
        parts.setdefault(label.section, set()).add(label.path.partition("/")[2])
        blocks.setdefault(label.section, set()).update([call.block for call in label.calls])
    rows = {section: _rows(blocks[section], parts[section]) for section in parts}
    prefixes = _block_prefixes([s for s in parts if s and s not in SECTION_NAMES])
    places: dict[int, TimmPlace | None] = {}
    for index, (node, label, full) in enumerate(zip(graph.nodes, graph.labels, graph.names, strict=True)):
        rest = full.removeprefix(label.section).removeprefix("/")
        if label.section in SECTION_NAMES:
            paths = SECTION_NAMES[label.section].get(rest, ())
        elif label.section:
            names = rows[label.section].get(rest, ())
            paths = tuple([f"{prefix}.{name}" for prefix in prefixes[label.section] for name in names])
        else:
            paths = ()
        places[index] = TimmPlace(paths, _ARRAYS.get(node.op, {})) if paths else None
    return places


def _rows(blocks: set[str], parts: set[str]) -> Names:
    """The names in a section of these blocks; a convolution is one's own where it is not a part of another block."""
    known = [BLOCK_NAMES[block] for block in BLOCK_NAMES if block in blocks]
    rows = next((rows for rows in known if rows is not _CONVOLUTION), known[0] if known else {})
    return _SEPARABLE if rows is _INVERTED and "expand" not in parts else rows


def _block_prefixes(sections: list[str]) -> dict[str, tuple[str, ...]]:
    """The module of each section's block: EfficientNet's way of numbering, and ResNet's."""
    layers: dict[str, int] = {}  # so far, by stage
    prefixes: dict[str, tuple[str, ...]] = {}
    for section in sections:
        stage = section.rpartition(".")[0] or section
        layer = layers[stage] = layers.get(stage, -1) + 1
        number = len(layers) - 1
        prefixes[section] = (f"blocks.{number}.{layer}", f"layer{number + 1}.{layer}")
    return prefixes
