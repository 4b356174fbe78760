"""Training memory: against what PyTorch keeps for the backward pass, and MobileTL's savings."""

from __future__ import annotations

import pytest
import torch

from hardware_models.training_memory import training_memory, training_memory_kib
from search_spaces.catalog import load_network
from search_spaces.graph.builder import Builder
from search_spaces.graph.graph import Graph
from search_spaces.pytorch.module import to_module


def kept_by_pytorch(graph: Graph, batch: int) -> int:
    """Bytes of the distinct activations that PyTorch saves: what has the batch as its first axis."""
    module = to_module(graph, 0).train()
    saved: dict[int, int] = {}

    def note(tensor: torch.Tensor) -> torch.Tensor:
        if tensor.dim() >= 2 and tensor.shape[0] == batch and not tensor.is_leaf:
            saved[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    image = torch.randn(batch, *graph.input_shape) + 0
    keep = image.requires_grad_().clone()  # not a leaf: the first convolution's input counts
    with torch.autograd.graph.saved_tensors_hooks(note, lambda t: t):
        out = module(keep)
        loss = sum(t.sum() for t in (out.values() if isinstance(out, dict) else [out]))
        del out
    assert isinstance(loss, torch.Tensor)
    return sum(saved.values())


@pytest.mark.parametrize("name", ["mobilenetv2", "mobilenetv3_small", "mobilenetv4_conv_small"])
def test_full_training_keeps_what_pytorch_keeps(name: str) -> None:
    graph = load_network(name, image_size=64)
    counted = training_memory(graph, batch=3).activations
    # PyTorch also keeps the operand of average pooling, of which it needs the shape alone
    assert counted == pytest.approx(kept_by_pytorch(graph, 3), rel=0.03)


def test_a_chain_by_hand() -> None:
    b = Builder()
    x = b.input((3, 8, 8))
    y = b.act(b.norm(b.conv(x, 16, 3)), "relu6")
    graph = b.build(b.conv(y, 4))
    full = training_memory(graph, batch=2)
    # the image, the first convolution's result, the normalisation's, the activation's
    assert full.activations == 2 * 4 * (3 * 64 + 16 * 64 + 16 * 64 + 16 * 64)
    assert full.parameters == full.gradients == full.optimiser == 4 * graph.params
    small = training_memory(graph, batch=2, scheme="mobiletl", optimiser_copies=0)
    # the second convolution still needs the activation's result whole, which holds its mask
    assert small.activations == 2 * 4 * (3 * 64 + 16 * 64)
    assert small.gradients == 4 * (3 * 16 * 9 + 16 + 16 * 4)
    assert small.optimiser == 0
    assert training_memory_kib(graph) == training_memory(graph).kib


def test_mobiletl_saves_about_half_of_an_inverted_residual() -> None:
    # arXiv 2212.03246, abstract: 46 % for MobileNetV2's blocks, 53 % for V3's, parameters included
    for name, low, high in (("mobilenetv2", 0.40, 0.65), ("mobilenetv3_large", 0.40, 0.65)):
        graph = load_network(name)
        full, small = (training_memory(graph, batch=8, scheme=s).activations for s in ("full", "mobiletl"))
        assert low < 1 - small / full < high


def test_less_is_kept_where_less_is_trained() -> None:
    graph = load_network("mobilenetv2", image_size=96)
    shares = [training_memory(graph, trained_share=s).kib for s in (0.1, 0.3, 0.6, 1.0)]
    assert shares == sorted(shares)
    assert shares[0] < 0.6 * shares[-1]


@pytest.mark.parametrize("given", [{"scheme": "half"}, {"batch": 0}, {"trained_share": 0.0}, {"optimiser_copies": -1}])
def test_what_makes_no_sense_is_refused(given: dict[str, object]) -> None:
    graph = load_network("mobilenetv2", image_size=32)
    with pytest.raises(ValueError, match=r"scheme|batch"):
        training_memory(graph, **given)  # type: ignore[arg-type]
