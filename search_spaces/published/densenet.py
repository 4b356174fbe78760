"""DenseNets (Huang et al. 2017, arXiv 1608.06993, table 1), with the padding and the constants of torchvision's."""

from __future__ import annotations

from search_spaces.blocks.heads import classifier
from search_spaces.graph.graph import Graph
from search_spaces.graph.operations import GraphError
from search_spaces.published.tensorflow_classics import TORCH_NORM, conv_norm, image_input, norm_relu
from search_spaces.space.choose import Choose

# growth, layers of the four dense blocks; the first convolution is twice the growth wide
DEPTHS: dict[int, tuple[int, tuple[int, int, int, int]]] = {
    121: (32, (6, 12, 24, 16)),
    161: (48, (6, 12, 36, 24)),
    169: (32, (6, 12, 32, 32)),
    201: (32, (6, 12, 48, 32)),
}


def densenet(choose: Choose, *, depth: int = 121, image_size: int = 224, num_classes: int = 1000) -> Graph:
    """A DenseNet-BC: bottlenecks of four times the growth, transitions that halve the channels."""
    if depth not in DEPTHS:
        raise GraphError(f"densenet: no depth {depth!r}; there are {', '.join(map(str, DEPTHS))}")
    growth, blocks = DEPTHS[depth]
    b, x = image_input(image_size)
    x = conv_norm(b.section("stem", "stem"), x, 2 * growth, 7, 2, "relu", TORCH_NORM)
    x = b.pool(x, "max", 3, 2, padding=1)
    for stage, layers in enumerate(blocks):
        if stage:
            b.section(f"transition{stage}", "transition")
            x = b.pool(b.conv(norm_relu(b, x, TORCH_NORM), x.channels // 2), "avg", 2, 2, padding="valid")
        for layer in range(layers):
            b.section(f"stage{stage + 1}.layer{layer}", "dense_layer")
            y = conv_norm(b.part("reduce"), norm_relu(b, x, TORCH_NORM), 4 * growth, 1, 1, "relu", TORCH_NORM)
            y = b.part("convolve").conv(y, growth, 3, padding=1)
            x = b.part("").concat([x, y])
    x = norm_relu(b.section("head"), x, TORCH_NORM)
    return b.build({"logits": classifier(b, x, num_classes)})
