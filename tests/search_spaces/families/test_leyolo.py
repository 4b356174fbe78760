"""LeYOLO against its published numbers, layer by layer, and against a plain PyTorch reading of the same tables."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from torch import Tensor, nn

from search_spaces.catalog import load_network, load_space, network_space
from search_spaces.families.leyolo import scale_width
from search_spaces.graph.graph import Graph
from search_spaces.pytorch.module import to_module
from search_spaces.space.genotype import GenotypeError, SpaceError
from search_spaces.space.space import Space

# Parameters with the 16 fixed weights of the expectation over distances, MACs of convolutions and normalised elements
# at the published size, of the layers that the configuration lists: an independent count.
NUMBERS = {
    "leyolo_nano": (1_120_480, 1_231_910_400, 25_574_400),
    "leyolo_small": (1_917_440, 2_130_188_800, 34_016_000),
    "leyolo_medium": (2_402_744, 2_754_438_400, 41_987_200),
    "leyolo_large": (2_402_744, 3_966_391_296, 60_461_568),
}
# (network, size): GFLOPs of the repository's README, and the tolerance: half its last digit, and more for one row
PUBLISHED = {
    ("leyolo_nano", 320): (0.66, 0.005),
    ("leyolo_nano", 480): (1.47, 0.016),  # but nine quarters of 0.66, the row above, are 1.485
    ("leyolo_small", 480): (2.53, 0.005),
    ("leyolo_small", 640): (4.51, 0.005),
    ("leyolo_medium", 640): (5.8, 0.05),
    ("leyolo_large", 768): (8.4, 0.05),
}
NOTEBOOK = {False: 2.6706, True: 2.6411}  # "LeYOLO minimal.ipynb": GFLOPs of Nano at 640, before and after fusion
DFL_WEIGHTS = 16
NANO = "1.0x16/32:k3e6,k3e3/64:k5e3,k5e3,k5e3,k5e3,k5e3/96:k5e9,k5e6,k5e6,k5e6/3e2:32k3p3,64k5,96k5p5"


@pytest.fixture(scope="module")
def facts(shared: Callable[[str], Path]) -> dict[str, Any]:
    sheet: dict[str, Any] = yaml.safe_load(shared("facts/leyolo.yaml").read_text(encoding="utf-8"))
    return sheet


def fact_row(facts: dict[str, Any], name: str) -> dict[str, Any]:
    row: dict[str, Any] = facts["architectures"][f"LeYOLO-{name.removeprefix('leyolo_').capitalize()}"]
    return row


# -- counts ------------------------------------------------------------------------------------------------------------


def normalised_elements(graph: Graph, *, fused: bool = False) -> int:
    """Elements that pass a normalisation; ``fused`` leaves out ultralytics' own Conv, which are those without bias."""
    norms = [node for node in graph.nodes if node.op == "norm"]
    counted = [node for node in norms if not fused or graph.nodes[node.inputs[0]].attr("bias")]
    return sum(math.prod(node.shape) for node in counted)


def thop_gflops(graph: Graph, *, fused: bool, dead: tuple[int, int] = (0, 0)) -> float:
    """GFLOPs as ultralytics has thop count them: twice what thop calls operations.

    Those are MACs of convolutions, that of the expectation over distances included, 4 for each normalised element and 1
    for each element that an upsampling makes. Ultralytics counts at 32 pixels and scales by the area, which at
    multiples of 32 is the count itself. ``dead`` are MACs and normalised elements of layers that run for nothing.
    """
    distances = sum(4 * 16 * math.prod(shape[1:]) for name, shape in graph.output_shapes.items() if "box" in name)
    upsampled = sum(math.prod(node.shape) for node in graph.nodes if node.op == "resize")
    norms = normalised_elements(graph, fused=fused) + dead[1]
    return 2 * (graph.macs + dead[0] + distances + 4 * norms + upsampled) / 1e9


def dead_layers(facts: dict[str, Any], name: str) -> tuple[int, int, int]:
    """Parameters, MACs and normalised elements of the listed layers that nothing reads, which a graph leaves out."""
    row = fact_row(facts, name)
    params = macs = normalised = 0
    for layer in row["layers"]:
        if layer["i"] in row["dead_layers"]:
            cin, middle, cout, k = (layer[key] for key in ("cin", "cmid", "cout", "k"))
            weights = cin * middle + middle * k * k + middle * cout
            params += weights + 3 * (2 * middle + cout)  # a bias, a scale and a shift each
            macs += weights * layer["out_hw"] ** 2
            normalised += (2 * middle + cout) * layer["out_hw"] ** 2
    return params, macs, normalised


@pytest.mark.parametrize("name", list(NUMBERS))
def test_published_networks_have_their_published_numbers(name: str, facts: dict[str, Any]) -> None:
    graph = load_network(name)
    dead = dead_layers(facts, name)
    assert bool(dead[0]) is (name in ("leyolo_medium", "leyolo_large"))
    counts = graph.params + DFL_WEIGHTS, graph.macs, normalised_elements(graph)
    assert tuple(count + more for count, more in zip(counts, dead, strict=True)) == NUMBERS[name]
    row = fact_row(facts, name)
    counted = row["counted"]
    assert (counted["params"], counted["macs"], counted["bn_elements"]) == NUMBERS[name]
    assert graph.input_shape[::-1] == (*row["input"][:2], 3)
    gflops = 2 * (graph.macs + dead[1] + 4 * (counts[2] + dead[2])) / 1e9
    assert gflops == pytest.approx(counted["gflops_thop_2x_mac_plus_4bn"], abs=5e-5)


@pytest.mark.parametrize(("name", "size"), list(PUBLISHED))
def test_published_gflops(name: str, size: int, facts: dict[str, Any]) -> None:
    published, tolerance = PUBLISHED[name, size]
    graph = load_network(name, image_size=size)
    dead = dead_layers(facts, name)[1:]
    assert thop_gflops(graph, fused=True, dead=dead) == pytest.approx(published, abs=tolerance)
    (row,) = [r for r in facts["published"] if (r["model"], r["res"]) == (fact_name(name), size)]
    assert row["gflops_published"] == published
    assert row["seen"]
    assert 2 * (graph.macs + dead[0]) / 1e9 == pytest.approx(row["own_2mac"], abs=6e-4)
    norms = normalised_elements(graph) + dead[1]
    assert 2 * (graph.macs + dead[0] + 4 * norms) / 1e9 == pytest.approx(row["own_thop"], abs=6e-4)


def fact_name(name: str) -> str:
    return f"LeYOLO-{name.removeprefix('leyolo_').capitalize()}"


@pytest.mark.parametrize("fused", [False, True])
def test_the_authors_notebook(fused: bool) -> None:
    assert thop_gflops(load_network("leyolo_nano"), fused=fused) == pytest.approx(NOTEBOOK[fused], abs=5e-5)
    assert load_network("leyolo_nano").params + DFL_WEIGHTS == 1_120_480


@pytest.mark.parametrize(
    # The three readings of Medium's Detect row that the sheet has; parameters and GFLOPs of the layers it lists.
    ("taps", "indices", "params", "gflops"),
    [
        ((2, 1, 0), [27, 32, 37], 2_402_744, 5.845),
        ((3, 2, 1), [28, 33, 38], 2_384_312, 5.830),
        (None, [29, 35, 41], 2_388_920, 5.926),
    ],
)
def test_readings_of_mediums_head(
    taps: tuple[int, ...] | None, indices: list[int], params: int, gflops: float, facts: dict[str, Any]
) -> None:
    graph = load_network("leyolo_medium", taps=taps)
    row = fact_row(facts, "leyolo_medium")
    row = {**row, "detect_src": indices, "dead_layers": [] if taps is None else list(range(indices[2] + 1, 42))}
    dead = dead_layers({"architectures": {"LeYOLO-Medium": row}}, "leyolo_medium")
    assert graph.params + DFL_WEIGHTS + dead[0] == params
    counted = 2 * (graph.macs + dead[1] + 4 * (normalised_elements(graph) + dead[2])) / 1e9
    assert counted == pytest.approx(gflops, abs=5e-4)
    # As the README's figure is counted, 5.8, the first two are 5.82 and 5.80, the third is 5.90.
    assert (f"{thop_gflops(graph, fused=True, dead=dead[1:]):.1f}" == "5.8") is (taps is not None)


# -- layers ------------------------------------------------------------------------------------------------------------

Layer = tuple[int, int, int, int, int, bool, int]  # in, out, kernel, stride, groups, bias, height of the output


def expected_layers(row: dict[str, Any]) -> Iterator[Layer]:
    """Every convolution that the sheet's table has, in its order, without those that nothing reads."""
    for layer in row["layers"]:
        if layer["i"] in row["dead_layers"] or layer["type"] in ("concat", "upsample_nearest2x"):
            continue
        if layer["type"] == "detect_dnin":
            for level in layer["levels"]:
                for hidden, out in ((layer["c_box"], 4 * layer["reg_max"]), (layer["c_cls"], layer["nc"])):
                    yield level["cin"], hidden, 1, 1, 1, False, level["hw"]
                    yield hidden, hidden, 3, 1, hidden, False, level["hw"]
                    yield hidden, hidden, 3, 1, hidden, False, level["hw"]
                    yield hidden, out, 1, 1, 1, True, level["hw"]
            continue
        cin, cout, out = layer["cin"], layer["cout"], layer["out_hw"]
        if layer["type"] == "sppf":
            yield cin, layer["c_hidden"], 1, 1, 1, False, out
            yield 4 * layer["c_hidden"], cout, 1, 1, 1, False, out
        elif layer["type"] == "conv":
            yield cin, cout, layer["k"], layer["s"], 1, layer["bias"], out
        else:
            middle = layer["cmid"]
            if layer["type"] == "ibn":
                yield cin, middle, 1, 1, 1, True, out * layer["s"]
            yield middle, middle, layer["k"], layer["s"], middle, True, out
            yield middle, cout, 1, 1, 1, True, out


@pytest.mark.parametrize("name", list(NUMBERS))
def test_every_layer_has_its_published_shape(name: str, facts: dict[str, Any]) -> None:
    graph = load_network(name)
    layers = []
    for node in graph.nodes:
        if node.op == "conv":
            (kernel,), (stride,) = {*node.attr("kernel")}, {*node.attr("stride")}
            assert node.attr("padding") == ((kernel // 2,) * 2,) * 2
            cin = graph.nodes[node.inputs[0]].shape[0]
            layers.append((cin, node.shape[0], kernel, stride, node.attr("groups"), node.attr("bias"), node.shape[1]))
    row = fact_row(facts, name)
    assert layers == list(expected_layers(row))
    residuals = [r["residual"] for r in row["layers"] if "residual" in r and r["i"] not in row["dead_layers"]]
    assert sum(node.op == "add" for node in graph.nodes) == sum(residuals)
    assert {node.attr("fn") for node in graph.nodes if node.op == "act"} == {"silu"}
    assert {node.attrs for node in graph.nodes if node.op == "norm"} == {("batch", 1e-3, 0.03, 0)}
    head = row["layers"][-1]
    assert graph.output_shapes == {
        f"{kind}{i}": (channels, level["hw"], level["hw"])
        for i, level in enumerate(head["levels"])
        for kind, channels in (("box", 4 * head["reg_max"]), ("class", head["nc"]))
    }


@pytest.mark.parametrize(
    ("channels", "multiple", "width"),
    [(16, 1.0, 16), (16, 1.33, 24), (32, 1.33, 48), (64, 1.33, 88), (96, 1.33, 128), (192, 1.33, 256), (128, 1.33, 176),
     (576, 1.33, 768), (864, 1.33, 768), (576, 1.0, 576), (577, 1.0, 576), (16, 0.5, 8), (17, 1.0, 24), (1, 0.1, 8)],
)  # fmt: skip
def test_widths_are_capped_and_rounded_up(channels: int, multiple: float, width: int) -> None:
    assert scale_width(channels, multiple) == width


# -- the same network from the tables alone, in plain PyTorch ----------------------------------------------------------


def norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=1e-3, momentum=0.03)


def conv(cin: int, cout: int, k: int = 1, s: int = 1, groups: int = 1, bias: bool = True) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(cin, cout, k, s, k // 2, groups=groups, bias=bias), norm(cout), nn.SiLU())


class Bottleneck(nn.Module):
    def __init__(self, row: dict[str, Any]) -> None:
        super().__init__()
        middle = row["cmid"]
        self.widen = conv(row["cin"], middle) if row["type"] == "ibn" else nn.Identity()
        self.spread = conv(middle, middle, row["k"], row["s"], middle)
        self.narrow = nn.Sequential(nn.Conv2d(middle, row["cout"], 1), norm(row["cout"]))
        self.residual = row["residual"]

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.narrow(self.spread(self.widen(x)))
        return x + y if self.residual else y


class Pyramid(nn.Module):
    def __init__(self, row: dict[str, Any]) -> None:
        super().__init__()
        self.first = conv(row["cin"], row["c_hidden"], bias=False)
        self.last = conv(4 * row["c_hidden"], row["cout"], bias=False)
        # Chained maxima are maxima of larger windows (SPP's, arXiv 1406.4729).
        self.windows = nn.ModuleList([nn.MaxPool2d(k, 1, k // 2) for k in (5, 9, 13)])

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        out: Tensor = self.last(torch.cat([x, *[window(x) for window in self.windows]], 1))
        return out


class Plain(nn.Module):
    """The sheet's rows, run one after the other as a configuration file is."""

    def __init__(self, row: dict[str, Any]) -> None:
        super().__init__()
        self.rows = [layer for layer in row["layers"] if layer["i"] not in row["dead_layers"]]
        modules: dict[str, nn.Module] = {}
        for layer in self.rows:
            kind = layer["type"]
            if kind == "conv":
                modules[str(layer["i"])] = conv(layer["cin"], layer["cout"], layer["k"], layer["s"])
            elif kind in ("ibn", "ibn_nopw"):
                modules[str(layer["i"])] = Bottleneck(layer)
            elif kind == "sppf":
                modules[str(layer["i"])] = Pyramid(layer)
        head = self.rows[-1]
        for i, level in enumerate(head["levels"]):
            for name, hidden, out in (("box", head["c_box"], 64), ("class", head["c_cls"], head["nc"])):
                towers = [conv(hidden, hidden, 3, 1, hidden, bias=False) for _ in range(2)]
                stem = conv(level["cin"], hidden, bias=False)
                modules[f"{name}{i}"] = nn.Sequential(stem, *towers, nn.Conv2d(hidden, out, 1))
        self.parts = nn.ModuleDict(modules)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        values: dict[int, Tensor] = {}
        for layer in self.rows[:-1]:
            source = layer["src"]
            if layer["type"] == "concat":
                x = torch.cat([x if i == -1 else values[i] for i in source], 1)
            elif layer["type"] == "upsample_nearest2x":
                x = x.repeat_interleave(2, 2).repeat_interleave(2, 3)
            else:
                assert source == -1
                x = self.parts[str(layer["i"])](x)
            values[layer["i"]] = x
        outputs = {}
        for i, source in enumerate(self.rows[-1]["src"]):
            outputs[f"class{i}"] = self.parts[f"class{i}"](values[source])
            outputs[f"box{i}"] = self.parts[f"box{i}"](values[source])
        return outputs


@pytest.mark.parametrize("name", ["leyolo_nano", "leyolo_medium"])
@pytest.mark.parametrize("training", [False, True])
def test_outputs_are_those_of_plain_pytorch(name: str, training: bool, facts: dict[str, Any]) -> None:
    torch.manual_seed(0)
    plain = Plain(fact_row(facts, name))
    for module in plain.modules():
        if isinstance(module, nn.BatchNorm2d):  # nothing as it starts, so that every number matters
            for values in (module.weight, module.bias, module.running_mean, module.running_var):
                assert values is not None
                nn.init.uniform_(values, 0.5, 1.5)
    module_of_graph = to_module(load_network(name, image_size=96))
    ours, theirs = list(module_of_graph.state_dict().values()), list(plain.state_dict().values())
    assert [tuple(v.shape) for v in ours] == [tuple(v.shape) for v in theirs]
    module_of_graph.load_state_dict(dict(zip(module_of_graph.state_dict(), theirs, strict=True)))
    image = torch.rand(2, 3, 96, 96)
    with torch.no_grad():
        outputs, expected = module_of_graph.train(training)(image), plain.train(training)(image)
    assert outputs.keys() == expected.keys()
    for key, values in expected.items():
        assert values.std() > 1e-3
        torch.testing.assert_close(outputs[key], values, rtol=1e-4, atol=1e-4)
    if training:
        for one, other in zip(module_of_graph.state_dict().values(), plain.state_dict().values(), strict=True):
            torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)


# -- the space ---------------------------------------------------------------------------------------------------------


def tiny() -> Space:
    return load_space(
        "leyolo",
        image_size=32,
        widths=((8,), (8, 16), (8,), (8,)),
        depths=((1, 2), (1,), (1,)),
        kernels=(3,),
        expansions=(2,),
        width_multiples=(1.0,),
    )


def test_size_is_the_number_of_genotypes() -> None:
    space = tiny()
    # stage 1: widths x depths; the neck: layers x expansions x widths at stride 8 x ways to end at strides 8 and 32
    assert space.size() == len(set(space.enumerate())) == 2 * 2 * (4 * 3 * 2 * 4)
    whole = load_space("leyolo")
    layer = 2 * 4  # kernels x expansions
    stages = math.prod(4 * sum(layer**depth for depth in range(*depths)) for depths in ((1, 5), (3, 8), (2, 7)))
    assert whole.size() == 4 * 3 * stages * (4 * 3) * (4 * 2) ** 3 * 2 * 2


def test_published_strings_round_trip() -> None:
    for name in NUMBERS:
        space, architecture = network_space(name)
        assert space.format(space.parse(architecture)) == architecture
    assert network_space("leyolo_nano")[1] == NANO


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "has 5 parts joined by '/', this one 1"),
        (NANO + "/", "has 5 parts joined by '/', this one 6"),
        (NANO.replace("1.0x16", "16"), "'16' is no part of a LeYOLO string, which is of the form 1.0x16/"),
        (NANO.replace("k3e3", "k3"), "'k3' is no part"),
        (NANO.replace("32:k3e6,k3e3", "32:"), "'' is no part"),
        (NANO.replace("p5", "p3"), "'3e2:32k3p3,64k5,96k5p3' is no part"),
        (NANO.replace("1.0x", "²x"), "'²x16' is no part"),
        (NANO.replace("k3e3", "k7e3"), "'stage1.layer1.kernel' cannot be 7; its options are 3, 5"),
        (NANO.replace("1.0x", "1.5x"), "'width_multiple' cannot be 1.5"),
        (NANO.replace(",k5e6,k5e6,k5e6", ""), "'stage3.layers' cannot be 1"),
    ],
)
def test_strings_that_are_none_say_so(text: str, message: str) -> None:
    with pytest.raises(GenotypeError, match=message):
        load_space("leyolo").parse(text)


def test_decisions_that_are_not_all_there_have_no_string() -> None:
    space = load_space("leyolo")
    decisions = {name: value for name, value in space.parse(NANO).items() if name != "neck.p3.exit"}
    with pytest.raises(GenotypeError, match=r"needs a decision for 'neck\.p3\.exit'"):
        space.format(decisions)  # type: ignore[arg-type]


@pytest.mark.parametrize("size", [32, 64, 96, 100, 224, 320])
def test_any_image_gives_three_levels(size: int) -> None:
    for name in ("leyolo_nano", "leyolo_medium"):
        shapes = load_network(name, image_size=size, width=0.5, num_classes=3).output_shapes
        sides = [math.ceil(size / stride) for stride in (8, 16, 32)]
        assert shapes == {
            f"{kind}{i}": (channels, side, side)
            for i, side in enumerate(sides)
            for kind, channels in (("box", 64), ("class", 3))
        }


def test_width_thins_every_layer_by_the_systems_rounding() -> None:
    thin, whole = load_network("leyolo_small", width=0.5), load_network("leyolo_small")
    assert thin.macs < whole.macs / 2
    assert len(thin) == len(whole)
    space = load_space("leyolo", image_size=64, width=1.33)
    assert space.graph(space.parse(NANO)) == load_network("leyolo_small", image_size=64)


def test_a_block_adds_its_input_wherever_shapes_agree() -> None:
    def sums(text: str) -> int:
        space = load_space("leyolo", image_size=64)
        return sum(node.op == "add" for node in space.graph(space.parse(text)).nodes)

    assert sums(NANO) == 1 + 4 + 3 + 4 * 2
    # One block a branch, of 32 channels at stride 8 on 64 + 32 others: nothing to add.
    assert sums(NANO.replace("3e2", "1e2")) == 1 + 4 + 3
    # Then of 48 at stride 32 on 48 + 96, and two blocks: the second alone adds.
    assert sums(NANO.replace("3e2", "2e2").replace("32k3p3", "32k3p4")) == 1 + 4 + 3 + 3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"width": 0}, "width must be a factor above 0, not 0"),
        ({"width": "1"}, "width must be a factor above 0"),
        ({"taps": (1, 2)}, "taps must be three numbers of blocks"),
        ({"taps": (1, 2, -1)}, "taps must be three numbers of blocks"),
        ({"widths": ((8,),)}, "must list options for the stem and 3 stages"),
        ({"num_classes": 0}, "out_channels must be a whole number from 1"),
        ({"image_size": 8}, "stride 2 is beyond the input"),
    ],
)
def test_options_that_cannot_be_are_errors_that_say_so(options: dict[str, Any], message: str) -> None:
    with pytest.raises(SpaceError, match=message):
        load_space("leyolo", **options).sample(random.Random(0))
