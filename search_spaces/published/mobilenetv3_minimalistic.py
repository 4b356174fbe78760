"""MobileNetV3 minimalistic: no squeeze-excite, no hard swish, no 5x5 (tensorflow/models research/slim/nets/mobilenet).

Widths and expansions are those of MobileNetV3 (arXiv 1905.02244, tables 1 and 2).
"""

from __future__ import annotations

from search_spaces.blocks.heads import classifier
from search_spaces.blocks.mobile import conv_norm_act, inverted_bottleneck
from search_spaces.families.mobilenetv3 import SIZES, STEM_WIDTH, make_divisible
from search_spaces.graph.graph import Graph
from search_spaces.graph.operations import GraphError
from search_spaces.published.tensorflow_classics import SLIM_MOBILENET_NORM, image_input
from search_spaces.space.choose import Choose

# expansions of the layers, stage by stage
_EXPANSIONS: dict[str, tuple[float, ...]] = {
    "large": (1, 4, 3, 3, 3, 3, 6, 2.5, 2.3, 2.3, 6, 6, 6, 6, 6),
    "small": (1, 4.5, 3.67, 4, 6, 6, 3, 3, 6, 6, 6),
}


def mobilenet_v3_minimalistic(
    choose: Choose, *, size: str = "large", image_size: int = 224, num_classes: int = 1000
) -> Graph:
    """MobileNetV3 ``large`` or ``small`` in its minimalistic form: ReLU and 3x3 throughout."""
    if size not in SIZES:
        raise GraphError(f"mobilenet_v3_minimalistic: no size {size!r}; there are {', '.join(SIZES)}")
    macro, norm = SIZES[size], SLIM_MOBILENET_NORM
    b, x = image_input(image_size)
    x = conv_norm_act(b.section("stem"), x, STEM_WIDTH, 3, 2, act="relu", norm=norm)
    expansions = iter(_EXPANSIONS[size])
    for number, (width, layers, first_stride) in enumerate(macro.stages, start=1):
        for layer in range(layers):
            b.section(f"stage{number}.layer{layer}")
            expansion, stride = next(expansions), 1 if layer else first_stride
            expanded = None if expansion == 1 else make_divisible(x.channels * expansion)
            residual = stride == 1 and x.channels == width
            x = inverted_bottleneck(
                b, x, width, expanded=expanded, stride=stride, act="relu", residual=residual, norm=norm
            )
    x = conv_norm_act(b.section("last"), x, macro.last, act="relu", norm=norm)
    b.section("feature", "feature")
    x = b.act(b.conv(b.global_pool(x), macro.feature, bias=True), "relu")
    return b.build({"logits": classifier(b.section("head"), x, num_classes)})
