"""NASNet-A (Zoph et al. 2018, arXiv 1707.07012, fig. 4) in its Mobile and Large size, as Keras has them."""

from __future__ import annotations

from search_spaces.blocks.heads import classifier
from search_spaces.blocks.mobile import Norm
from search_spaces.graph.block_memo import block
from search_spaces.graph.builder import Builder, Tensor
from search_spaces.graph.graph import Graph
from search_spaces.graph.operations import GraphError
from search_spaces.published.tensorflow_classics import image_input
from search_spaces.space.choose import Choose

NORM = Norm(eps=1e-3, momentum=0.0003)
# width of the stem, of the first cells, normal cells in a row, and whether what is before a reduction skips it
SIZES: dict[str, tuple[int, int, int, bool]] = {"mobile": (32, 44, 4, False), "large": (96, 168, 6, True)}


def _norm(b: Builder, x: Tensor) -> Tensor:
    return b.norm(x, eps=NORM.eps, momentum=NORM.momentum)


@block
def _separable(b: Builder, x: Tensor, width: int, kernel: int, stride: int = 1) -> Tensor:
    """Twice: ReLU, depthwise and 1x1 convolution, normalisation."""
    y = b.part("depthwise1").depthwise(b.act(x, "relu"), kernel, stride)
    y = _norm(b, b.part("project1").conv(y, width))
    y = b.part("depthwise2").depthwise(b.act(y, "relu"), kernel)
    return _norm(b, b.part("project2").conv(y, width))


def _squeeze(b: Builder, x: Tensor, width: int) -> Tensor:
    return _norm(b, b.conv(b.act(x, "relu"), width))


@block
def _adjust(b: Builder, before: Tensor, x: Tensor, width: int) -> Tensor:
    """``before`` with the size of ``x`` and a width: every second position, and every second one moved by one.

    The first cell has nothing before it and takes its own input as it is.
    """
    if before.index == x.index:
        return x
    if before.shape[1:] == x.shape[1:]:
        return before if before.channels == width else _squeeze(b, before, width)
    y = b.act(before, "relu")
    even = b.conv(y, width // 2, 1, 2, padding="valid")
    shifted, pads = y, []
    for axis in (1, 2):
        shifted = b.slice(shifted, axis, 1, y.shape[axis])
        pads.append((0, y.shape[axis] % 2))
    odd = b.conv(shifted, width - width // 2, 1, 2, padding=pads)
    return _norm(b, b.concat([even, odd]))


def _normal_cell(b: Builder, x: Tensor, before: Tensor, width: int) -> Tensor:
    p, h = _adjust(b.part("before"), before, x, width), _squeeze(b.part("squeeze"), x, width)
    b.part("")
    mean_result = b.pool(p, "avg", 3)
    sums = (
        b.add(_separable(b, h, width, 5), _separable(b, p, width, 3)),
        b.add(_separable(b, p, width, 5), _separable(b, p, width, 3)),
        b.add(b.pool(h, "avg", 3), p),
        b.add(mean_result, mean_result),
        b.add(_separable(b, h, width, 3), h),
    )
    return b.concat([p, *sums])


def _reduction_cell(b: Builder, x: Tensor, before: Tensor, width: int) -> Tensor:
    p, h = _adjust(b.part("before"), before, x, width), _squeeze(b.part("squeeze"), x, width)
    b.part("")
    highest = b.pool(h, "max", 3, 2)
    first = b.add(_separable(b, h, width, 5, 2), _separable(b, p, width, 7, 2))
    second = b.add(highest, _separable(b, p, width, 7, 2))
    third = b.add(b.pool(h, "avg", 3, 2), _separable(b, p, width, 5, 2))
    fourth = b.add(second, b.pool(first, "avg", 3))
    fifth = b.add(_separable(b, first, width, 3), highest)
    return b.concat([second, third, fourth, fifth])


def nasnet(choose: Choose, *, size: str = "mobile", image_size: int = 224, num_classes: int = 1000) -> Graph:
    """NASNet-A ``mobile`` (4 @ 1056, at 224) or ``large`` (6 @ 4032, at 331), without the auxiliary classifier."""
    if size not in SIZES:
        raise GraphError(f"nasnet: no size {size!r}; there are {', '.join(SIZES)}")
    stem, width, cells, skips = SIZES[size]
    b, image = image_input(image_size)
    b.section("stem", "stem")
    x = before = _norm(b, b.conv(image, stem, 3, 2, padding="valid"))
    for number, divisor in enumerate((4, 2)):
        b.section(f"stem.cell{number}", "cell")
        x, before = _reduction_cell(b, x, before, width // divisor), x
    for stage in range(3):
        if stage:
            b.section(f"stage{stage}.reduction", "cell")
            reduced = _reduction_cell(b, x, before, width << stage)
            x, before = reduced, before if skips else x
        for cell in range(cells):
            b.section(f"stage{stage}.cell{cell}", "cell")
            x, before = _normal_cell(b, x, before, width << stage), x
    b.section("head")
    return b.build({"logits": classifier(b, b.act(x, "relu"), num_classes)})
