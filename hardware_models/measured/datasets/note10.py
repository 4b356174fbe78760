"""Once-for-All's table of a Samsung Note10's processor under TensorFlow Lite (arXiv 1908.09791): blocks, 17 sizes."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from hardware_models.measured.datasets.files import read_csv, subsample
from hardware_models.measured.network import MeasuredNetwork
from search_spaces.blocks.mobile import conv_norm_act, squeeze_excite
from search_spaces.families.mobilenetv3 import make_divisible
from search_spaces.graph.builder import Builder, Tensor
from search_spaces.graph.graph import Graph


def block_graph(line: Any) -> Graph:
    """The block of one line: a convolution, an inverted bottleneck, or a layer of the classifier."""
    b = Builder()
    size, before, after = int(line.h_in), int(line.c_in), int(line.c_out)
    x = b.input((before, size, size))
    act = "hswish" if line.h_swish == 1 else "relu"
    if line.op == "expanded_conv":
        y = _bottleneck(b, x, line, act)
    elif line.op == "Conv":
        y = conv_norm_act(b, x, after, 3, 2, act="hswish")
    elif line.op == "AvgPool2D":
        y = b.global_pool(x)
    elif line.op == "Logits":
        y = b.linear(b.reshape(x, (before,)), after)
    else:
        y = conv_norm_act(b, x, after, act="hswish")
    return b.build(y)


def _bottleneck(b: Builder, x: Tensor, line: Any, act: str) -> Tensor:
    expanded, kernel, stride = int(line.expand), int(line.kernel), int(line.stride)
    y = x if expanded == x.channels else conv_norm_act(b, x, expanded, act=act)
    y = conv_norm_act(b, y, expanded, kernel, stride, act=act, groups=expanded)
    if line.se == 1:
        y = squeeze_excite(b, y, make_divisible(expanded / 4), gate="hsigmoid")
    y = conv_norm_act(b, y, int(line.c_out), act="identity")
    return b.add(x, y) if line.idskip == 1 else y


def read(folder: Path, max_rows: int) -> dict[str, list[MeasuredNetwork]]:
    """The entries of ``ofa_note10_lut/ofa_note10_lut.csv.gz``. Raises ``HardwareError``."""
    frame = subsample(read_csv(folder / "ofa_note10_lut" / "ofa_note10_lut.csv.gz"), max_rows)
    lines: Iterable[Any] = frame.itertuples()
    return {
        "note10": [
            MeasuredNetwork(f"{x.resolution} {x.key}", block_graph(x), float(x.mean_ms), part=True) for x in lines
        ]
    }
