"""ResNets of torchvision (He et al. 2016, arXiv 1512.03385) and of Keras with activations first (arXiv 1603.05027)."""

from __future__ import annotations

from search_spaces.blocks.heads import classifier
from search_spaces.graph.block_memo import block
from search_spaces.graph.builder import Builder, Tensor
from search_spaces.graph.graph import Graph
from search_spaces.graph.operations import GraphError
from search_spaces.published.tensorflow_classics import KERAS_NORM, TORCH_NORM, conv_norm, image_input, norm_relu
from search_spaces.space.choose import Choose

# blocks a stage, and whether a block has a bottleneck (arXiv 1512.03385, table 1)
DEPTHS: dict[int, tuple[tuple[int, int, int, int], bool]] = {
    18: ((2, 2, 2, 2), False),
    34: ((3, 4, 6, 3), False),
    50: ((3, 4, 6, 3), True),
    101: ((3, 4, 23, 3), True),
    152: ((3, 8, 36, 3), True),
}


@block
def _residual_basic(b: Builder, x: Tensor, width: int, stride: int) -> Tensor:
    y = conv_norm(b.part("conv1"), x, width, 3, stride, "relu", TORCH_NORM)
    y = conv_norm(b.part("conv2"), y, width, 3, 1, "identity", TORCH_NORM)
    same = stride == 1 and x.channels == width
    shortcut_branch = x if same else conv_norm(b.part("shortcut"), x, width, 1, stride, "identity", TORCH_NORM)
    b.part("")
    return b.act(b.add(shortcut_branch, y), "relu")


@block
def _residual_bottleneck(b: Builder, x: Tensor, width: int, stride: int) -> Tensor:
    y = conv_norm(b.part("conv1"), x, width, 1, 1, "relu", TORCH_NORM)
    y = conv_norm(b.part("conv2"), y, width, 3, stride, "relu", TORCH_NORM)
    y = conv_norm(b.part("conv3"), y, 4 * width, 1, 1, "identity", TORCH_NORM)
    same = stride == 1 and x.channels == 4 * width
    shortcut_branch = x if same else conv_norm(b.part("shortcut"), x, 4 * width, 1, stride, "identity", TORCH_NORM)
    b.part("")
    return b.act(b.add(shortcut_branch, y), "relu")


def _layers(depth: int) -> tuple[tuple[int, int, int, int], bool]:
    if depth not in DEPTHS:
        raise GraphError(f"resnet: no depth {depth!r}; there are {', '.join(map(str, DEPTHS))}")
    return DEPTHS[depth]


def resnet(choose: Choose, *, depth: int = 50, image_size: int = 224, num_classes: int = 1000) -> Graph:
    """A ResNet of torchvision (arXiv 1512.03385, table 1): the stride of a bottleneck is in its 3x3 convolution."""
    layers, bottleneck = _layers(depth)
    make = _residual_bottleneck if bottleneck else _residual_basic
    b, x = image_input(image_size)
    x = conv_norm(b.section("stem", "stem"), x, 64, 7, 2, "relu", TORCH_NORM)
    x = b.pool(x, "max", 3, 2, padding=1)
    for stage, count in enumerate(layers):
        for layer in range(count):
            x = make(b.section(f"stage{stage + 1}.layer{layer}"), x, 64 << stage, 2 if stage and not layer else 1)
    return b.build({"logits": classifier(b.section("head"), x, num_classes)})


def _bottleneck_v2(b: Builder, x: Tensor, width: int, stride: int, shortcut: bool) -> Tensor:
    before = norm_relu(b, x, KERAS_NORM)
    b.part("shortcut")
    shortcut_branch = b.conv(before, 4 * width, 1, stride, bias=True) if shortcut else b.pool(x, "max", 1, stride)
    y = conv_norm(b.part("conv1"), before, width, 1, 1, "relu", KERAS_NORM)
    y = conv_norm(b.part("conv2"), y, width, 3, stride, "relu", KERAS_NORM)
    y = b.part("conv3").conv(y, 4 * width, bias=True)
    return b.part("").add(shortcut_branch, y)


def _zero_bordered(b: Builder, x: Tensor) -> Tensor:
    """``x`` with a border of zeros, one position wide, which a maximum sees; its own padding is below every value."""
    for axis in (1, 2):
        border = b.zero((*x.shape[:axis], 1, *x.shape[axis + 1 :]))
        x = b.concat([border, x, border], axis)
    return x


def resnet_v2(choose: Choose, *, depth: int = 50, image_size: int = 224, num_classes: int = 1000) -> Graph:
    """A ResNet with bottlenecks and activations first (arXiv 1603.05027), as Keras': strides end a stage."""
    layers, bottleneck = _layers(depth)
    if not bottleneck:
        raise GraphError(f"resnet_v2: Keras has depths 50, 101 and 152, not {depth}")
    b, x = image_input(image_size)
    x = _zero_bordered(b.section("stem", "stem"), b.conv(x, 64, 7, 2, padding=3, bias=True))
    x = b.pool(x, "max", 3, 2, padding="valid")
    for stage, count in enumerate(layers):
        for layer in range(count):
            b.section(f"stage{stage + 1}.layer{layer}", "residual_bottleneck_v2")
            x = _bottleneck_v2(b, x, 64 << stage, 2 if stage < 3 and layer == count - 1 else 1, layer == 0)
    x = norm_relu(b.section("head"), x, KERAS_NORM)
    return b.build({"logits": classifier(b, x, num_classes)})
