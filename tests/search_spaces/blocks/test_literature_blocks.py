"""Blocks from papers without a space of their own: counts in closed form, values against plain PyTorch."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor as Values
from torch import nn

from search_spaces.blocks.heads import classifier
from search_spaces.blocks.mobile import conv_norm_act, inverted_bottleneck, squeeze_excite
from search_spaces.blocks.multitask_heads import (
    Classification,
    Regression,
    Segmentation,
    Task,
    multitask,
    regressor,
    segmentation_decoder,
)
from search_spaces.blocks.reversible import reversible_inverted_bottlenecks, reversible_stack
from search_spaces.blocks.split_bottleneck import bottlefit_resnet, split_bottleneck
from search_spaces.blocks.squeeze_excite import maximum, spatial_channel_squeeze_excite, spatial_squeeze_excite
from search_spaces.blocks.volumetric import (
    conv_2plus1d,
    inverted_bottleneck_2plus1d,
    inverted_bottleneck_3d,
    r2plus1d_width,
)
from search_spaces.graph.builder import Builder, Tensor
from search_spaces.graph.cuts import bytes_across, narrowest_cut
from search_spaces.graph.graph import Graph
from search_spaces.graph.operations import GraphError, Shape
from search_spaces.graph.serialise import graph_from_json
from search_spaces.pytorch.module import GraphModule, to_module
from search_spaces.pytorch.reversible_module import ReversibleStack, run_reversible
from tests.support.built_graphs import built

PAGE = (Path(__file__).parents[3] / "docs" / "blocks.md").read_text(encoding="utf-8")


def copied(graph: Graph, plain: nn.Module) -> GraphModule:
    """The graph's module with the weights and statistics of ``plain``, whose layers run in the same order."""
    module = to_module(graph)
    with torch.no_grad():
        for p in plain.parameters():
            p.normal_(0.2, 0.4)
        for name, statistic in plain.named_buffers():
            if not name.endswith("num_batches_tracked"):
                statistic.uniform_(0.5, 1.5)
        for mine, theirs in zip(module.state_dict().values(), plain.state_dict().values(), strict=True):
            mine.copy_(theirs.reshape(mine.shape))
    return module


def agree(graph: Graph, plain: nn.Module) -> None:
    """The graph computes what ``plain`` does, in training and after it."""
    torch.manual_seed(0)
    module = copied(graph, plain)
    x = torch.randn(2, *graph.input_shape)
    for training in (True, False):
        torch.testing.assert_close(module.train(training)(x), plain.train(training)(x), rtol=1e-4, atol=1e-4)


# -- squeeze and excitation ------------------------------------------------------------------------------------------


class PlainScse(nn.Module):
    """After the authors' repository: linear layers with a bias, a 1x1 convolution with a bias."""

    def __init__(self, channels: int, squeezed: int, combine: Callable[[Values, Values], Values]) -> None:
        super().__init__()
        self.squeeze, self.excite = nn.Linear(channels, squeezed), nn.Linear(squeezed, channels)
        self.location_gate = nn.Conv2d(channels, 1, 1)
        self.combine = combine

    def forward(self, x: Values) -> Values:
        gates = torch.sigmoid(self.excite(torch.relu(self.squeeze(x.mean((2, 3))))))
        return self.combine(x * gates[:, :, None, None], x * torch.sigmoid(self.location_gate(x)))


@pytest.mark.parametrize(("combine", "function"), [("add", torch.add), ("max", torch.maximum)])
def test_scse_computes_what_the_authors_code_does(combine: str, function: Callable[..., Values]) -> None:
    graph = built((8, 6, 5), lambda b, x: spatial_channel_squeeze_excite(b, x, 4, combine=combine))
    agree(graph, PlainScse(8, 4, function))
    assert graph.params == (8 * 4 + 4) + (4 * 8 + 8) + (8 + 1)
    assert graph.macs == 8 * 4 + 4 * 8 + 8 * 6 * 5


def test_scse_is_the_sum_of_both_and_works_on_volumes() -> None:
    graph = built((8, 3, 6, 5), lambda b, x: spatial_channel_squeeze_excite(b, x, 4))
    apart = built((8, 3, 6, 5), lambda b, x: b.add(squeeze_excite(b, x, 4), spatial_squeeze_excite(b, x)))
    assert graph == apart
    assert graph.output_shapes == {"output": (8, 3, 6, 5)}


def test_the_maximum_is_exact_but_for_rounding() -> None:
    b = Builder()
    p, q = b.input((4, 50)), b.input((4, 50))
    module = to_module(b.build(maximum(b, (p, q))))
    torch.manual_seed(0)
    one, other = torch.randn(3, 4, 50) * 100, torch.randn(3, 4, 50)
    torch.testing.assert_close(module(one, other), torch.maximum(one, other), rtol=0, atol=4e-5)


def test_an_unknown_combination_is_named() -> None:
    with pytest.raises(GraphError, match="add or max, not 'mean'"):
        built((8, 4, 4), lambda b, x: spatial_channel_squeeze_excite(b, x, 4, combine="mean"))


# -- volumes ---------------------------------------------------------------------------------------------------------


def norm_act(channels: int, act: nn.Module | None) -> list[nn.Module]:
    return [nn.BatchNorm3d(channels), *([] if act is None else [act])]


def plain_conv(
    cin: int, cout: int, kernel: tuple[int, ...], stride: tuple[int, ...] = (1, 1, 1), groups: int = 1, **kwargs: Any
) -> list[nn.Module]:
    conv = nn.Conv3d(cin, cout, kernel, stride, [k // 2 for k in kernel], groups=groups, bias=False)  # type: ignore[arg-type]
    return [conv, *norm_act(cout, kwargs.get("act", nn.ReLU6()))]


class Residual(nn.Module):
    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.layers = nn.Sequential(*layers)

    def forward(self, x: Values) -> Values:
        y: Values = self.layers(x)
        return x + y


def test_3d_inverted_bottlenecks_compute_what_plain_code_does() -> None:
    def block(b: Builder, x: Tensor) -> Tensor:
        return inverted_bottleneck_3d(b, x, 6, expanded=12, kernel=(3, 5, 5), stride=(1, 2, 2))

    graph = built((4, 6, 8, 8), block)
    agree(
        graph,
        nn.Sequential(
            *plain_conv(4, 12, (1, 1, 1)),
            *plain_conv(12, 12, (3, 5, 5), (1, 2, 2), 12),
            *plain_conv(12, 6, (1, 1, 1), act=None),
        ),
    )
    assert graph.output_shapes == {"output": (6, 6, 4, 4)}
    places, fewer = 6 * 8 * 8, 6 * 4 * 4
    assert graph.macs == places * 4 * 12 + fewer * 12 * (3 * 5 * 5) + fewer * 12 * 6
    assert graph.params == 4 * 12 + 12 * 75 + 12 * 6 + 2 * (12 + 12 + 6)


def test_3d_inverted_bottlenecks_without_expansion_and_with_a_residual() -> None:
    graph = built((4, 5, 6, 7), lambda b, x: inverted_bottleneck_3d(b, x, 4, expanded=None, residual=True))
    agree(graph, Residual(*plain_conv(4, 4, (3, 3, 3), groups=4), *plain_conv(4, 4, (1, 1, 1), act=None)))
    assert graph.macs == 5 * 6 * 7 * 4 * (27 + 4)


@pytest.mark.parametrize("depthwise", [True, False])
def test_2plus1d_inverted_bottlenecks_compute_what_plain_code_does(depthwise: bool) -> None:
    middle = None if depthwise else 10
    graph = built(
        (4, 6, 8, 8),
        lambda b, x: inverted_bottleneck_2plus1d(
            b, x, 6, expanded=12, stride=2, temporal_stride=2, middle=middle, depthwise=depthwise
        ),
    )
    inner, groups = middle or 12, 12 if depthwise else 1
    agree(
        graph,
        nn.Sequential(
            *plain_conv(4, 12, (1, 1, 1)),
            *plain_conv(12, inner, (1, 3, 3), (1, 2, 2), groups),
            *plain_conv(inner, 12, (3, 1, 1), (2, 1, 1), groups),
            *plain_conv(12, 6, (1, 1, 1), act=None),
        ),
    )
    assert graph.output_shapes == {"output": (6, 3, 4, 4)}
    spatial, temporal = (9, 3) if depthwise else (12 * 9, 10 * 3)
    area = 4 * 4
    assert graph.macs == 6 * 64 * 4 * 12 + 6 * area * inner * spatial + 3 * area * 12 * (temporal + 6)


def test_the_width_rule_keeps_the_parameters_of_the_3d_convolution() -> None:
    assert r2plus1d_width(64, 64) == 144  # torchvision's r2plus1d_18, layer1
    for cin, cout, kernel, time in [(64, 128, 3, 3), (3, 64, 7, 3), (256, 512, 3, 5)]:
        middle = r2plus1d_width(cin, cout, kernel, time)
        factorised = middle * (cin * kernel**2 + cout * time)
        whole = time * kernel**2 * cin * cout
        assert factorised <= whole < factorised + cin * kernel**2 + cout * time


def r2plus1d_18(b: Builder, clip: Tensor, classes: int) -> Tensor:
    """torchvision's, whose blocks have one middle width, that of their first convolution."""
    x = conv_2plus1d(b, clip, 64, kernel=7, stride=2, middle=45)
    for stage, width in enumerate((64, 128, 256, 512)):
        for layer in range(2):
            stride = 2 if stage and not layer else 1
            middle = r2plus1d_width(x.channels, width)
            y = conv_2plus1d(b, x, width, stride=stride, temporal_stride=stride, middle=middle)
            y = b.conv(y, middle, (1, 3, 3), padding=[(0, 0), (1, 1), (1, 1)])
            y = b.norm(b.conv(b.act(b.norm(y), "relu"), width, (3, 1, 1), padding=[(1, 1), (0, 0), (0, 0)]))
            shortcut = b.norm(b.conv(x, width, 1, stride)) if stride > 1 else x
            x = b.act(b.add(shortcut, y), "relu")
    return classifier(b, x, classes)


def test_r2plus1d_18_has_torchvisions_counts() -> None:
    """``R2Plus1D_18_Weights.KINETICS400_V1``: num_params, and _ops, its giga multiply-adds on 16 x 112 x 112."""
    graph = built((3, 16, 112, 112), lambda b, clip: r2plus1d_18(b, clip, 400))
    assert graph.params == 31_505_325
    assert round(graph.macs / 1e9, 3) == 40.519


def test_volumes_are_asked_for() -> None:
    with pytest.raises(GraphError, match=r"takes \(channels, depth, height, width\), not \(4, 8, 8\)"):
        built((4, 8, 8), lambda b, x: inverted_bottleneck_3d(b, x, 4, expanded=None))
    with pytest.raises(GraphError, match="keeps the 4 channels"):
        built((4, 8, 8, 8), lambda b, x: conv_2plus1d(b, x, 6, depthwise=True))


# -- reversible stacks -----------------------------------------------------------------------------------------------

HALF = (8, 12, 12)


def part(seed: int, expanded: int = 24) -> GraphModule:
    return to_module(built(HALF, lambda b, x: inverted_bottleneck(b, x, x.channels, expanded=expanded)), seed)


def couples(depth: int, dtype: torch.dtype = torch.float32) -> list[tuple[nn.Module, nn.Module]]:
    return [(part(2 * i).to(dtype), part(2 * i + 1).to(dtype)) for i in range(depth)]


def run_plain(blocks: Sequence[tuple[nn.Module, nn.Module]], x: Values) -> Values:
    y1, y2 = x.chunk(2, dim=1)
    for f, g in blocks:
        y1 = y1 + f(y2)
        y2 = y2 + g(y1)
    return torch.cat((y1, y2), dim=1)


def trained(
    runner: Callable[..., Values], dtype: torch.dtype = torch.float32, depth: int = 8, train: bool = True
) -> tuple[Values, list[Values], list[Values]]:
    """Output, gradients of input and parameters, and buffers after one step's passes."""
    blocks = couples(depth, dtype)
    stack = ReversibleStack(blocks).train(train)
    torch.manual_seed(0)
    x = torch.randn(2, 16, 12, 12).to(dtype).requires_grad_()
    target = torch.randn(2, 16, 12, 12).to(dtype)
    y = runner(blocks, x)
    (y - target).square().mean().backward()
    gradients = [x.grad, *[p.grad for p in stack.parameters()]]
    assert all(g is not None for g in gradients)
    return y.detach(), [g for g in gradients if g is not None], [b.clone() for b in stack.buffers()]


def as_vector(gradients: Sequence[Values]) -> Values:
    return torch.cat([g.double().flatten() for g in gradients])


@pytest.mark.parametrize("train", [True, False])
def test_gradients_without_stored_activations_are_the_plain_ones(train: bool) -> None:
    y, gradients, _ = trained(run_reversible, torch.float64, train=train)
    expected_y, expected, _ = trained(run_plain, torch.float64, train=train)
    assert torch.equal(y, expected_y)
    exact = as_vector(expected)
    assert (as_vector(gradients) - exact).abs().max() < 1e-10


@pytest.mark.parametrize("train", [True, False])
def test_gradients_in_float32_are_the_plain_ones_but_for_rounding(train: bool) -> None:
    """Inputs that are had back carry rounding, which grows with depth; as much as plain float32 does, about."""
    _, gradients, _ = trained(run_reversible, depth=4, train=train)
    _, expected, _ = trained(run_plain, depth=4, train=train)
    assert (as_vector(gradients) - as_vector(expected)).norm() < 1e-6 * as_vector(expected).norm()
    errors = []
    for runner in (run_reversible, run_plain):
        exact = as_vector(trained(run_plain, torch.float64, depth=8, train=train)[1])
        errors.append((as_vector(trained(runner, depth=8, train=train)[1]) - exact).norm() / exact.norm())
    assert errors[0] < 5 * errors[1] < 5e-5


def test_running_statistics_move_once() -> None:
    _, _, buffers = trained(run_reversible)
    _, _, expected = trained(run_plain)
    assert any(b.dtype == torch.int64 and b.item() == 1 for b in buffers)
    for actual, wanted in zip(buffers, expected, strict=True):
        assert torch.equal(actual, wanted)


def test_a_part_that_fails_on_the_way_back_leaves_its_statistics_on() -> None:
    class Fails(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm, self.calls = nn.BatchNorm2d(2), 0

        def forward(self, x: Values) -> Values:
            self.calls += 1
            if self.calls > 1:
                raise ValueError("again")
            y: Values = self.norm(x)
            return y

    fails = Fails()
    y = run_reversible([(nn.Identity(), fails)], torch.randn(2, 4, 3, 3, requires_grad=True))
    with pytest.raises(ValueError, match="again"):
        y.sum().backward()
    assert fails.norm.track_running_stats


class Saved:
    """What autograd holds for the way back: bytes of live storages that are no parameters, and their peak."""

    def __init__(self, kept: Sequence[Values]) -> None:
        self.outside = {t.untyped_storage().data_ptr() for t in kept}
        self.uses: dict[int, int] = {}
        self.live = self.peak = 0

    @contextmanager
    def watching(self) -> Iterator[None]:
        with torch.autograd.graph.saved_tensors_hooks(lambda t: Handle(self, t), lambda handle: handle.tensor):
            yield


class Handle:
    def __init__(self, saved: Saved, tensor: Values) -> None:
        storage = tensor.untyped_storage()
        self.saved, self.tensor, self.storage, self.size = saved, tensor, storage.data_ptr(), storage.nbytes()
        if self.storage not in saved.outside:
            if not saved.uses.get(self.storage):
                saved.live += self.size
                saved.peak = max(saved.peak, saved.live)
            saved.uses[self.storage] = saved.uses.get(self.storage, 0) + 1

    def __del__(self) -> None:
        if self.storage not in self.saved.outside:
            self.saved.uses[self.storage] -= 1
            if not self.saved.uses[self.storage]:
                self.saved.live -= self.size


def saved_bytes(runner: Callable[..., Values], depth: int) -> tuple[int, int]:
    """Bytes held between the passes, and the most at any time of both."""
    blocks = couples(depth)
    stack = ReversibleStack(blocks)
    saved = Saved([*stack.parameters(), *stack.buffers()])
    x = torch.randn(2, 16, 12, 12, requires_grad=True)
    with saved.watching():
        y = runner(blocks, x).sum()
        between = saved.live
        y.backward()
    return between, saved.peak


def test_memory_of_training_does_not_grow_with_depth() -> None:
    """Eight blocks: 18,432 bytes between the passes and 203,200 at most, where plain code has 2,965,504."""
    between, peak = saved_bytes(run_reversible, 8)
    assert between == 2 * 16 * 12 * 12 * 4  # the output alone
    assert (between, peak) == saved_bytes(run_reversible, 2)
    plain_between, plain_peak = saved_bytes(run_plain, 8)
    assert plain_peak == plain_between == saved_bytes(run_plain, 2)[1] + 6 * 369_536
    assert peak < 0.08 * plain_peak
    assert between < 0.01 * plain_between


@pytest.mark.parametrize("backward_too", [False, True])
def test_reversible_training_keeps_autocast(backward_too: bool) -> None:
    def cast(runner: Callable[..., Values]) -> Callable[..., Values]:
        def runs(blocks: Any, x: Values) -> Values:
            with torch.autocast("cpu", torch.bfloat16):
                return runner(blocks, x).float()

        return runs

    with torch.autocast("cpu", torch.bfloat16, enabled=backward_too):
        y, gradients, _ = trained(cast(run_reversible), depth=2)
    expected_y, expected, _ = trained(cast(run_plain), depth=2)
    assert torch.equal(y, expected_y)
    for actual, wanted in zip(gradients, expected, strict=True):
        assert (actual - wanted).norm() <= 0.1 * wanted.norm() + 1e-3


def test_weights_changed_between_the_passes_are_noticed() -> None:
    blocks = couples(1)
    y = run_reversible(blocks, torch.randn(2, 16, 12, 12)).sum()
    with torch.no_grad():
        next(blocks[0][0].parameters()).add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.backward()


def test_frozen_parts_and_odd_channels() -> None:
    blocks = couples(2)
    for p in blocks[0][0].parameters():
        p.requires_grad_(False)
    run_reversible(blocks, torch.randn(2, 16, 12, 12)).sum().backward()
    assert all(p.grad is None for p in blocks[0][0].parameters())
    assert all(p.grad is not None for p in blocks[0][1].parameters())
    with torch.no_grad():
        assert not run_reversible(blocks, torch.randn(2, 16, 12, 12)).requires_grad
    with pytest.raises(ValueError, match=r"takes \(batch, even, ...\), not \(2, 15, 12, 12\)"):
        run_reversible(blocks, torch.randn(2, 15, 12, 12))
    with pytest.raises(GraphError, match="15 is odd"):
        built((15, 4, 4), lambda b, x: reversible_inverted_bottlenecks(b, x, 1, expanded=8))


def test_the_graph_of_a_reversible_stack_computes_what_is_trained() -> None:
    graph = built((16, 12, 12), lambda b, x: reversible_inverted_bottlenecks(b, x, 3, expanded=24))
    stack = ReversibleStack(couples(3))
    agree(graph, stack)
    one = part(0).graph
    assert graph.macs == 6 * one.macs
    assert graph.params == 6 * one.params
    assert [n.op for n in graph.nodes].count("slice") == 2
    assert [n.op for n in graph.nodes].count("concat") == 1


def test_parts_of_a_stack_may_differ() -> None:
    def wide(b: Builder, x: Tensor) -> Tensor:
        return inverted_bottleneck(b, x, x.channels, expanded=32)

    def narrow(b: Builder, x: Tensor) -> Tensor:
        return conv_norm_act(b, x, x.channels, 3, act="identity")

    graph = built((16, 12, 12), lambda b, x: reversible_stack(b, x, [(wide, narrow), (narrow, wide)]))
    assert graph.params == 2 * (part(0, 32).graph.params + 9 * 64 + 16)


# -- several tasks ---------------------------------------------------------------------------------------------------


def three_features(b: Builder) -> list[Tensor]:
    x = b.input((3, 32, 48))
    features = []
    for width in (8, 12, 16):
        x = conv_norm_act(b, x, width, 3, 2)
        features.append(x)
    return features


def test_heads_of_several_tasks_share_one_backbone() -> None:
    tasks: Mapping[str, Task] = {
        "species": Segmentation(17, width=10),
        "height_cm": Regression(),
        "week": Classification(11),
        "mask": Segmentation(2, width=4, size=(32, 48)),
    }
    b = Builder()
    graph = b.build(multitask(b, three_features(b), tasks))
    assert graph.output_shapes == {"species": (17, 16, 24), "height_cm": (1,), "week": (11,), "mask": (2, 32, 48)}
    alone = {}
    for name, task in tasks.items():
        b = Builder()
        alone[name] = b.build(multitask(b, three_features(b), {name: task}))
    b = Builder()
    backbone = b.build(three_features(b)[-1])
    assert graph.params == sum(g.params for g in alone.values()) - 3 * backbone.params
    assert graph.macs == sum(g.macs for g in alone.values()) - 3 * backbone.macs
    outputs = to_module(graph)(torch.randn(2, 3, 32, 48))
    assert isinstance(outputs, dict)
    assert {name: tuple(v.shape[1:]) for name, v in outputs.items()} == graph.output_shapes
    sum(v.square().mean() for v in outputs.values()).backward()


class PlainSegmentation(nn.Module):
    def __init__(self, widths: Sequence[int], width: int, classes: int) -> None:
        super().__init__()
        self.project = nn.ModuleList(
            nn.Sequential(nn.Conv2d(w, width, 1, bias=False), nn.BatchNorm2d(width)) for w in widths
        )
        self.smooth = nn.Sequential(
            nn.Conv2d(width, width, 3, padding=1, groups=width, bias=False), nn.BatchNorm2d(width), nn.ReLU6(),
            nn.Conv2d(width, width, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU6(),
            nn.Conv2d(width, classes, 1),
        )  # fmt: skip

    def forward(self, *features: Values) -> Values:
        size = features[0].shape[2:]
        maps = [project(f) for project, f in zip(self.project, features, strict=True)]
        resized = [nn.functional.interpolate(m, size, mode="bilinear", align_corners=False) for m in maps]
        y: Values = self.smooth(sum(resized))
        return y


def test_the_segmentation_decoder_computes_what_plain_code_does() -> None:
    b = Builder()
    shapes = ((4, 8, 12), (6, 4, 6), (10, 2, 3))
    graph = b.build(segmentation_decoder(b, [b.input(s) for s in shapes], 5, width=7))
    plain = PlainSegmentation((4, 6, 10), 7, 5)
    torch.manual_seed(0)
    module = copied(graph, plain).eval()
    inputs = [torch.randn(2, *shape) for shape in shapes]
    torch.testing.assert_close(module(*inputs), plain.eval()(*inputs), rtol=1e-4, atol=1e-4)
    assert graph.macs == 7 * (4 * 96 + 6 * 24 + 10 * 6) + 96 * (7 * 9 + 7 * 7 + 7 * 5)


def test_single_heads() -> None:
    graph = built((6, 4, 4), lambda b, x: regressor(b, x, 2, hidden=5))
    assert (graph.output_shapes["output"], graph.params) == ((2,), 6 * 5 + 5 + 5 * 2 + 2)
    volume = built((6, 2, 4, 4), lambda b, x: segmentation_decoder(b, [x], 3, width=4, mode="nearest", size=(4, 8, 8)))
    assert volume.output_shapes == {"output": (3, 4, 8, 8)}
    with pytest.raises(GraphError, match="at least one feature and one task"):
        multitask(Builder(), [], {"week": Classification(2)})
    with pytest.raises(GraphError, match="at least one feature"):
        segmentation_decoder(Builder(), [], 2)


# -- split computing -------------------------------------------------------------------------------------------------


def plain_bottlefit(channels: int) -> nn.Module:
    """After ``bottlefit-split_computing``'s table of layers, version 2."""
    return nn.Sequential(
        nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64), nn.ReLU(), nn.MaxPool2d(3, 2, 1),
        nn.BatchNorm2d(64), nn.ReLU(), nn.Conv2d(64, channels, 2, 2, 1, bias=False),
        nn.BatchNorm2d(channels), nn.ReLU(),
        nn.Conv2d(channels, 512, 2, 1, 1, bias=False), nn.BatchNorm2d(512), nn.ReLU(),
        nn.Conv2d(512, 512, 2, 1, 1, bias=False), nn.BatchNorm2d(512), nn.ReLU(),
        nn.Conv2d(512, 512, 2, bias=False), nn.BatchNorm2d(512), nn.ReLU(),
        nn.Conv2d(512, 512, 2, bias=False), nn.AvgPool2d(2, 1),
    )  # fmt: skip


def test_the_early_bottleneck_computes_what_the_authors_table_says() -> None:
    graph = built((3, 32, 32), lambda b, x: bottlefit_resnet(b, x, 3))
    torch.manual_seed(0)
    plain = plain_bottlefit(3)
    module = copied(graph, plain).eval()
    x = torch.randn(1, 3, 32, 32)
    wanted = plain.eval()(x)
    torch.testing.assert_close(module(x) / wanted.std(), wanted / wanted.std(), rtol=1e-4, atol=1e-4)
    assert graph.output_shapes == {"output": (512, 4, 4)}


@pytest.mark.parametrize("channels", [3, 6, 9, 12])
def test_bytes_across_the_published_bottleneck(channels: int) -> None:
    """At 224 the map is 29 x 29, and the bottleneck is the narrowest tensor of the replaced stages."""
    graph = built((3, 224, 224), lambda b, x: bottlefit_resnet(b, x, channels))
    assert graph.output_shapes == {"output": (512, 28, 28)}
    cut = narrowest_cut(graph, bits=8)
    assert graph.nodes[cut.node].op == "conv"
    assert graph.nodes[cut.node].shape == (channels, 29, 29)
    assert cut.bytes == channels * 29 * 29
    assert bytes_across(graph) == 4 * channels * 29 * 29
    assert cut.device_macs == 112 * 112 * 64 * 3 * 49 + 29 * 29 * channels * 64 * 4
    assert cut.device_params == 64 * 3 * 49 + channels * 64 * 4 + 4 * 64


def test_densenets_decoder_ends_where_its_third_block_begins() -> None:
    widths = (512, 512, 256, 256, 256)
    graph = built((64, 56, 56), lambda b, x: split_bottleneck(b, x, 12, widths=widths, pool_stride=2))
    assert graph.output_shapes == {"output": (256, 14, 14)}


# -- all of them -----------------------------------------------------------------------------------------------------

BLOCKS: list[tuple[Shape, Callable[[Builder, Tensor], Tensor]]] = [
    ((8, 6, 6), spatial_squeeze_excite),
    ((8, 6, 6), lambda b, x: spatial_channel_squeeze_excite(b, x, 4)),
    ((8, 6, 6), lambda b, x: spatial_channel_squeeze_excite(b, x, 4, combine="max")),
    ((8, 4, 6, 6), lambda b, x: inverted_bottleneck_3d(b, x, 8, expanded=16, residual=True)),
    ((8, 4, 6, 6), lambda b, x: conv_2plus1d(b, x, 8)),
    ((8, 4, 6, 6), lambda b, x: inverted_bottleneck_2plus1d(b, x, 8, expanded=16, residual=True)),
    ((8, 6, 6), lambda b, x: reversible_inverted_bottlenecks(b, x, 2, expanded=12)),
    ((8, 6, 6), lambda b, x: split_bottleneck(b, x, 2, widths=(8, 8), stride=1)),
]


@pytest.mark.parametrize(("shape", "block"), BLOCKS)
def test_repeated_blocks_are_the_graph_that_json_reads_node_by_node(
    shape: Shape, block: Callable[[Builder, Tensor], Tensor]
) -> None:
    once = built(shape, block)
    graph = built(shape, lambda b, x: block(b, x))
    assert graph == once == graph_from_json(once.to_json())
    other = Builder()
    x = other.input(shape)
    twice = other.build({"one": block(other, x), "other": block(other, x)})
    assert twice.params == 2 * once.params
    assert twice == graph_from_json(twice.to_json())
    assert twice.digest == graph_from_json(twice.to_json()).digest


# -- the page --------------------------------------------------------------------------------------------------------


def test_the_pages_examples_run_and_print_what_they_say(capsys: pytest.CaptureFixture[str]) -> None:
    code = "\n".join(re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL))
    exec(compile(code, "docs/blocks.md", "exec"), {})  # noqa: S102 - our own text
    expected_lines = re.findall(r"^print\(.*\)  # (.*)$", code, flags=re.MULTILINE)
    assert expected_lines
    assert capsys.readouterr().out.splitlines() == expected_lines
