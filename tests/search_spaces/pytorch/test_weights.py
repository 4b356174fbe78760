"""Weights by the names of nodes: what two networks of a space share, files of our own, and timm's names."""

from __future__ import annotations

import gzip
import importlib.util
import json
import os
import random
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import nas
from search_spaces.blocks import mobile
from search_spaces.graph.builder import Builder
from search_spaces.graph.graph import Graph
from search_spaces.pytorch.weights import copy_shared_parameters, load_weights, shared_parameters
from search_spaces.pytorch.weights.load import WeightsFileError, save_weights, timm_keys
from search_spaces.pytorch.weights.names import graph_tensors, named_tensors, state_keys

ROOT = Path(__file__).resolve().parents[3]
TIMM_PYTHON = os.environ.get("TIMM_PYTHON", "")
RECORDED: dict[str, dict[str, list[int]]] = json.loads(
    gzip.decompress((ROOT / "tests" / "recorded" / "timm_keys.json.gz").read_bytes())
)


def timm_weights() -> Any:
    """The script that compares with timm."""
    path = ROOT / "results" / "spaces" / "timm_weights.py"
    spec = importlib.util.spec_from_file_location("timm_weights", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def one_block(kernel: int, expanded: int, width: int = 8, block: str = "inverted_bottleneck") -> Graph:
    b = Builder()
    x = mobile.conv_norm_act(b.section("stem"), b.input((3, 16, 16)), 8, 3, 2)
    make = getattr(mobile, block)
    x = make(b.section("stage1.layer0"), x, width, expanded=expanded, kernel=kernel)
    return b.build({"logits": nas.heads.classifier(b.section("head"), x, 5)})


# -- names -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["mobiledet_cpu", "mobilenetv4_hybrid_medium", "emo_1m", "leyolo_nano", "densenet121"])
def test_every_tensor_of_a_module_has_one_name(name: str) -> None:
    module = nas.to_module(nas.load_network(name))
    tensors = named_tensors(module)
    own = {key: tensor for key, tensor in module.state_dict().items() if not key.endswith("num_batches_tracked")}
    keys = state_keys(module)
    assert sorted(keys.values()) == sorted(own)
    for tensor_name, tensor in tensors.items():
        assert tensor.data_ptr() == own[keys[tensor_name]].data_ptr()
        assert tuple(tensor.shape) == graph_tensors(module.graph)[tensor_name].shape
        assert "/" in tensor_name


# -- two networks ------------------------------------------------------------------------------------------------------


def test_narrower_widths_are_the_first_channels_and_smaller_kernels_the_middle() -> None:
    small, large = one_block(3, 16), one_block(5, 24)
    shared = {s.name: s for s in shared_parameters(small, large)}
    assert shared["stem/conv.weight"].whole
    assert shared["stage1.layer0/depthwise/conv.weight"][1:] == (
        (slice(0, 16), slice(0, 1), slice(0, 3), slice(0, 3)),
        (slice(0, 16), slice(0, 1), slice(1, 4), slice(1, 4)),
        (16, 1, 3, 3),
    )
    assert shared["stage1.layer0/project/conv.weight"].slice_b == (slice(0, 8), slice(0, 16), slice(0, 1), slice(0, 1))
    assert shared["stage1.layer0/expand/norm.running_var"].shape == (16,)
    assert set(shared) == set(graph_tensors(small))


def test_blocks_of_other_functions_share_nothing() -> None:
    names = {s.name for s in shared_parameters(one_block(3, 16), one_block(3, 16, block="fused_inverted_bottleneck"))}
    assert names
    assert not any(name.startswith("stage1") for name in names)


def test_without_sections_only_equal_graphs_share() -> None:
    def plain(width: int) -> Graph:
        b = Builder()
        return b.build(b.conv(b.conv(b.input((3, 8, 8)), width), 2))

    assert [s.name for s in shared_parameters(plain(4), plain(4))] == ["conv.weight", "conv_2.weight"]
    assert shared_parameters(plain(4), plain(6)) == ()


@given(st.sampled_from(["mobilenetv3", "mobiledet", "mobilenetv4", "proxylessnas"]), st.integers(0, 10**6))
@settings(max_examples=25, deadline=None)
def test_shared_parts_fit_both(space_name: str, seed: int) -> None:
    space, rng = nas.load_space(space_name, image_size=64), random.Random(seed)
    a, b = (space.graph(space.sample(rng)) for _ in range(2))
    shared = shared_parameters(a, b)
    mirrored = shared_parameters(b, a)
    assert {s.name: (s.slice_a, s.slice_b) for s in shared} == {s.name: (s.slice_b, s.slice_a) for s in mirrored}
    for graph, slices in ((a, [s.slice_a for s in shared]), (b, [s.slice_b for s in shared])):
        tensors = graph_tensors(graph)
        for s, ranges in zip(shared, slices, strict=True):
            assert tuple(r.stop - r.start for r in ranges) == s.shape
            assert all(0 <= r.start < r.stop <= n for r, n in zip(ranges, tensors[s.name].shape, strict=True))
    own = shared_parameters(a, a)
    assert [s.name for s in own] == list(graph_tensors(a))
    assert all(s.whole for s in own)


def test_copied_weights_compute_what_the_source_computes() -> None:
    space = nas.load_space("mobilenetv3", image_size=64)
    genotype = space.sample(random.Random(3))
    source, target = (nas.to_module(space.graph(genotype), seed).eval() for seed in (1, 2))
    x = torch.randn(2, 3, 64, 64)
    assert not torch.allclose(source(x), target(x))
    assert set(copy_shared_parameters(source, target)) == set(named_tensors(source))
    assert torch.equal(source(x), target(x))


# -- files -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["names", "state", "checkpoint"])
def test_own_files_come_back(kind: str, tmp_path: Path) -> None:
    graph = one_block(3, 16)
    module = nas.to_module(graph, seed=7)
    path = tmp_path / ("weights.safetensors" if kind == "names" else "weights.pt")
    if kind == "names":
        save_weights(module, path)
    else:
        state = module.state_dict()
        torch.save(state if kind == "state" else {"state_dict": state, "epoch": torch.tensor(3)}, path)
    again = load_weights(graph, path)
    assert all(torch.equal(tensor, named_tensors(module)[name]) for name, tensor in named_tensors(again).items())


def test_another_networks_file_is_refused_before_anything_is_changed(tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    save_weights(nas.to_module(one_block(3, 16)), path)
    module = nas.to_module(one_block(5, 16), seed=5)
    before = {name: tensor.clone() for name, tensor in named_tensors(module).items()}
    with pytest.raises(
        WeightsFileError, match=r"depthwise/conv.weight is \(16, 1, 3, 3\), where .* is \(16, 1, 5, 5\)"
    ):
        load_weights(module, path)
    assert all(torch.equal(tensor, before[name]) for name, tensor in named_tensors(module).items())
    with pytest.raises(WeightsFileError, match=r"it lacks .*, and it has also stage1\.layer0/"):
        load_weights(nas.load_network("mobilenetv2", image_size=32), path)


class _Touches:
    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (Path("was_run"),)


def test_files_that_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    graph = one_block(3, 16)
    with pytest.raises(WeightsFileError, match="there is no file"):
        load_weights(graph, tmp_path / "absent.safetensors")
    with pytest.raises(WeightsFileError, match=r"is none of \.safetensors, \.pt, \.pth"):
        load_weights(graph, "weights.bin")
    torch.save({"a": _Touches()}, tmp_path / "evil.pt")
    with pytest.raises(WeightsFileError, match="cannot be read"):
        load_weights(graph, "evil.pt")
    assert not (tmp_path / "was_run").exists()


def test_without_the_hubs_package_the_error_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(WeightsFileError, match="pip install huggingface_hub, or give a file: timm:tinynet_e=model"):
        load_weights(one_block(3, 16), "timm:tinynet_e")


# -- timm --------------------------------------------------------------------------------------------------------------


def recorded_networks() -> list[tuple[str, str, dict[str, Any]]]:
    return [row for row in timm_weights().NETWORKS if row[1] in RECORDED]


@pytest.mark.parametrize("row", recorded_networks(), ids=lambda row: str(row[1]))
def test_timms_names_and_ours_are_one_to_one(row: tuple[str, str, dict[str, Any]], tmp_path: Path) -> None:
    name, timm, options = row
    shapes = {key: shape for key, shape in RECORDED[timm].items() if not key.endswith("num_batches_tracked")}
    graph = nas.load_network(name, **options)
    keys = timm_keys(graph, shapes)
    assert sorted(keys.values()) == sorted(shapes)
    for ours, (_, _, shape) in graph_tensors(graph).items():
        assert [n for n in shape if n > 1] == [n for n in shapes[keys[ours]] if n > 1]
    state = {key: torch.full(shape, float(number)) for number, (key, shape) in enumerate(shapes.items())}
    torch.save(state, tmp_path / "weights.pth")
    module = load_weights(graph, f"timm:{timm}={tmp_path / 'weights.pth'}")
    for ours, tensor in named_tensors(module).items():
        assert bool((tensor == float(list(shapes).index(keys[ours]))).all())


def test_networks_that_timm_has_no_names_for_are_refused(tmp_path: Path) -> None:
    torch.save({"a": torch.zeros(1)}, tmp_path / "weights.pth")
    with pytest.raises(WeightsFileError, match="no name of timm's is known for"):
        load_weights(nas.load_network("leyolo_nano"), f"timm:x={tmp_path / 'weights.pth'}")


@pytest.mark.slow
@pytest.mark.skipif(not TIMM_PYTHON, reason="TIMM_PYTHON names no Python that has timm")
@pytest.mark.parametrize("row", timm_weights().NETWORKS, ids=lambda row: str(row[1]))
def test_timms_networks_compute_the_same(row: tuple[str, str, dict[str, Any]]) -> None:
    comparison = timm_weights().compare(*row, TIMM_PYTHON)
    assert comparison.largest_difference < 1e-4 * max(1.0, comparison.largest_output)
