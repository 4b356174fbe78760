"""Which operations let a concatenation's parts pass, against what PyTorch does with permuted and changed parts."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from search_spaces.graph.builder import Builder, Tensor
from search_spaces.graph.operations import ACTIVATIONS, OPS, Shape
from search_spaces.graph.zero_channels import is_channelwise, is_dense
from tests.support.channel_oracle import PROMISED, mixes_parts, passes_parts, response

IMAGE, VOLUME, ROW, VECTOR = (4, 6, 5), (4, 3, 4, 5), (4, 6), (6,)

OPERATIONS: list[tuple[Shape, Callable[[Builder, Tensor], Tensor]]] = [
    *[(IMAGE, lambda b, x, fn=fn: b.act(x, fn)) for fn in ACTIVATIONS],  # type: ignore[misc]
    (VECTOR, lambda b, x: b.act(x, "relu")),
    *[(shape, lambda b, x: b.scale(x, 0.3)) for shape in (IMAGE, VECTOR)],
    *[(shape, lambda b, x: b.conv(x, 8, 3)) for shape in (IMAGE, VOLUME, ROW)],
    (IMAGE, lambda b, x: b.conv(x, 4, 3, 2, bias=True)),
    (IMAGE, lambda b, x: b.conv(x, 4, 1, groups=2)),
    (IMAGE, lambda b, x: b.conv(x, 8, 3, groups=4)),
    *[(shape, lambda b, x: b.depthwise(x, 3)) for shape in (IMAGE, VOLUME, ROW)],
    (IMAGE, lambda b, x: b.depthwise(x, (1, 3), bias=True)),
    *[(shape, lambda b, x: b.linear(x, 5)) for shape in (VECTOR, ROW)],
    *[(shape, lambda b, x: b.norm(x)) for shape in (IMAGE, VECTOR)],
    *[(IMAGE, lambda b, x, axis=axis: b.norm(x, "layer", axis=axis)) for axis in range(3)],  # type: ignore[misc]
    (IMAGE, lambda b, x: b.layer_scale(x, 0.5)),
    *[(IMAGE, lambda b, x, kind=kind: b.pool(x, kind, 3, 2)) for kind in ("max", "avg")],  # type: ignore[misc]
    *[(IMAGE, lambda b, x, kind=kind: b.global_pool(x, kind)) for kind in ("max", "avg")],  # type: ignore[misc]
    (IMAGE, lambda b, x: b.resize(x, (9, 7))),
    (IMAGE, lambda b, x: b.resize(x, (3, 8), "bilinear")),
    *[(IMAGE, lambda b, x, axis=axis: b.softmax(x, axis)) for axis in range(3)],  # type: ignore[misc]
    (IMAGE, lambda b, x: b.reshape(x, (4, 5, 6))),
    (IMAGE, lambda b, x: b.permute(x, (0, 2, 1))),
    (IMAGE, lambda b, x: b.slice(x, 1, 1, 4)),
]


@pytest.mark.parametrize(("shape", "operation"), OPERATIONS)
def test_parts_pass_and_mix_where_pytorch_says_so(shape: Shape, operation: Callable[[Builder, Tensor], Tensor]) -> None:
    b = Builder()
    x = b.input(shape)
    node = operation(b, x).node
    for axis in range(len(shape)):
        assert is_channelwise(node, x.node, axis) == passes_parts(node, x.node, axis)
        assert is_dense(node, x.node, axis) == mixes_parts(node, x.node, axis)


def test_the_table_has_every_operation_on_one_operand() -> None:
    b = Builder()
    nodes = {operation(b, b.input(shape)).node.op for shape, operation in OPERATIONS}
    assert nodes == set(OPS) - {"input", "zero", "add", "mul", "concat", "matmul"}
    assert set(PROMISED) < nodes


@pytest.mark.parametrize("fn", ACTIVATIONS)
def test_activations_that_are_not_zero_at_zero(fn: str) -> None:
    b = Builder()
    x = b.input(IMAGE)
    assert response(b.act(x, fn).node, x.node, 0).keeps_zero == ACTIVATIONS[fn].zero_at_zero
