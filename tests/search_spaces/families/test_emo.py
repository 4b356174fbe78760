"""EMO and EMOv2 against their published figures, block tables and an independent implementation; their notation."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from math import floor, prod
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from torch import Tensor, nn
from torch.nn import functional as F

from search_spaces.catalog import load_network, load_space, network_space
from search_spaces.families.emo import DEPTHS, EMO_HEAD_DIMS, EMOV2_HEAD_DIMS, EXPANSIONS, KERNELS, WIDTHS
from search_spaces.graph.graph import Graph
from search_spaces.pytorch.module import GraphModule, to_module
from search_spaces.space.genotype import GenotypeError, SpaceError
from search_spaces.space.space import Space

SPACES = ("emo", "emov2")


@pytest.fixture(scope="module")
def facts(shared: Callable[[str], Path]) -> Any:
    return yaml.safe_load(shared("facts/emo.yaml").read_text(encoding="utf-8"))


def attention_macs(graph: Graph) -> int:
    nodes = graph.nodes
    return sum(prod(n.shape) * nodes[n.inputs[0]].shape[-1] for n in nodes if n.op == "matmul")


def fvcore_flops(graph: Graph) -> int:
    """As fvcore counts: multiply-adds, 2 for each element of batch normalisation, 5 for each of layer normalisation."""
    norms = (node for node in graph.nodes if node.op == "norm")
    return graph.macs + sum({"batch": 2, "layer": 5}[node.attr("kind")] * prod(node.shape) for node in norms)


def truncated(value: float) -> float:
    """As the READMEs print millions of parameters, and detectors' billions: one decimal, the rest cut off."""
    return floor(value * 10) / 10


# -- published figures -----------------------------------------------------------------------------------------------

# Published at 224 in the READMEs of zhangzjn/EMO and zhangzjn/EMOv2: millions of parameters (truncated) and of fvcore
# FLOPs (rounded). Counted: independently, from the block tables.
NUMBERS: dict[str, tuple[tuple[float, int] | None, tuple[int, int, int, int]]] = {
    # network: (published), (parameters, MACs of layers, MACs of attention, fvcore FLOPs)
    "emo_1m": ((1.3, 261), (1_361_168, 242_867_720, 12_369_952, 260_843_664)),
    "emo_2m": ((2.3, 439), (2_377_472, 411_556_544, 20_360_480, 439_363_064)),
    "emo_5m": ((5.1, 903), (5_108_848, 864_871_808, 27_352_192, 902_583_776)),
    "emo_6m": ((6.1, 961), (6_168_496, 922_590_528, 27_659_520, 960_752_512)),
    "emov2_1m": ((1.4, 285), (1_460_844, 229_131_324, 50_805_160, 284_756_712)),
    "emov2_2m": ((2.3, 487), (2_384_312, 398_409_280, 82_402_320, 487_454_824)),
    "emov2_5m": ((5.1, 1035), (5_126_440, 888_353_024, 136_760_960, 1_035_473_760)),
    "emov2_20m": (None, (20_195_208, 3_606_697_472, 390_306_560, 4_017_165_376)),
    "emov2_50m": (None, (49_815_560, 7_992_796_160, 774_466_560, 8_804_167_168)),
}
FLOPS_MILLIONS_AT_512 = 5627  # EMOv2-5M, windows of 8
# SSDLite on COCO, billions of fvcore FLOPs at 320 and at 512 (truncated), windows of 10 at both.
DETECTORS: dict[str, tuple[float, float, float]] = {
    "emov2_1m": (2.4, 0.7, 2.3),
    "emov2_2m": (3.3, 1.2, 4.0),
    "emov2_5m": (6.0, 2.4, 8.0),
    "emov2_20m": (21.2, 9.1, 30.3),
}
# EMO's published detector FLOPs (0.6, 0.9, 1.8 G) are not those of its configuration, 320 pixels and windows of 7, in
# fvcore's convention: 0.62, 1.03, 2.07 G. They come from another tool, whose convention is not known.
EMO_DETECTOR_PARAMETERS = {"emo_1m": 2.3, "emo_2m": 3.3, "emo_5m": 6.0}
COCO = {"task": "detect", "num_classes": 80}


@pytest.mark.parametrize("name", list(NUMBERS))
def test_published_networks_have_their_published_numbers(name: str) -> None:
    graph = load_network(name)
    published, (params, layer_macs, matmul_macs, flops) = NUMBERS[name]
    assert graph.params == params
    assert (graph.macs - attention_macs(graph), attention_macs(graph)) == (layer_macs, matmul_macs)
    assert fvcore_flops(graph) == flops
    assert published in (None, (truncated(params / 1e6), round(flops / 1e6)))


def test_the_larger_image_has_larger_windows() -> None:
    graph = load_network("emov2_5m", image_size=512, window=8)
    assert round(fvcore_flops(graph) / 1e6) == FLOPS_MILLIONS_AT_512
    assert graph.params == load_network("emov2_5m").params


@pytest.mark.parametrize("name", list(DETECTORS))
def test_published_detectors_have_their_published_numbers(name: str) -> None:
    params, *flops = DETECTORS[name]
    graphs = [load_network(name, image_size=size, window=10, **COCO) for size in (320, 512)]
    assert [truncated(graph.params / 1e6) for graph in graphs] == [params, params]
    assert [truncated(fvcore_flops(graph) / 1e9) for graph in graphs] == flops


@pytest.mark.parametrize("name", list(EMO_DETECTOR_PARAMETERS))
def test_emos_detectors_have_their_published_parameters(name: str) -> None:
    graph = load_network(name, image_size=320, **COCO)
    assert truncated(graph.params / 1e6) == EMO_DETECTOR_PARAMETERS[name]


def test_detectors_have_six_anchors_everywhere_on_the_published_levels() -> None:
    sides = [20, 10, 5, 3, 2, 1]  # strides 16, 32, 64, 107, 160, 320
    for name in ("emo_1m", "emov2_1m"):
        graph = load_network(name, image_size=320, **COCO)
        assert graph.output_shapes == {
            key: (depth * 6, side, side)
            for level, side in enumerate(sides)
            for key, depth in ((f"box{level}", 4), (f"class{level}", 81))
        }
        norms = {node.attrs[:3] for node in graph.nodes if node.op == "norm"}
        assert norms == {("batch", 1e-6, 0.1), ("layer", 1e-6, 0.0), ("batch", 1e-3, 0.03)}
    small = load_network("emo_1m", image_size=64, anchors=(3, 6, 6, 6, 6, 6), **COCO).output_shapes
    assert [small[f"box{i}"] for i in range(len(small) // 2)] == [(12, 4, 4), (24, 2, 2), (24, 1, 1)]


def test_the_numbers_are_those_of_the_facts(facts: Any) -> None:
    assert {name.lower() for name in facts["architectures"]} == set(NUMBERS)
    for name, row in facts["architectures"].items():
        counted = row["counted"]
        figures = ("params", "macs_conv_fc", "macs_attention_matmuls", "fvcore_style")
        assert tuple(counted[figure] for figure in figures) == NUMBERS[name.lower()][1]
    published = facts["published"]
    for row in published["imagenet_emo"] + published["imagenet_emov2"]:
        flops = int(row["flops"].removesuffix("M"))
        if row["res"] == 512:
            assert flops == FLOPS_MILLIONS_AT_512
        else:
            assert NUMBERS[row["model"].lower()][0] == (float(row["params"].removesuffix("M")), flops)
    for row in published["coco_ssdlite_emov2"]:
        params, at_320, at_512 = DETECTORS[row["model"].lower().replace("-", "_")]
        assert (row["params_M"], row["flops_G"]) == (params, at_320 if row["label_res"] == 300 else at_512)
    for row in published["coco_ssdlite_emo"]:
        assert row["params_M"] == EMO_DETECTOR_PARAMETERS[row["model"].lower().replace("-", "_")]


# -- block tables ----------------------------------------------------------------------------------------------------

Row = tuple[Any, ...]


def conv(x: int, out: int, kernel: int, stride: int, groups: int, bias: bool, size: int) -> Row:
    return ("conv", x, out, kernel, stride, groups, bias, size)


def expected_stem(second: bool, mid: int) -> list[Row]:
    """The stem as the sheet's text has it; all of it but the first half of the first block is at 112."""
    depthwise = [conv(mid, mid, 3, 1, mid, False, 112), ("norm", "batch"), ("act", "silu")]
    rows = [conv(3, mid, 3, 2, 1, True, 112), ("norm", "batch")]
    if second:
        rows += [("act", "silu"), *depthwise]
    else:
        rows += [*depthwise, conv(mid, mid, 1, 1, 1, True, 1), ("act", "silu"), conv(mid, mid, 1, 1, 1, True, 1)]
        rows += [("act", "sigmoid")]
    return [*rows, conv(mid, mid, 1, 1, 1, False, 112)]


def expected_block(row: dict[str, Any]) -> list[Row]:
    """Every layer and matrix product of one row of the block table, in order."""
    cin, cmid, cout, out = row["cin"], row["cmid"], row["cout"], row["out_hw"]
    size = out * row["s"]
    second = row["type"].startswith("i2rmb")
    expand: list[Row] = [conv(cin, cmid, 1, 1, 1, True, size), ("act", row["expand_act"])]
    rows: list[Row] = [("norm", {"BN": "batch", "LN": "layer"}[row["in_norm"]])]
    if row["type"].endswith("_attn"):
        heads, window = row["heads"], row["window"]
        windows, area = (size // window) ** 2, window**2
        assert heads * row["head_dim"] == cin
        rows.append(conv(cin, 2 * cin, 1, 1, 1, True, size))
        value = cmid // heads if second else row["head_dim"]
        products = [("matmul", heads * windows, area, area), ("matmul", heads * windows, area, value)]
        rows += [*expand, *products, *products] if second else [*products, *expand]
    else:
        rows += expand
    rows += [conv(cmid, cmid, row["dw_k"], row["s"], cmid, False, out), ("norm", "batch"), ("act", "silu")]
    rows.append(conv(cmid, cout, 1, 1, 1, False, out))
    return [*rows, ("layer_scale",)] if second else rows


def made_layers(graph: Graph) -> Iterator[Row]:
    nodes = graph.nodes
    for node in nodes:
        if node.op == "conv":
            (kernel,), (stride,) = {*node.attr("kernel")}, {*node.attr("stride")}
            assert node.attr("padding") == ((kernel // 2, kernel // 2),) * 2
            groups, bias = node.attr("groups"), node.attr("bias")
            yield conv(nodes[node.inputs[0]].shape[0], node.shape[0], kernel, stride, groups, bias, node.shape[1])
        elif node.op == "norm":
            assert node.attrs[1:] == (1e-6, 0.1 if node.attrs[0] == "batch" else 0.0, 0)
            yield ("norm", node.attr("kind"))
        elif node.op == "act":
            yield ("act", node.attr("fn"))
        elif node.op == "matmul":
            yield ("matmul", *node.shape)
        elif node.op == "layer_scale":
            assert node.attrs == (1e-6,)
            yield ("layer_scale",)
        elif node.op == "linear":
            yield ("linear", *node.attrs)


@pytest.mark.parametrize("name", list(NUMBERS))
def test_every_layer_is_that_of_the_block_table(name: str, facts: Any) -> None:
    (row,) = (r for n, r in facts["architectures"].items() if n.lower() == name)
    second = name.startswith("emov2")
    graph = load_network(name)
    expected = expected_stem(second, row["stem"]["mid"])
    for block in row["blocks"]:
        expected += expected_block(block)
    assert list(made_layers(graph)) == [*expected, ("norm", "layer"), ("linear", 1000, True)]
    residual = sum(block["residual"] for block in row["blocks"])
    hybrid = sum(block["type"] == "i2rmb_attn" for block in row["blocks"])
    assert sum(node.op == "add" for node in graph.nodes) == 2 * residual + hybrid
    scales = [node.attr("factor") for node in graph.nodes if node.op == "scale"]
    heads = [b["head_dim"] ** -0.5 for b in row["blocks"] if "head_dim" in b for _ in range(2 if second else 1)]
    assert scales == heads


@pytest.mark.parametrize("name", list(NUMBERS))
def test_the_catalog_has_the_published_configuration(name: str, facts: Any) -> None:
    (config,) = (r["config"] for n, r in facts["architectures"].items() if n.lower() == name)
    space, architecture = network_space(name)
    genotype = space.parse(architecture)
    for stage in range(4):
        attention = (
            {"emo": "remote", "emov2": "hybrid"}[space.name] if stage + 1 in config["attention_stages"] else "none"
        )
        expected = {
            "depth": config["depths"][stage],
            "width": config["embed_dims"][stage],
            "expansion": config["exp_ratios"][stage],
            "kernel": config["dw_kernels"][stage],
            "attention": attention,
            **({} if attention == "none" else {"head_dim": config["head_dims"][stage]}),
        }
        prefix = f"stage{stage + 1}."
        assert {n.removeprefix(prefix): v for n, v in genotype.items() if n.startswith(prefix)} == expected
    assert config["window"] == [space.option("window")] * 4


# -- an independent implementation, from the sheet -------------------------------------------------------------------


class ChannelNorm(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width, eps=1e-6)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)  # type: ignore[no-any-return]


class Factor(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.weight[:, None, None]


def attend(q: Tensor, k: Tensor, v: Tensor, heads: int, window: int, remote: bool) -> Tensor:
    """Window by window, head by head; a remote window takes every n-th row and column."""
    result = torch.full_like(v, torch.nan)
    rows, columns = q.shape[2] // window, q.shape[3] // window
    patch: Any
    for i in range(rows):
        for j in range(columns):
            if remote:
                patch = (slice(None), slice(None), slice(i, None, rows), slice(j, None, columns))
            else:
                patch = (..., slice(i * window, (i + 1) * window), slice(j * window, (j + 1) * window))
            parts = zip(*(t[patch].flatten(2).chunk(heads, 1) for t in (q, k, v)), strict=True)
            results = []
            for head_q, head_k, head_v in parts:
                scores = torch.einsum("bds,bdt->bst", head_q, head_k) / head_q.shape[1] ** 0.5
                results.append(torch.einsum("bst,bdt->bds", scores.softmax(-1), head_v))
            result[patch] = torch.cat(results, 1).reshape(len(v), -1, window, window)
    return result


class Block(nn.Module):
    def __init__(
        self, x: int, out: int, mid: int, kernel: int, stride: int, late: bool, heads: int, window: int, second: bool
    ) -> None:
        super().__init__()
        self.stride, self.late, self.heads, self.window, self.second = stride, late, heads, window, second
        self.norm = ChannelNorm(x) if late else nn.BatchNorm2d(x, eps=1e-6)
        if heads:
            self.qk = nn.Conv2d(x, 2 * x, 1)
        self.expand = nn.Conv2d(x, mid, 1)
        self.depthwise = nn.Conv2d(mid, mid, kernel, stride, kernel // 2, groups=mid, bias=False)
        self.depthwise_norm = nn.BatchNorm2d(mid, eps=1e-6)
        self.project = nn.Conv2d(mid, out, 1, bias=False)
        if second:
            self.factor = Factor(out)

    def forward(self, x: Tensor) -> Tensor:
        act = F.gelu if self.late else F.silu
        y = self.norm(x)
        if self.heads:
            height, width = y.shape[2:]
            y = F.pad(y, (0, -width % self.window, 0, -height % self.window))
            q, k = self.qk(y).chunk(2, 1)
            if self.second:
                v = act(self.expand(y))
                y = sum(attend(q, k, v, self.heads, self.window, remote) for remote in (True, False))
            else:
                y = act(self.expand(attend(q, k, y, self.heads, self.window, True)))
            y = y[:, :, :height, :width]
        else:
            y = act(self.expand(y))
        local = F.silu(self.depthwise_norm(self.depthwise(y)))
        y = self.project(y + local if self.stride == 1 else local)
        y = self.factor(y) if self.second else y
        return x + y if self.stride == 1 else y  # type: ignore[no-any-return]


class Gate(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.reduce, self.expand = nn.Conv2d(width, width, 1), nn.Conv2d(width, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        gate: Tensor = self.expand(F.silu(self.reduce(x.mean((2, 3), keepdim=True))))
        return x * gate.sigmoid()


class Reference(nn.Sequential):
    def __init__(
        self, depths: Sequence[int], widths: Sequence[int], ratios: Sequence[float], kernels: Sequence[int],
        head_dims: Sequence[int], window: int, second: bool,
    ) -> None:  # fmt: skip
        x = widths[0] // 2 if second else 24
        layers: list[nn.Module] = [nn.Conv2d(3, x, 3, 2, 1), nn.BatchNorm2d(x, eps=1e-6)]
        layers += [nn.SiLU()] if second else []
        layers += [nn.Conv2d(x, x, 3, 1, 1, groups=x, bias=False), nn.BatchNorm2d(x, eps=1e-6), nn.SiLU()]
        layers += [] if second else [Gate(x)]
        layers.append(nn.Conv2d(x, x, 1, bias=False))
        for stage in range(4):
            width, ratio, late = widths[stage], ratios[stage], stage >= 2
            for j in range(depths[stage]):
                heads = width // head_dims[stage] if late and j else 0
                mid, stride = int(x * ratio * (1 if j else 2)), 1 if j else 2
                layers.append(Block(x, width, mid, kernels[stage], stride, late, heads, window, second))
                x = width
        layers += [ChannelNorm(x), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(x, 1000)]
        super().__init__(*layers)


def copied(module: GraphModule, reference: nn.Module) -> None:
    """The module's weights and statistics into the reference's layers, which come in the same order."""
    leaves = [m for m in reference.modules() if not list(m.children()) and list(m.parameters())]
    for leaf, layer in zip(leaves, module.layers.values(), strict=True):
        mine, theirs = layer.state_dict(), leaf.state_dict()
        assert [tuple(v.shape) for v in mine.values()] == [tuple(v.shape) for v in theirs.values()]
        leaf.load_state_dict(dict(zip(theirs, mine.values(), strict=True)))


def shaken(module: GraphModule) -> GraphModule:
    """With every normalisation, statistic, bias and scale away from its plain initial value."""
    generator = torch.Generator().manual_seed(0)
    state = module.state_dict()
    for name, value in state.items():
        if value.dim() == 1 and not name.endswith("running_mean") and not name.endswith("bias"):
            value.uniform_(0.5, 1.5, generator=generator)
        elif value.dim() == 1:
            value.normal_(0, 0.5, generator=generator)
    return module.double().eval()


CONFIGURATIONS: dict[str, tuple[Any, ...]] = {
    "emo_1m": ((2, 2, 8, 3), (32, 48, 80, 168), (2, 2.5, 3, 3.5), (3, 3, 5, 5), (16, 16, 20, 21)),
    "emov2_1m": ((2, 2, 8, 3), (32, 48, 80, 180), (2, 2.5, 3, 3.5), (5, 5, 5, 5), (16, 16, 20, 20)),
}


@pytest.mark.parametrize(("size", "window"), [(224, 7), (96, 4)], ids=["whole windows", "padded windows"])
@pytest.mark.parametrize("name", list(CONFIGURATIONS))
def test_networks_compute_what_an_independent_implementation_does(name: str, size: int, window: int) -> None:
    module = shaken(to_module(load_network(name, image_size=size, window=window)))
    reference = Reference(*CONFIGURATIONS[name], window, name.startswith("emov2")).double().eval()
    copied(module, reference)
    x = torch.randn(2, 3, size, size, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        result, expected = module(x), reference(x)
    assert expected.std() > 0.01
    torch.testing.assert_close(result, expected, rtol=1e-6, atol=1e-8)


# -- the spaces ------------------------------------------------------------------------------------------------------


def small(name: str, **options: Any) -> Space:
    return load_space(name, **{"image_size": 64, "width": 0.5, "num_classes": 10, **options})


def test_sizes_are_products_over_the_stages() -> None:
    for name, attention in (("emo", 1 + len(EMO_HEAD_DIMS)), ("emov2", 1 + 3 * len(EMOV2_HEAD_DIMS))):
        stages = [
            len(d) * len(w) * len(EXPANSIONS) * len(KERNELS) * attention for d, w in zip(DEPTHS, WIDTHS, strict=True)
        ]
        assert load_space(name).size() == prod(stages) * (3 if name == "emo" else 1)


@pytest.mark.parametrize("name", SPACES)
@pytest.mark.parametrize(("size", "width"), [(32, 0.25), (64, 0.01), (96, 1.5)])
def test_small_and_thin_networks_build(name: str, size: int, width: float) -> None:
    space, rng = load_space(name, image_size=size, width=width), random.Random(0)
    for _ in range(5):
        assert space.graph(space.sample(rng)).output_shapes == {"logits": (1000,)}


def test_a_stage_with_attention_has_whole_heads() -> None:
    space, architecture = network_space("emov2_1m", image_size=64, width=0.5)
    genotype = space.parse(architecture)
    widths = [node.shape[0] for node in space.graph(genotype).nodes if node.op == "layer_scale"]
    assert list(dict.fromkeys(widths)) == [16, 24, 40, 80]  # the last is 90, of heads of 20
    without = {n: v for n, v in {**genotype, "stage4.attention": "none"}.items() if n != "stage4.head_dim"}
    assert [node.shape[0] for node in space.graph(without).nodes if node.op == "layer_scale"][-1] == 90


def test_close_and_remote_windows_differ_and_hybrid_has_the_parameters_of_either() -> None:
    space, architecture = network_space("emov2_1m", image_size=64)
    genotype = space.parse(architecture)
    graphs = {k: space.graph({**genotype, "stage3.attention": k}) for k in ("remote", "close", "hybrid")}
    assert len({graph.digest for graph in graphs.values()}) == 3
    assert len({graph.params for graph in graphs.values()}) == 1
    assert graphs["remote"].macs == graphs["close"].macs < graphs["hybrid"].macs


# -- the notation, and errors ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", list(NUMBERS))
def test_published_configurations_round_trip(name: str) -> None:
    space, architecture = network_space(name)
    genotype = space.parse(architecture)
    assert space.format(genotype) == architecture
    assert space.parse(genotype.to_json()) == genotype


GOOD = "depths=2,2,8,3 embed_dims=32,48,80,180 exp_ratios=2,2.5,3,3.5 dw_kss=5,5,5,5"
ATTENTION = " attention=none,none,hybrid,hybrid dim_heads=-,-,20,20"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no decision for 'stage1.depth'"),
        ("depths=2,2,8", "4 values joined by ',', and one stem_dim; not 'depths=2,2,8'"),
        ("heads=1,1,1,1", "an EMO is written as depths, embed_dims, .*not 'heads=1,1,1,1'"),
        (GOOD, "no decision for 'stage1.attention'"),
        (GOOD.replace("180", "181") + ATTENTION, "'stage4.width' cannot be 181; its options are 168, 180"),
        (GOOD + ATTENTION.replace("-,-", "16,-"), "makes no choice 'stage1.head_dim'"),
        ("stem_dim=24 " + GOOD + ATTENTION, "makes no choice 'stem.width'"),
    ],
)
def test_texts_that_are_no_architecture_say_why(text: str, message: str) -> None:
    with pytest.raises(GenotypeError, match=message):
        load_space("emov2").parse(text)


@pytest.mark.parametrize("name", SPACES)
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"task": "segment"}, "no task 'segment'; there are classify and detect"),
        ({"width": 0}, "width must be a factor above 0"),
        ({"window": 0}, "window must be a whole number of at least 1"),
        ({"depths": ((2,), (2,))}, "options for 4 stages"),
        ({"image_size": 16}, "stride 2 is beyond the input"),
    ],
)
def test_options_that_cannot_be_are_errors_that_say_so(name: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(SpaceError, match=message):
        load_space(name, **options).sample(random.Random(0))


def test_heads_that_cannot_share_the_expanded_map_are_an_error() -> None:
    space, architecture = network_space("emov2_1m", image_size=64, head_dims=(20, 21))
    with pytest.raises(SpaceError, match="3 heads cannot share 220 expanded channels; use head_dims whose product"):
        space.graph({**space.parse(architecture), "stage3.head_dim": 21, "stage3.expansion": 3.5})
