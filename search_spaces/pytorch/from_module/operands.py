"""What a node of an exported program stands for, where that is no tensor of a graph."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import fx

from search_spaces.graph.builder import Tensor
from search_spaces.graph.operations import Shape

Pads = tuple[tuple[int, int], ...]
ADVICE = "replace it, or write the network with nas.Builder"


class UnsupportedModule(ValueError):
    """A module that no graph describes: what in it, where, and what to do."""


@dataclass(frozen=True)
class PaddedTensor:
    """A tensor in a frame of one value, until a convolution or a pooling takes the frame as its padding."""

    x: Tensor
    pads: Pads  # for every axis of the tensor, channels first
    fill: float


@dataclass(frozen=True)
class OnesTensor:
    """Ones of one sample and one channel, in a frame of zeros: what counts a window's real places."""

    size: Shape
    pads: Pads


@dataclass(frozen=True)
class WindowCoverage:
    """The share of each window that is no padding: an average divided by it leaves the padding out."""

    size: Shape
    window: tuple[Any, ...]  # attributes of the pooling that divides by padded places too


@dataclass(frozen=True)
class HardSigmoidInput:
    """``x + 3``, the first step of a hard sigmoid written out."""

    x: Tensor


@dataclass(frozen=True)
class ScaledActivation:
    """Six times an activation of ``x``: ``relu6(x + 3)`` is that of a hard sigmoid, ``x * relu6(x + 3)`` of a swish."""

    fn: str
    x: Tensor


@dataclass(frozen=True)
class LayerScaleFactors:
    """A parameter in the shape that a product reads it in: LayerScale, if it has one number for each channel."""

    parameter: fx.Node
    shape: Shape


@dataclass(frozen=True)
class UnsupportedValue:
    """What no operation of a graph can read, and why."""

    reason: str


def add_pads(own: Pads, frame: Pads) -> Pads:
    return tuple((a + c, b + d) for (a, b), (c, d) in zip(own, frame, strict=True))


def absorbable_pads(value: Any, fill: float) -> Pads | None:
    """The padding of the spatial axes that a window may take from its operand; ``None`` where there is none."""
    return value.pads[1:] if isinstance(value, PaddedTensor) and value.fill == fill and not any(value.pads[0]) else None
