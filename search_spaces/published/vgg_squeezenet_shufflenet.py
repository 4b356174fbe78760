"""Networks without branches or with few, as torchvision has them: VGG, AlexNet, SqueezeNet and ShuffleNetV2."""

from __future__ import annotations

from search_spaces.blocks.heads import classifier
from search_spaces.graph.block_memo import block
from search_spaces.graph.builder import Builder, Tensor
from search_spaces.graph.graph import Graph
from search_spaces.graph.operations import GraphError
from search_spaces.published.tensorflow_classics import TORCH_NORM, conv_norm, image_input
from search_spaces.space.choose import Choose

# arXiv 1409.1556, table 1: convolutions of 3x3 in each of five stages
VGG: dict[int, tuple[int, int, int, int, int]] = {
    11: (1, 1, 2, 2, 2),
    13: (2, 2, 2, 2, 2),
    16: (2, 2, 3, 3, 3),
    19: (2, 2, 4, 4, 4),
}
# arXiv 1807.11164, table 5: widths of the first convolution, of the three stages, and of the last convolution
SHUFFLENET_V2: dict[str, tuple[int, int, int, int, int]] = {
    "x0.5": (24, 48, 96, 192, 1024),
    "x1.0": (24, 116, 232, 464, 1024),
    "x1.5": (24, 176, 352, 704, 1024),
    "x2.0": (24, 244, 488, 976, 2048),
}


def _linear_classifier(
    b: Builder, x: Tensor, positions: int, hidden: tuple[int, ...], num_classes: int
) -> dict[str, Tensor]:
    """The three linear layers on a map of ``positions`` by ``positions``, to which an average brings larger maps."""
    size = x.shape[1]
    if size % positions:
        raise GraphError(
            f"the linear layers need a map of a multiple of {positions} positions, not {size}: another image size"
        )
    b.section("head", "classifier")
    y = b.pool(x, "avg", size // positions, size // positions, padding="valid")
    y = b.reshape(y, (y.channels * positions * positions,))
    for layer, width in enumerate(hidden):
        y = b.act(b.part(f"hidden{layer}").linear(y, width), "relu")
    return {"logits": b.part("").linear(y, num_classes)}


def vgg(
    choose: Choose, *, depth: int = 16, batch_norm: bool = False, image_size: int = 224, num_classes: int = 1000
) -> Graph:
    """VGG (Simonyan and Zisserman 2015, arXiv 1409.1556, table 1); ``batch_norm`` behind every convolution."""
    if depth not in VGG:
        raise GraphError(f"vgg: no depth {depth!r}; there are {', '.join(map(str, VGG))}")
    b, x = image_input(image_size)
    for stage, layers in enumerate(VGG[depth]):
        for layer in range(layers):
            b.section(f"stage{stage + 1}.layer{layer}", "conv")
            x = b.conv(x, min(512, 64 << stage), 3, padding=1, bias=True)
            x = b.act(b.norm(x, eps=TORCH_NORM.eps, momentum=TORCH_NORM.momentum) if batch_norm else x, "relu")
        x = b.section(f"stage{stage + 1}.pool").pool(x, "max", 2, 2, padding="valid")
    return b.build(_linear_classifier(b, x, 7, (4096, 4096), num_classes))


def alexnet(choose: Choose, *, image_size: int = 224, num_classes: int = 1000) -> Graph:
    """AlexNet as torchvision has it (Krizhevsky 2014, arXiv 1404.5997: one column, no normalisation)."""
    b, x = image_input(image_size)
    rows = (
        (64, 11, 4, 2, True),
        (192, 5, 1, 2, True),
        (384, 3, 1, 1, False),
        (256, 3, 1, 1, False),
        (256, 3, 1, 1, True),
    )
    for layer, (width, kernel, stride, padding, pooled) in enumerate(rows):
        b.section(f"layer{layer}", "conv")
        x = b.act(b.conv(x, width, kernel, stride, padding=padding, bias=True), "relu")
        x = b.pool(x, "max", 3, 2, padding="valid") if pooled else x
    return b.build(_linear_classifier(b, x, 6, (4096, 4096), num_classes))


# -- SqueezeNet ------------------------------------------------------------------------------------------------------

# (squeezed width, width of each of the two expansions) of the fire modules (arXiv 1602.07360, table 1)
_FIRES = ((16, 64), (16, 64), (32, 128), (32, 128), (48, 192), (48, 192), (64, 256), (64, 256))


def _ceil_mode_max_pool(b: Builder, x: Tensor) -> Tensor:
    """3x3 maximum at stride 2 whose last window may reach over the border (Caffe's, torch's ``ceil_mode``)."""
    pads = [(0, (extent - 3) % 2) for extent in x.shape[1:]]
    return b.pool(x, "max", 3, 2, padding=pads)


@block
def _fire(b: Builder, x: Tensor, squeezed: int, expanded: int) -> Tensor:
    y = b.act(b.part("squeeze").conv(x, squeezed, bias=True), "relu")
    one = b.act(b.part("expand1x1").conv(y, expanded, bias=True), "relu")
    three = b.act(b.part("expand3x3").conv(y, expanded, 3, padding=1, bias=True), "relu")
    return b.part("").concat([one, three])


def squeezenet(choose: Choose, *, version: str = "1.0", image_size: int = 224, num_classes: int = 1000) -> Graph:
    """SqueezeNet 1.0 (arXiv 1602.07360, table 1) or 1.1 (github.com/forresti/SqueezeNet), as torchvision has them."""
    if version not in ("1.0", "1.1"):
        raise GraphError(f"squeezenet: no version {version!r}; there are 1.0 and 1.1")
    first, kernel, pooled = (96, 7, (0, 3, 7)) if version == "1.0" else (64, 3, (0, 2, 4))
    b, x = image_input(image_size)
    b.section("stem", "stem")
    x = b.act(b.conv(x, first, kernel, 2, padding="valid", bias=True), "relu")
    for number, (squeezed, expanded) in enumerate(_FIRES):
        b.section(f"layer{number}.pool")
        x = _ceil_mode_max_pool(b, x) if number in pooled else x
        x = _fire(b.section(f"layer{number}"), x, squeezed, expanded)
    b.section("head", "classifier")
    y = b.global_pool(b.act(b.conv(x, num_classes, bias=True), "relu"))
    return b.build({"logits": b.reshape(y, (num_classes,))})


# -- ShuffleNetV2 ----------------------------------------------------------------------------------------------------


def _depthwise_norm(b: Builder, x: Tensor, stride: int) -> Tensor:
    return b.norm(b.depthwise(x, 3, stride, padding=1), eps=TORCH_NORM.eps, momentum=TORCH_NORM.momentum)


@block
def _shuffle_unit(b: Builder, x: Tensor, width: int, stride: int) -> Tensor:
    """Unit of figure 3 (c), or (d) for stride 2, and the shuffle of channels behind it."""
    half = width // 2
    if stride == 1:
        shortcut, y = b.slice(x, 0, 0, half), b.slice(x, 0, half, width)
    else:
        shortcut = _depthwise_norm(b.part("shortcut/depthwise"), x, stride)
        shortcut, y = conv_norm(b.part("shortcut/project"), shortcut, half, 1, 1, "relu", TORCH_NORM), x
    y = conv_norm(b.part("expand"), y, half, 1, 1, "relu", TORCH_NORM)
    y = _depthwise_norm(b.part("depthwise"), y, stride)
    y = conv_norm(b.part("project"), y, half, 1, 1, "relu", TORCH_NORM)
    z = b.part("").concat([shortcut, y])
    size = z.shape[1:]
    z = b.permute(b.reshape(z, (2, half, *size)), (1, 0, 2, 3))
    return b.reshape(z, (width, *size))


def shufflenet_v2(choose: Choose, *, width: str = "x1.0", image_size: int = 224, num_classes: int = 1000) -> Graph:
    """ShuffleNetV2 (Ma et al. 2018, arXiv 1807.11164, table 5), as torchvision has it; ``width`` such as ``x0.5``."""
    if width not in SHUFFLENET_V2:
        raise GraphError(f"shufflenet_v2: no width {width!r}; there are {', '.join(SHUFFLENET_V2)}")
    first, *stages, last = SHUFFLENET_V2[width]
    b, x = image_input(image_size)
    x = conv_norm(b.section("stem", "stem"), x, first, 3, 2, "relu", TORCH_NORM)
    x = b.pool(x, "max", 3, 2, padding=1)
    for number, (channels, layers) in enumerate(zip(stages, (4, 8, 4), strict=True), start=1):
        for layer in range(layers):
            x = _shuffle_unit(b.section(f"stage{number}.layer{layer}"), x, channels, 1 if layer else 2)
    x = conv_norm(b.section("feature", "conv_norm_act"), x, last, 1, 1, "relu", TORCH_NORM)
    return b.build({"logits": classifier(b.section("head"), x, num_classes)})
