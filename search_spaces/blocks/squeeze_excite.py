"""Squeeze-and-excitation over locations as well as over channels: sSE and scSE (Roy et al. 2018, arXiv 1803.02579)."""

from __future__ import annotations

from search_spaces.blocks.mobile import squeeze_excite
from search_spaces.graph.block_memo import block
from search_spaces.graph.builder import Builder, Tensor
from search_spaces.graph.operations import GraphError

COMBINATIONS = ("add", "max")


@block
def spatial_squeeze_excite(b: Builder, x: Tensor, *, gate: str = "sigmoid") -> Tensor:
    """sSE (arXiv 1803.02579, sec. 2.2): a 1x1 convolution to one map, a gate, times ``x``; images and volumes alike.

    With a bias, as in the authors' code (``ai-med/squeeze_and_excitation``); the paper writes none.
    """
    return b.mul(x, b.act(b.conv(x, 1, bias=True), gate))


@block
def maximum(b: Builder, pair: tuple[Tensor, Tensor]) -> Tensor:
    """Elementwise maximum of two tensors of one shape, as ``p + relu(q - p)``: the vocabulary has no maximum.

    Exact but for rounding, which is that of the larger magnitude. It is counted as what it is here: four elementwise
    passes, where a runtime with a maximum needs one.
    """
    p, q = pair
    return b.add(p, b.act(b.add(q, b.scale(p, -1)), "relu"))


@block
def spatial_channel_squeeze_excite(b: Builder, x: Tensor, squeezed: int, *, combine: str = "add") -> Tensor:
    """scSE: channel squeeze-excite (``blocks.squeeze_excite``) and sSE of the same ``x``, combined.

    ``combine``: ``add`` is the published sum (arXiv 1803.02579, sec. 2.3), ``max`` the max-out of the same authors'
    code and later paper (arXiv 1808.08127). The paper squeezes to half the channels.
    """
    if combine not in COMBINATIONS:
        raise GraphError(f"scSE: combine must be {' or '.join(COMBINATIONS)}, not {combine!r}")
    by_channel = squeeze_excite(b.part("channel"), x, squeezed)
    by_position = spatial_squeeze_excite(b.part("spatial"), x)
    b.part("combine")
    return b.add(by_channel, by_position) if combine == "add" else maximum(b, (by_channel, by_position))
