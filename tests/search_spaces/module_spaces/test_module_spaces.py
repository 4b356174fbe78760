"""A module becomes a space: every choice changes exactly what it says, by the module written with that value."""

from __future__ import annotations

import pickle
import random
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import nas
from search_spaces.blocks.mobile import inverted_bottleneck
from search_spaces.graph.builder import Builder, Tensor
from search_spaces.graph.graph import Graph
from search_spaces.module_spaces import original, space_from
from search_spaces.pytorch.from_module import graph_from_module
from search_spaces.pytorch.from_module.recording import record
from search_spaces.pytorch.module import to_module
from search_spaces.space.genotype import Genotype, GenotypeError, SpaceError
from search_spaces.space.space import Space
from search_spaces.task_heads import space_for_task
from tests.support.module_space_networks import Fixed, MobileNet, ResNet, Transformer

SMALL = (3, 32, 32)
Vary = Mapping[str, Mapping[str, Sequence[Any]]]


def space_of(module: nn.Module, vary: Vary, inputs: tuple[int, ...] = SMALL) -> Space:
    return space_from(module, vary, inputs=inputs)


@cache
def ready(network: type[nn.Module]) -> Space:
    """The space of one of ``NETWORKS``, made once."""
    return space_of(network(), NETWORKS[network])


def key(module: nn.Module) -> str:
    return nas.functional_hash(module, inputs=SMALL)


def same(graph: Graph, module: nn.Module) -> None:
    """The graph is the module's; so are its parameters and multiply-adds."""
    from_module = graph_from_module(module, SMALL)
    assert nas.functional_hash(graph) == nas.functional_hash(from_module)
    assert graph.params == sum(p.numel() for p in module.parameters())
    assert graph.macs == from_module.macs


RESNET: Vary = {
    "layer2.0.conv1": {"width": (0.5, 0.75, 1.0), "kernel": (1, 3, 5)},
    "layer2.0": {"act": ("relu", "silu")},
    "layer1.0": {"keep": (True, False)},
    "layer2": {"depth": (1, 2, 3)},
    "stem": {"width": (8, 16, 24)},
}
MOBILENET: Vary = {
    "blocks.1.depthwise": {"kernel": (3, 5), "width": (24, 48)},
    "blocks.1.act": {"act": ("relu6", "hswish")},
    "blocks": {"depth": (1, 2, 3)},
    "stem.0": {"width": (0.5, 1.0)},
}
ATTENTION: Vary = {
    "patches": {"width": (16, 32, 48)},
    "layers.0.attention.qkv": {"width": (0.5, 1.0)},
    "layers.0.up": {"width": (32, 64)},
    "layers": {"depth": (1, 2)},
}
NETWORKS: dict[type[nn.Module], Vary] = {ResNet: RESNET, MobileNet: MOBILENET, Transformer: ATTENTION}


@pytest.mark.parametrize("network", [ResNet, MobileNet, Transformer])
def test_the_module_is_in_its_space(network: type[nn.Module]) -> None:
    space = ready(network)
    same(space.graph(original(space)), network())
    assert space.parse("original") == original(space)
    assert space.parse(space.format(original(space))) == original(space)


@pytest.mark.parametrize("network", [ResNet, MobileNet, Transformer, Fixed])
def test_a_recording_is_the_graph_that_the_reader_makes(network: type[nn.Module]) -> None:
    module = network()
    inputs = (3, 16, 16) if network is Fixed else SMALL
    assert record(module, inputs).graph == graph_from_module(module, inputs)


@pytest.mark.parametrize(
    ("choice", "written"),
    [
        ({"layer2.0.conv1.width": 0.5}, ResNet(inner=16)),
        ({"layer2.0.conv1.kernel": 5}, ResNet(kernel=5)),
        ({"layer2.0.conv1.kernel": 1}, ResNet(kernel=1)),
        ({"layer2.0.act": "silu"}, ResNet(act=nn.SiLU)),
        ({"layer1.0.keep": False}, ResNet(without=0)),
        ({"layer2.depth": 1}, ResNet(depth=1)),
        ({"stem.width": 24}, ResNet(widths=(24, 32))),  # the stage's sums follow
        (
            {"stem.width": 8, "layer2.0.conv1.width": 0.75, "layer2.depth": 2, "layer2.0.conv1.kernel": 5},
            ResNet(widths=(8, 32), inner=24, depth=2, kernel=5),
        ),
    ],
)
def test_choices_of_a_residual_network_change_what_they_say(choice: Mapping[str, Any], written: nn.Module) -> None:
    space = ready(ResNet)
    same(space.graph({**original(space), **choice}), written)


@pytest.mark.parametrize(
    ("choice", "written"),
    [
        ({"blocks.1.expand.width": 24}, MobileNet(expanded=24)),
        ({"blocks.1.depthwise.kernel": 5}, MobileNet(kernel=5)),
        ({"blocks.1.act.act": "hswish"}, MobileNet(act="hswish")),
        ({"stem.0.width": 0.5}, MobileNet(stem=8)),
        ({"blocks.depth": 2}, MobileNet(blocks=2)),
    ],
)
def test_choices_of_a_mobile_network_change_what_they_say(choice: Mapping[str, Any], written: nn.Module) -> None:
    vary = {**MOBILENET, "blocks.1.expand": {"width": (24, 48)}}  # one width with that of the depthwise convolution
    space = space_of(MobileNet(), vary)
    same(space.graph({**original(space), **choice}), written)


@pytest.mark.parametrize(
    ("choice", "written"),
    [
        ({"patches.width": 48}, Transformer(width=48)),
        ({"layers.0.attention.qkv.width": 0.5}, Transformer(inner=16)),  # narrower heads, scaled by their own width
        ({"layers.0.up.width": 32}, Transformer(hidden=32)),
        ({"layers.depth": 1}, Transformer(depth=1)),
    ],
)
def test_choices_of_an_attention_network_change_what_they_say(choice: Mapping[str, Any], written: nn.Module) -> None:
    space = ready(Transformer)
    same(space.graph({**original(space), **choice}), written)


def test_a_width_changes_parameters_and_multiply_adds_in_closed_form() -> None:
    space = ready(ResNet)
    own, narrow = (space.graph({**original(space), "layer2.0.conv1.width": f}) for f in (1.0, 0.5))
    # conv1: 16 -> c at 3x3, its normalisation, conv2: c -> 32 at 3x3; 8 by 8 places
    assert own.params - narrow.params == 16 * (16 * 9 + 2 + 32 * 9)
    assert own.macs - narrow.macs == 16 * (16 * 9 + 32 * 9) * 64


def test_a_kernel_changes_parameters_and_multiply_adds_in_closed_form() -> None:
    space = ready(MobileNet)
    own, wide = (space.graph({**original(space), "blocks.1.depthwise.kernel": k}) for k in (3, 5))
    assert wide.params - own.params == 48 * (25 - 9)
    assert wide.macs - own.macs == 48 * (25 - 9) * 64


def test_the_activations_of_a_block_change_together_but_for_its_gate() -> None:
    space = space_of(MobileNet(), {"blocks.1": {"act": ("own", "silu")}})
    same(space.graph(original(space)), MobileNet())
    own, changed = (
        [n.attrs[0] for n in space.graph({"blocks.1.act": a}).nodes if n.op == "act"] for a in ("own", "silu")
    )
    assert own[5:9] == ["relu6", "relu6", "relu", "sigmoid"]
    assert changed == [*own[:5], "silu", "silu", "silu", "sigmoid", *own[9:]]


def my_block(b: Builder, x: Tensor, out_channels: int, stride: int) -> Tensor:
    return b.conv(x, out_channels, 1, stride)


class WithBlock(ResNet):
    """A residual network whose second stage begins with one convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.layer2[0] = nn.Conv2d(16, 32, 1, 2, bias=False)


def test_blocks_replace_a_module() -> None:
    space = space_of(ResNet(), {"layer2.0": {"block": ("own", "inverted_bottleneck", my_block)}})
    assert space.decisions() == {"layer2.0.block": ("own", "inverted_bottleneck", "my_block")}
    same(space.graph({"layer2.0.block": "own"}), ResNet())
    same(space.graph({"layer2.0.block": "my_block"}), WithBlock())
    bottleneck = space.graph({"layer2.0.block": "inverted_bottleneck"})
    b = Builder()
    alone = b.build(inverted_bottleneck(b, b.input((16, 16, 16)), 32, expanded=64, stride=2))
    own = graph_from_module(ResNet().layer2[0], (16, 16, 16))
    assert bottleneck.params == graph_from_module(ResNet(), SMALL).params - own.params + alone.params
    assert bottleneck.macs == graph_from_module(ResNet(), SMALL).macs - own.macs + alone.macs


def test_what_a_replaced_or_dropped_module_holds_is_no_choice() -> None:
    vary = {
        "layer2.0": {"block": ("own", my_block)},
        "layer2.0.conv1": {"kernel": (3, 5)},
        "layer2.2.conv1": {"kernel": (3, 5), "width": (16, 32)},
        "layer2": {"depth": (2, 3)},
    }
    space = space_of(ResNet(), vary)
    assert space.size() == (2 + 1) * (4 + 1)
    assert len(set(space.enumerate())) == 15
    assert dict(space.sample(random.Random(0))).keys() <= space.decisions().keys()


@pytest.mark.parametrize("network", [ResNet, MobileNet, Transformer])
def test_random_networks_build_and_learn(network: type[nn.Module]) -> None:
    space = ready(network)
    rng = random.Random(0)
    for index in range(50):
        graph = space.graph(space.sample(rng))
        module = to_module(graph)
        assert sum(p.numel() for p in module.parameters()) == graph.params
        if index < 3:
            module(torch.randn(2, *SMALL)).square().sum().backward()
            assert all(p.grad is not None for p in module.parameters())


@pytest.mark.parametrize(("network", "size"), [(ResNet, 324), (MobileNet, 2 * (1 + 2 * 8))])
def test_the_size_is_the_number_of_genotypes(network: type[nn.Module], size: int) -> None:
    space = ready(network)
    assert space.size() == size == len(set(space.enumerate()))


def test_patterns_open_what_is_tied_as_one_choice() -> None:
    space = space_of(ResNet(), {"layer?.*.conv2": {"width": (0.5, 1.0)}, "**.conv1": {"kernel": (3, 5)}})
    assert [n for n in space.decisions() if n.endswith("width")] == ["layer1.0.conv2.width", "layer2.0.conv2.width"]
    narrow = {"layer1.0.conv2.width": 0.5, "layer2.0.conv2.width": 0.5}
    chosen = {name: narrow.get(name, 3) for name in space.decisions()}
    graph = space.graph(chosen)
    assert [n.shape[0] for n in graph.nodes if n.op == "add"] == [8, 8, 16, 16, 16]


# -- options -----------------------------------------------------------------------------------------------------------


def test_options_rebuild_the_network_at_another_scale() -> None:
    space = ready(ResNet)
    graph = space.with_options(image_size=64, num_classes=7).graph(original(space))
    assert nas.functional_hash(graph) == nas.functional_hash(ResNet(classes=7), inputs=(3, 64, 64))
    half = space.with_options(width=0.5).graph(original(space))
    assert nas.functional_hash(half) == key(Halved())
    assert all(n.shape[0] % 8 == 0 for n in half.nodes[1:] if n.op == "conv")


class Halved(ResNet):
    def __init__(self) -> None:
        super().__init__(widths=(8, 16), inner1=8)


def test_a_transformer_is_rebuilt_at_another_scale() -> None:
    space = ready(Transformer)
    graph = space.with_options(image_size=64).graph(original(space))
    assert nas.functional_hash(graph) == nas.functional_hash(Transformer(), inputs=(3, 64, 64))
    for seed in range(8):
        assert space.with_options(width=0.4).graph(space.sample(random.Random(seed))).params > 0


def test_other_heads_go_on_the_module() -> None:
    space = space_for_task(space_of(ResNet(), RESNET, (3, 64, 64)), "detect")
    graph = space.with_options(width=0.5, image_size=96, num_classes=10).graph(original(space))
    assert graph.output_shapes["box0"][0] == 12
    assert graph.input_shape == (3, 96, 96)


def test_a_module_with_constants_has_one_image_size() -> None:
    space = space_of(Fixed(), {"conv": {"kernel": (1, 3)}}, (3, 16, 16))
    same_size = space.with_options(image_size=16).graph(original(space))
    assert same_size == space.graph(original(space))
    with pytest.raises(SpaceError, match="Fixed cannot be built for image_size 32"):
        space.with_options(image_size=32).sample(random.Random(0))


# -- searching ---------------------------------------------------------------------------------------------------------


def test_a_search_runs_on_it(tmp_path: Path) -> None:
    space = space_of(ResNet(), RESNET, (3, 64, 64))
    result = nas.search(space, "edgetpu", train=0, trials=30, directory=tmp_path)
    assert len(result.candidates) == 30
    evaluator = {"steps": 2, "max_train_images": 64, "max_val_images": 16}
    trained = nas.search(space, "edgetpu", train=1, trials=4, evaluator=evaluator, workers=0, directory=tmp_path)
    assert [candidate.status for candidate in trained.candidates].count("trained") == 1


def test_it_goes_to_another_process_and_comes_back() -> None:
    space = space_of(ResNet(), {"stem": {"kernel": (3, 5)}, "layer1.1": {"block": ("own", my_block)}})
    again: Space = pickle.loads(pickle.dumps(space))  # noqa: S301 - its own bytes
    genotype = space.sample(random.Random(3))
    assert again.graph(genotype) == space.graph(genotype)


FILE = """
import nas
from torch import nn

def net():
    conv = nn.Conv2d(3, 8, 3, padding=1)
    return nn.Sequential(conv, nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 4))

def my_space():
    return nas.space_from(net(), {"0": {"kernel": (1, 3)}}, inputs=(3, 16, 16))

ready = my_space()

def wrong():
    return 3
"""


def test_files_name_a_space_or_what_makes_one(tmp_path: Path) -> None:
    path = tmp_path / "my.py"
    path.write_text(FILE)
    for name in ("my_space", "ready"):
        space = nas.load_space(f"{path}:{name}")
        assert space.size() == 2
        assert space.graph(original(space)).params == 8 * 27 + 8 + 8 * 4 + 4
        assert nas.load_space(f"{path}:{name}", num_classes=9).graph({"0.kernel": 1}).output_shapes == {"output": (9,)}
    with pytest.raises(SpaceError, match=r"wrong\(\) returned int, not a Space"):
        nas.load_space(f"{path}:wrong")


# -- errors ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("vary", "message"),
    [
        ({"layer2.0.conv3": {"width": (0.5,)}}, r"no module matches 'layer2.0.conv3'; close: .*layer2.0.conv"),
        ({"stem": {"widht": (0.5,)}}, "no key 'widht'; known: width"),
        ({"stem": {"width": ()}}, "needs its options as a list"),
        ({"stem": {"width": (0,)}}, "options are factors such as 0.5 or numbers of channels, not 0"),
        ({"stem": {"kernel": (4,)}}, "odd sizes such as 3, 5, 7, not 4"),
        ({"stem": {"act": ("relu",)}}, "'stem' makes no activation"),
        ({"layer2.0": {"act": ("rleu",)}}, "no activation 'rleu'"),
        ({"layer2.0": {"width": (0.5,)}}, "makes 3 convolution or linear layers, not one; name one of layer2.0.conv1"),
        ({"layer2.0": {"keep": (True, False)}}, "only a module that keeps its shape can be left out"),
        ({"layer2": {"depth": (0, 3)}}, "layer2.depth: 'layer2.0' makes"),
        ({"layer2": {"depth": (4,)}}, "0 to 3, not 4"),
        ({"stem": {"depth": (1,)}}, "no Sequential or ModuleList"),
        ({"fc": {"width": (5,)}}, "option num_classes sets"),
        ({"layer1.0": {"block": ("own", "tuker")}}, "did you mean 'tucker'"),
        (
            {"stem": {"width": (8, 16)}, "layer1.1.conv2": {"width": (16, 24)}},
            "stem.width and layer1.1.conv2.width are one width",
        ),
        ({"stem": {"width": (8,)}, "st*": {"width": (8,)}}, "opened by 'stem' and by 'st\\*'"),
        ({}, "one entry at least"),
    ],
)
def test_what_cannot_be_opened_is_an_error(vary: Vary, message: str) -> None:
    with pytest.raises(SpaceError, match=message):
        space_of(ResNet(), vary)


def test_widths_that_do_not_divide_are_errors() -> None:
    with pytest.raises(SpaceError, match="50 channels do not divide; use a multiple of 6"):
        space_of(Transformer(), {"layers.0.attention.qkv": {"width": (50,)}})
    with pytest.raises(SpaceError, match="its width cannot change: it is tied to"):
        space_of(Padded(), {"conv": {"width": (16,)}})


class Padded(nn.Module):
    """A sum with the image itself, zeros for what channels it lacks."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(self.conv(x) + torch.cat([x, x.new_zeros(x.shape[0], 5, 32, 32)], 1))


def test_a_space_without_the_own_values_has_no_original() -> None:
    space = space_of(ResNet(), {"stem": {"width": (8, 24)}})
    with pytest.raises(SpaceError, match="its own value is no option of"):
        original(space)
    assert space.size() == 2
    with pytest.raises(SpaceError, match="was not made of a module"):
        original(nas.load_space("mobiledet"))
    with pytest.raises(GenotypeError, match="write 'original'"):
        space.parse("mine")
    assert isinstance(space.sample(random.Random(0)), Genotype)


def test_a_block_of_another_shape_is_an_error() -> None:
    space = space_of(ResNet(), {"layer2.0": {"block": (shrinking,)}})
    with pytest.raises(SpaceError, match=r"layer2.0: shrinking returns \(16, 8, 8\) where the module has \(32, 8, 8\)"):
        space.sample(random.Random(0))


def shrinking(b: Builder, x: Tensor, out_channels: int, stride: int) -> Tensor:
    return b.conv(x, out_channels // 2, 1, stride)
