"""Inception v2 to v4 and Inception-ResNet v2, as tensorflow/models research/slim/nets have them.

Normalisation has a scale as well as a shift, as in the copies for PyTorch; slim leaves the scale out. Averages leave
padded positions out, as TensorFlow's.
"""

from __future__ import annotations

from collections.abc import Sequence

from search_spaces.blocks.heads import classifier
from search_spaces.blocks.mobile import conv_norm_act
from search_spaces.graph.block_memo import block
from search_spaces.graph.builder import Builder, Tensor
from search_spaces.graph.graph import Graph
from search_spaces.published.tensorflow_classics import SLIM_NORM, image_input
from search_spaces.space.choose import Choose

ConvSpec = tuple[int, int | tuple[int, int]]  # width and kernel of one convolution


@block
def _conv(
    b: Builder, x: Tensor, width: int, kernel: int | tuple[int, int] = 1, stride: int = 1, valid: bool = False
) -> Tensor:
    y = b.conv(x, width, kernel, stride, padding="valid" if valid else "same")
    return b.act(b.norm(y, eps=SLIM_NORM.eps, momentum=SLIM_NORM.momentum), "relu")


def _chain(b: Builder, x: Tensor, steps: Sequence[ConvSpec]) -> Tensor:
    for width, kernel in steps:
        x = _conv(b, x, width, kernel)
    return x


def _strided(b: Builder, x: Tensor, steps: Sequence[ConvSpec], valid: bool = True) -> Tensor:
    """Convolutions, the last at stride 2."""
    x = _chain(b, x, steps[:-1])
    return _conv(b, x, steps[-1][0], steps[-1][1], 2, valid)


def _branches(b: Builder, x: Tensor, branches: Sequence[Sequence[ConvSpec]], pooled: int, kind: str = "avg") -> Tensor:
    """Chains of convolutions side by side, and a pooling with a 1x1 convolution."""
    ends = [_chain(b.part(f"branch{number}"), x, steps) for number, steps in enumerate(branches)]
    y = b.part(f"branch{len(ends)}").pool(x, kind, 3)
    ends.append(_conv(b, y, pooled))
    return b.part("").concat(ends)


# -- Inception v2 (arXiv 1502.03167) ---------------------------------------------------------------------------------

# widths: 1x1; 1x1, 3x3; 1x1, 3x3, 3x3; behind the pooling, and its kind. Two rows have branches at stride 2 alone.
_V2: tuple[tuple[int, ...], ...] = (
    *((64, 64, 64, 64, 96, 32), (64, 64, 96, 64, 96, 64), (128, 160, 64, 96)),
    *((224, 64, 96, 96, 128, 128), (192, 96, 128, 96, 128, 128), (160, 128, 160, 128, 160, 96)),
    *((96, 128, 192, 160, 192, 96), (128, 192, 192, 256)),
    *((352, 192, 320, 160, 224, 128), (352, 192, 320, 192, 224, 128)),
)


def inception_v2(choose: Choose, *, image_size: int = 224, num_classes: int = 1000) -> Graph:
    """Inception v2 (arXiv 1502.03167): its first convolution is separable, 8 filters a colour, and has a bias."""
    b, x = image_input(image_size)
    b.section("stem", "stem")
    x = b.act(b.conv(b.conv(x, 24, 7, 2, groups=3), 64, bias=True), "relu")
    x = b.pool(x, "max", 3, 2)
    x = b.pool(_conv(b, _conv(b, x, 64), 192, 3), "max", 3, 2)
    for number, row in enumerate(_V2):
        b.section(f"stage1.layer{number}", "inception")
        if len(row) == 4:
            a, c, d, e = row
            ends = [_strided(b, x, ((a, 1), (c, 3)), False), _strided(b, x, ((d, 1), (e, 3), (e, 3)), False)]
            x = b.concat([*ends, b.pool(x, "max", 3, 2)])
        else:
            one, a, c, d, e, pooled = row
            kind = "max" if number == len(_V2) - 1 else "avg"
            chains: tuple[tuple[ConvSpec, ...], ...] = (((one, 1),), ((a, 1), (c, 3)), ((d, 1), (e, 3), (e, 3)))
            x = _branches(b, x, chains, pooled, kind)
    return b.build({"logits": classifier(b.section("head"), x, num_classes)})


# -- Inception v3 (arXiv 1512.00567) ---------------------------------------------------------------------------------


def inception_v3(choose: Choose, *, image_size: int = 299, num_classes: int = 1000) -> Graph:
    """Inception v3 without its auxiliary classifier (arXiv 1512.00567, table 1)."""
    b, x = image_input(image_size)
    b.section("stem", "stem")
    x = _conv(b, x, 32, 3, 2, True)
    x = _conv(b, _conv(b, x, 32, 3, 1, True), 64, 3)
    x = b.pool(x, "max", 3, 2, padding="valid")
    x = _conv(b, _conv(b, x, 80, 1, 1, True), 192, 3, 1, True)
    x = b.pool(x, "max", 3, 2, padding="valid")
    for layer, pooled in enumerate((32, 64, 64)):
        b.section(f"stage1.layer{layer}", "inception")
        x = _branches(b, x, (((64, 1),), ((48, 1), (64, 5)), ((64, 1), (96, 3), (96, 3))), pooled)
    b.section("reduction2", "inception")
    ends = [_conv(b, x, 384, 3, 2, True), _strided(b, x, ((64, 1), (96, 3), (96, 3)))]
    x = b.concat([*ends, b.pool(x, "max", 3, 2, padding="valid")])
    for layer, w in enumerate((128, 160, 160, 192)):
        b.section(f"stage3.layer{layer}", "inception")
        seven: tuple[ConvSpec, ...] = ((w, 1), (w, (1, 7)), (192, (7, 1)))
        twice: tuple[ConvSpec, ...] = ((w, 1), (w, (7, 1)), (w, (1, 7)), (w, (7, 1)), (192, (1, 7)))
        x = _branches(b, x, (((192, 1),), seven, twice), 192)
    b.section("reduction4", "inception")
    ends = [_strided(b, x, ((192, 1), (320, 3))), _strided(b, x, ((192, 1), (192, (1, 7)), (192, (7, 1)), (192, 3)))]
    x = b.concat([*ends, b.pool(x, "max", 3, 2, padding="valid")])
    for layer in range(2):
        b.section(f"stage5.layer{layer}", "inception")
        x = _wide(b, x, 320, ((384, 1),), ((448, 1), (384, 3)), 384, 192)
    return b.build({"logits": classifier(b.section("head"), x, num_classes)})


def _wide(
    b: Builder, x: Tensor, one: int, first: Sequence[ConvSpec], second: Sequence[ConvSpec], split: int, pooled: int
) -> Tensor:
    """The block at 8x8, whose chains each end in a 1x3 and a 3x1 convolution side by side."""
    ends = [_conv(b.part("branch0"), x, one)]
    for number, steps in enumerate((first, second), start=1):
        y = _chain(b.part(f"branch{number}"), x, steps)
        ends += [_conv(b, y, split, (1, 3)), _conv(b, y, split, (3, 1))]
    y = b.part("branch3").pool(x, "avg", 3)
    ends.append(_conv(b, y, pooled))
    return b.part("").concat(ends)


# -- Inception v4 (arXiv 1602.07261) ---------------------------------------------------------------------------------


def _v4_stem(b: Builder, x: Tensor) -> Tensor:
    x = _conv(b, x, 32, 3, 2, True)
    x = _conv(b, _conv(b, x, 32, 3, 1, True), 64, 3)
    x = b.concat([b.pool(x, "max", 3, 2, padding="valid"), _conv(b, x, 96, 3, 2, True)])
    short = _conv(b, _conv(b, x, 64), 96, 3, 1, True)
    long = _conv(b, _chain(b, x, ((64, 1), (64, (1, 7)), (64, (7, 1)))), 96, 3, 1, True)
    x = b.concat([short, long])
    return b.concat([_conv(b, x, 192, 3, 2, True), b.pool(x, "max", 3, 2, padding="valid")])


def inception_v4(choose: Choose, *, image_size: int = 299, num_classes: int = 1000) -> Graph:
    """Inception v4 without its auxiliary classifier (arXiv 1602.07261, fig. 9)."""
    b, x = image_input(image_size)
    b.section("stem", "stem")
    x = _v4_stem(b, x)
    for layer in range(4):
        b.section(f"stage1.layer{layer}", "inception")
        x = _branches(b, x, (((96, 1),), ((64, 1), (96, 3)), ((64, 1), (96, 3), (96, 3))), 96)
    b.section("reduction2", "inception")
    ends = [_conv(b, x, 384, 3, 2, True), _strided(b, x, ((192, 1), (224, 3), (256, 3)))]
    x = b.concat([*ends, b.pool(x, "max", 3, 2, padding="valid")])
    for layer in range(7):
        b.section(f"stage3.layer{layer}", "inception")
        seven: tuple[ConvSpec, ...] = ((192, 1), (224, (1, 7)), (256, (7, 1)))
        twice: tuple[ConvSpec, ...] = ((192, 1), (192, (7, 1)), (224, (1, 7)), (224, (7, 1)), (256, (1, 7)))
        x = _branches(b, x, (((384, 1),), seven, twice), 128)
    b.section("reduction4", "inception")
    ends = [_strided(b, x, ((192, 1), (192, 3))), _strided(b, x, ((256, 1), (256, (1, 7)), (320, (7, 1)), (320, 3)))]
    x = b.concat([*ends, b.pool(x, "max", 3, 2, padding="valid")])
    for layer in range(3):
        b.section(f"stage5.layer{layer}", "inception")
        x = _wide(b, x, 256, ((384, 1),), ((384, 1), (448, (3, 1)), (512, (1, 3))), 256, 256)
    return b.build({"logits": classifier(b.section("head"), x, num_classes)})


# -- Inception-ResNet v2 (arXiv 1602.07261) --------------------------------------------------------------------------


def _residual(
    b: Builder, x: Tensor, branches: Sequence[Sequence[ConvSpec]], factor: float, act: str = "relu"
) -> Tensor:
    ends = [_chain(b.part(f"branch{number}"), x, steps) for number, steps in enumerate(branches)]
    y = b.part("").concat(ends)
    y = b.conv(y, x.channels, bias=True)
    y = y if factor == 1 else b.scale(y, factor)
    return b.act(b.add(x, y), act)


def inception_resnet_v2(choose: Choose, *, image_size: int = 299, num_classes: int = 1000) -> Graph:
    """Inception-ResNet v2 without its auxiliary classifier (arXiv 1602.07261, fig. 15, and slim's own widths)."""
    b, x = image_input(image_size)
    b.section("stem", "stem")
    x = _conv(b, x, 32, 3, 2, True)
    x = _conv(b, _conv(b, x, 32, 3, 1, True), 64, 3)
    x = b.pool(x, "max", 3, 2, padding="valid")
    x = _conv(b, _conv(b, x, 80, 1, 1, True), 192, 3, 1, True)
    x = b.pool(x, "max", 3, 2, padding="valid")
    b.section("stage1", "inception")
    x = _branches(b, x, (((96, 1),), ((48, 1), (64, 5)), ((64, 1), (96, 3), (96, 3))), 64)
    for layer in range(10):
        b.section(f"stage2.layer{layer}", "inception")
        x = _residual(b, x, (((32, 1),), ((32, 1), (32, 3)), ((32, 1), (48, 3), (64, 3))), 0.17)
    b.section("reduction3", "inception")
    ends = [_conv(b, x, 384, 3, 2, True), _strided(b, x, ((256, 1), (256, 3), (384, 3)))]
    x = b.concat([*ends, b.pool(x, "max", 3, 2, padding="valid")])
    for layer in range(20):
        b.section(f"stage4.layer{layer}", "inception")
        x = _residual(b, x, (((192, 1),), ((128, 1), (160, (1, 7)), (192, (7, 1)))), 0.1)
    b.section("reduction5", "inception")
    ends = [
        _strided(b, x, ((256, 1), (384, 3))),
        _strided(b, x, ((256, 1), (288, 3))),
        _strided(b, x, ((256, 1), (288, 3), (320, 3))),
    ]
    x = b.concat([*ends, b.pool(x, "max", 3, 2, padding="valid")])
    for number in range(10):
        b.section(f"stage6.layer{number}", "inception")
        last = number == 9
        branches: tuple[tuple[ConvSpec, ...], ...] = (((192, 1),), ((192, 1), (224, (1, 3)), (256, (3, 1))))
        x = _residual(b, x, branches, 1.0 if last else 0.2, "identity" if last else "relu")
    x = conv_norm_act(b.section("feature"), x, 1536, act="relu", norm=SLIM_NORM)
    return b.build({"logits": classifier(b.section("head"), x, num_classes)})
