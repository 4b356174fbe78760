"""Several heads on one backbone: classification, regression and segmentation in one network.

The tasks are those of WeedSense (arXiv 2508.14486: species map, plant height, growth stage); the heads are the
plain ones of each task, not its decoders. ``heads.py`` has the detection head and the classifier.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

from search_spaces.blocks.heads import classifier
from search_spaces.blocks.mobile import Norm, conv_norm_act, depthwise_norm_act
from search_spaces.graph.block_memo import block
from search_spaces.graph.builder import Builder, Tensor
from search_spaces.graph.operations import GraphError


@block
def regressor(b: Builder, x: Tensor, values: int = 1, *, hidden: int = 0, act: str = "relu") -> Tensor:
    """Global average pooling, an optional hidden layer, and a linear layer: ``(values,)`` numbers without bounds."""
    y = b.reshape(b.global_pool(x), (x.channels,))
    if hidden:
        y = b.act(b.part("hidden").linear(y, hidden), act)
    return b.part("").linear(y, values)


@block
def segmentation_decoder(
    b: Builder,
    features: Sequence[Tensor],
    num_classes: int,
    *,
    width: int = 128,
    size: tuple[int, ...] | None = None,
    mode: str = "bilinear",
    act: str = "relu6",
    norm: Norm = Norm(),
) -> Tensor:
    """A light decoder on features, finest first: ``(num_classes, ...)`` logits of the first's size, or of ``size``.

    Every feature is projected to ``width`` channels by a linear 1x1 convolution, resized to the finest one's size and
    added up, as in Panoptic FPN (arXiv 1901.02446, fig. 3); a 3x3 depthwise-separable convolution smooths the sum and
    a 1x1 convolution with bias classifies. Projection goes before resizing, where maps are small. ``mode`` is
    ``nearest`` for anything but images.
    """
    if not features:
        raise GraphError("segmentation_decoder: needs at least one feature")
    extents = features[0].shape[1:]
    projected = [
        conv_norm_act(b.part(f"project{level}"), feature, width, act="identity", norm=norm)
        for level, feature in enumerate(features)
    ]
    y = b.part("merge").add(*[b.resize(p, extents, mode) for p in projected])
    y = depthwise_norm_act(b.part("depthwise"), y, 3, act=act, norm=norm)
    y = conv_norm_act(b.part("smooth"), y, width, act=act, norm=norm)
    y = b.part("predict").conv(y, num_classes, bias=True)
    return y if size is None else b.resize(y, size, mode)


class Task(Protocol):
    """What one head is asked for; ``head`` builds it on backbone features, finest first."""

    def head(self, b: Builder, features: Sequence[Tensor]) -> Tensor: ...


class Classification(NamedTuple):
    """One of ``num_classes`` for the whole input: ``(num_classes,)`` logits from the last feature."""

    num_classes: int

    def head(self, b: Builder, features: Sequence[Tensor]) -> Tensor:
        return classifier(b, features[-1], self.num_classes)


class Regression(NamedTuple):
    """``(values,)`` numbers for the whole input, from the last feature; see ``regressor``."""

    values: int = 1
    hidden: int = 0

    def head(self, b: Builder, features: Sequence[Tensor]) -> Tensor:
        return regressor(b, features[-1], self.values, hidden=self.hidden)


class Segmentation(NamedTuple):
    """One of ``num_classes`` for every pixel, from all features; see ``segmentation_decoder``."""

    num_classes: int
    width: int = 128
    size: tuple[int, ...] | None = None
    mode: str = "bilinear"

    def head(self, b: Builder, features: Sequence[Tensor]) -> Tensor:
        return segmentation_decoder(b, features, self.num_classes, width=self.width, size=self.size, mode=self.mode)


def multitask(b: Builder, features: Sequence[Tensor], tasks: Mapping[str, Task]) -> dict[str, Tensor]:
    """The outputs of one network with a head for every task, by the task's name; features finest first."""
    if not features or not tasks:
        raise GraphError("multitask: needs at least one feature and one task")
    outputs = {}
    for name, task in tasks.items():
        with b.scope(name):
            outputs[name] = task.head(b, features)
    return outputs
