"""The normal form: each rule on its own, and that a graph does not depend on how its code was cut into blocks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from search_spaces.blocks import mobile as blocks
from search_spaces.catalog import load_network
from search_spaces.graph.arguments import same_padding
from search_spaces.graph.block_memo import block
from search_spaces.graph.builder import Builder, Tensor
from search_spaces.graph.graph import Graph
from search_spaces.graph.operations import ACTIVATIONS, GraphError
from search_spaces.graph.serialise import graph_from_json
from search_spaces.published.networks import networks
from tests.search_spaces.graph.test_graph import figures
from tests.support.random_programs import IMAGE, programs, run

Network = Callable[[Builder, Tensor], Tensor]


def built(network: Network, shape: Sequence[int] = (4, 6, 6)) -> Graph:
    b = Builder()
    return b.build(network(b, b.input(shape)))


def ops(network: Network, shape: Sequence[int] = (4, 6, 6)) -> list[str]:
    """The operations behind the input."""
    return [node.op for node in built(network, shape).nodes[1:]]


def same(one: Network, other: Network, shape: Sequence[int] = (4, 6, 6)) -> None:
    assert built(one, shape).nodes == built(other, shape).nodes
    assert built(one, shape) == built(other, shape)


def differ(one: Network, other: Network, shape: Sequence[int] = (4, 6, 6)) -> None:
    assert built(one, shape).digest != built(other, shape).digest


# -- how it is cut does not matter -----------------------------------------------------------------------------------


@settings(max_examples=700)
@given(programs())
def test_a_graph_does_not_depend_on_how_it_was_cut_into_blocks(program: Any) -> None:
    plain, cut = run(program), run(program, cut=True)
    assert cut.nodes == plain.nodes
    assert cut.outputs == plain.outputs
    assert cut == plain
    assert cut.digest == plain.digest
    assert figures(cut) == figures(plain)


# Few operations, so that the rules for sums, zeros and folds meet in every program.
_DENSE = ["conv1", "act", "act", "add", "add", "reshape", "reshape", "flatten", "concat", "zero", "mul"]


@settings(max_examples=400)
@given(programs(kinds=_DENSE))
def test_the_same_where_rules_meet_often(program: Any) -> None:
    plain, cut = run(program), run(program, cut=True)
    assert cut.nodes == plain.nodes
    assert cut == plain
    assert figures(cut) == figures(plain)
    assert graph_from_json(plain.to_json()).nodes == plain.nodes


@pytest.mark.slow
@pytest.mark.parametrize("kinds", [None, _DENSE, ["conv1", "concat", "zero", "conv"], ["conv1", "add", "add3", "act"]])
def test_the_same_for_many_programs(kinds: list[str] | None) -> None:
    @settings(max_examples=5000, derandomize=False)
    @given(programs(kinds=kinds) if kinds else programs())
    def check(program: Any) -> None:
        plain, cut = run(program), run(program, cut=True)
        assert cut.nodes == plain.nodes
        assert figures(cut) == figures(plain)
        assert graph_from_json(plain.to_json()).nodes == plain.nodes

    check()


def cut_and_whole(*bodies: Callable[..., Any]) -> list[list[Callable[..., Any]]]:
    return [[block(body) for body in bodies], list(bodies)]


def test_a_dead_branch_of_a_block_that_other_code_makes_again_keeps_its_place() -> None:
    def two(b: Builder, x: Tensor) -> tuple[Tensor, Tensor]:
        y = b.conv(x, 4)
        b.act(y, "relu")
        return y, b.conv(y, 4)

    graphs = []
    for (body,) in cut_and_whole(two):
        b = Builder()
        y, z = body(b, b.input(IMAGE))
        graphs.append(b.build({"z": z, "act": b.act(y, "relu")}))
    assert graphs[0].nodes == graphs[1].nodes


def test_an_operation_on_a_blocks_output_is_shared_with_one_inside_it() -> None:
    def two(b: Builder, x: Tensor) -> tuple[Tensor, Tensor]:
        y = b.conv(x, 4)
        return y, b.conv(b.act(y, "tanh"), 4)

    for (body,) in cut_and_whole(two):
        b = Builder()
        y, z = body(b, b.input(IMAGE))
        graph = b.build(b.add(z, b.act(y, "tanh")))
        assert [node.op for node in graph.nodes] == ["input", "conv", "act", "conv", "add"]


def test_operands_of_a_block_may_come_in_any_order_and_twice() -> None:
    def join(b: Builder, xs: tuple[Tensor, ...]) -> Tensor:
        y = b.conv(xs[0], 4)
        return b.add(y, *xs, b.conv(xs[1], 4), b.conv(b.conv(xs[0], 4), 4))

    for reverse in (False, True):
        for twice in (False, True):
            graphs = []
            for (body,) in cut_and_whole(join):
                b = Builder()
                x, y = b.input(IMAGE), b.conv(b.input(IMAGE), 4)
                operands = (x, x) if twice else (x, y)
                graphs.append(b.build(body(b, operands[::-1] if reverse else operands)))
            assert graphs[0].nodes == graphs[1].nodes


def test_blocks_take_what_functions_take() -> None:
    class Pyramid(NamedTuple):
        fine: Tensor
        coarse: Tensor

    def body(b: Builder, xs: Any, skip: Any = None, widths: Any = (4,)) -> Any:
        if isinstance(xs, Pyramid):
            return [b.conv(xs.fine, widths[0]), b.conv(xs.coarse, widths[0])]
        y = b.conv(xs if isinstance(xs, Tensor) else xs[0], widths[0])
        return y if skip is None else b.add(y, skip)

    for _ in range(2):
        for arguments in (
            lambda x: (x,),
            lambda x: ([x],),
            lambda x: (x, x),
            lambda x: (x, None, [4]),
            lambda x: (Pyramid(x, x),),
        ):
            graphs = []
            for (function,) in cut_and_whole(body):
                b = Builder()
                tensors = function(b, *arguments(b.input(IMAGE)))
                graphs.append(
                    b.build({"y": tensors} if isinstance(tensors, Tensor) else dict(zip("yz", tensors, strict=True)))
                )
            assert graphs[0].nodes == graphs[1].nodes


def test_blocks_really_are_repeated() -> None:
    calls = []

    @block
    def counted(b: Builder, x: Tensor, width: int) -> Tensor:
        calls.append(width)
        return blocks.inverted_bottleneck(b, x, width, expanded=8, residual=True)

    for _ in range(3):
        b = Builder()
        x = b.input(IMAGE)
        for _ in range(4):
            x = counted(b, x, 4)
        graph = b.build(x)
    assert calls == [4]
    assert len(graph.pieces) == 5
    assert len(graph) == 1 + 4 * 9


@pytest.mark.parametrize("name", [name for name in networks() if name.startswith("mobiledet")])
def test_published_networks_are_the_same_without_blocks(name: str) -> None:
    graph = load_network(name)
    b = Builder()
    tensors: list[Tensor] = []
    for node in graph.nodes:
        tensors.append(b.construct(node.op, node.attrs, [tensors[i] for i in node.inputs]))
    plain = b.build({name: tensors[i] for name, i in graph.outputs})
    assert len(plain.pieces) == len(plain) > 2 * len(graph.pieces)
    assert plain == graph
    assert plain.digest == graph.digest
    assert figures(plain) == figures(graph)


# -- the rules -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "network",
    [
        lambda b, x: b.act(x, "identity"),
        lambda b, x: b.add(x),
        lambda b, x: b.add(x, b.zero(x.shape)),
        lambda b, x: b.concat([x]),
        lambda b, x: b.pool(x, "avg", 1),
        lambda b, x: b.pool(x, "max", (1, 1), (1, 1), padding=0),
        lambda b, x: b.resize(x, (6, 6)),
        lambda b, x: b.resize(x, (6, 6), "bilinear"),
        lambda b, x: b.reshape(x, (4, 6, 6)),
        lambda b, x: b.reshape(b.reshape(x, (144,)), (4, 6, 6)),
        lambda b, x: b.permute(x, (0, 1, 2)),
        lambda b, x: b.slice(x, 0, 0, 4),
        lambda b, x: b.slice(x, -1, 0, 6),
        lambda b, x: b.scale(x, 1),
        lambda b, x: b.add(x, b.scale(b.conv(x, 4), 0)),
        lambda b, x: b.add(x, b.norm(b.conv(b.zero(x.shape), 4, bias=True))),
    ],
)
def test_identities_vanish(network: Network) -> None:
    assert ops(network) == []


def test_global_pooling_of_one_place_is_the_identity() -> None:
    assert ops(lambda b, x: b.global_pool(x), (4, 1, 1)) == []
    assert ops(lambda b, x: b.global_pool(x, "max"), (4,)) == []
    assert ops(lambda b, x: b.global_pool(x)) == ["global_pool"]


@pytest.mark.parametrize(
    "vanishing",
    [
        lambda b, z: b.conv(z, 4, 3, bias=True),
        lambda b, z: b.linear(z, 6),
        lambda b, z: b.norm(z),
        lambda b, z: b.norm(z, "layer", axis=-1),
        *(lambda b, z, fn=fn: b.act(z, fn) for fn in (*ACTIVATIONS, "identity") if fn not in ("sigmoid", "hsigmoid")),
        lambda b, z: b.add(z, z),
        lambda b, z: b.mul(b.input(IMAGE), z),
        lambda b, z: b.mul(z, b.input(IMAGE)),
        lambda b, z: b.resize(b.resize(z, (3, 3)), (6, 6)),
        lambda b, z: b.matmul(z, b.input(IMAGE)),
        lambda b, z: b.permute(z, (0, 2, 1)),
        lambda b, z: b.scale(z, 3.0),
        lambda b, z: b.pool(z, "avg", 3),
        lambda b, z: b.slice(b.concat([z, z]), 0, 0, 4),
        lambda b, z: b.reshape(b.reshape(z, (144,)), IMAGE),
        lambda b, z: b.resize(b.global_pool(z), (6, 6)),
    ],
)
def test_whatever_is_computed_from_zero_is_zero(vanishing: Callable[[Builder, Tensor], Tensor]) -> None:
    b = Builder()
    x = b.input(IMAGE)
    zero = vanishing(b, b.zero(IMAGE))
    assert zero.is_zero
    assert [node.op for node in b.build(b.add(x, zero)).nodes if node.op != "input"] == []


def test_what_is_not_zero_on_zero_stays() -> None:
    assert ops(lambda b, x: b.mul(x, b.act(b.zero(x.shape), "sigmoid"))) == ["zero", "act", "mul"]
    assert ops(lambda b, x: b.mul(x, b.softmax(b.zero(x.shape)))) == ["zero", "softmax", "mul"]


def test_an_output_may_be_zero_or_an_input() -> None:
    b = Builder()
    x = b.input(IMAGE)
    graph = b.build({"zero": b.scale(b.conv(x, 4), 0), "same": x})
    assert [node.op for node in graph.nodes] == ["input", "zero"]


def test_dead_branches_are_swept_and_inputs_stay() -> None:
    b = Builder()
    x, _ = b.input(IMAGE), b.input(IMAGE)
    y = b.conv(x, 4)
    b.conv(b.act(b.conv(y, 8), "relu"), 2)
    assert [node.op for node in b.build(y).nodes] == ["input", "input", "conv"]


def test_nested_sums_are_one_sum() -> None:
    def parts(b: Builder, x: Tensor) -> list[Tensor]:
        return [b.conv(x, 4, k) for k in (1, 3, 5, 7)]

    def nested(b: Builder, x: Tensor) -> Tensor:
        p, q, r, s = parts(b, x)
        return b.add(b.add(b.add(p, q), r), s)

    def pairs(b: Builder, x: Tensor) -> Tensor:
        p, q, r, s = parts(b, x)
        return b.add(b.add(s, q), b.add(r, p))

    def flat(b: Builder, x: Tensor) -> Tensor:
        return b.add(*parts(b, x)[::-1])

    same(nested, flat)
    same(pairs, flat)
    assert ops(flat) == ["conv"] * 4 + ["add"]


def test_a_sum_that_something_else_reads_stays() -> None:
    def network(b: Builder, x: Tensor) -> Tensor:
        inner = b.add(x, b.conv(x, 4))
        return b.add(inner, b.conv(inner, 4))

    assert ops(network) == ["conv", "add", "conv", "add"]
    b = Builder()
    x = b.input(IMAGE)
    inner = b.add(x, b.conv(x, 4))
    graph = b.build({"inner": inner, "outer": b.add(inner, x)})
    assert [node.op for node in graph.nodes] == ["input", "conv", "add", "add"]


def test_a_sum_read_twice_by_one_sum_stays() -> None:
    def network(b: Builder, x: Tensor) -> Tensor:
        inner = b.add(x, b.conv(x, 4))
        return b.add(inner, inner)

    assert ops(network) == ["conv", "add", "add"]


def test_multiplicity_in_a_sum_is_kept() -> None:
    assert built(lambda b, x: b.add(x, x, x)).nodes[1].inputs == (0, 0, 0)
    differ(lambda b, x: b.add(x, x), lambda b, x: b.add(x, x, x))


def test_order_does_not_matter_to_sums_and_products_and_does_to_the_rest() -> None:
    def pair(b: Builder, x: Tensor, swap: bool) -> tuple[Tensor, Tensor]:
        y, z = b.conv(x, 4, 3), b.conv(x, 4, 1)
        return (z, y) if swap else (y, z)

    same(lambda b, x: b.add(*pair(b, x, False)), lambda b, x: b.add(*pair(b, x, True)))
    same(lambda b, x: b.mul(*pair(b, x, False)), lambda b, x: b.mul(*pair(b, x, True)))
    differ(lambda b, x: b.matmul(*pair(b, x, False)), lambda b, x: b.matmul(*pair(b, x, True)))
    differ(lambda b, x: b.concat(pair(b, x, False)), lambda b, x: b.concat(pair(b, x, True)))


def test_nested_concatenations_along_one_axis_are_one() -> None:
    same(lambda b, x: b.concat([b.concat([x, x]), b.concat([x])]), lambda b, x: b.concat([x, x, x]))
    same(lambda b, x: b.concat([x, b.concat([x, x], 2)], -1), lambda b, x: b.concat([x, x, x], axis=2))
    assert ops(lambda b, x: b.concat([b.concat([x, x], 1), b.concat([x, x], 1)])) == ["concat", "concat"]


def test_zero_channels_do_not_reach_a_dense_convolution() -> None:
    def padded(b: Builder, x: Tensor) -> Tensor:
        y = b.concat([b.concat([x, b.zero(x.shape)]), b.conv(x, 2), b.zero(x.shape)])
        return b.conv(y, 4, 3)

    same(padded, lambda b, x: b.conv(b.concat([x, b.conv(x, 2)]), 4, 3))
    same(lambda b, x: b.conv(b.concat([b.zero(x.shape), x]), 4), lambda b, x: b.conv(x, 4))


def test_zero_channels_stay_where_their_place_matters() -> None:
    grouped = ops(lambda b, x: b.conv(b.concat([x, b.zero(x.shape)]), 8, groups=2))
    assert grouped == ["zero", "concat", "conv"]
    assert ops(lambda b, x: b.concat([x, b.zero(x.shape)])) == ["zero", "concat"]
    assert ops(lambda b, x: b.conv(b.concat([x, b.zero(x.shape)], axis=1), 8)) == ["zero", "concat", "conv"]


def test_equal_operations_without_parameters_are_one() -> None:
    assert ops(lambda b, x: b.add(b.act(x, "tanh"), b.act(x, "tanh"))) == ["act", "add"]
    assert ops(lambda b, x: b.mul(b.pool(x, "max", 3), b.pool(x, "max", 3, 1, padding=1))) == ["pool", "mul"]


def test_equal_operations_with_parameters_are_two() -> None:
    assert ops(lambda b, x: b.add(b.conv(x, 4), b.conv(x, 4))) == ["conv", "conv", "add"]
    assert ops(lambda b, x: b.add(b.norm(x), b.norm(x))) == ["norm", "norm", "add"]
    assert ops(lambda b, x: b.add(b.linear(x, 6), b.linear(x, 6))) == ["linear", "linear", "add"]


@pytest.mark.parametrize(
    ("inner", "outer", "expected"),
    [
        ("relu", "relu", ["relu"]),
        ("relu6", "relu6", ["relu6"]),
        ("relu6", "relu", ["relu6"]),
        ("relu", "relu6", ["relu6"]),
        ("relu", "tanh", ["relu", "tanh"]),
        ("tanh", "tanh", ["tanh", "tanh"]),
        ("sigmoid", "relu", ["sigmoid", "relu"]),
    ],
)
def test_activations_fold(inner: str, outer: str, expected: list[str]) -> None:
    def network(b: Builder, x: Tensor) -> Tensor:
        return b.act(b.act(x, inner), outer)

    assert [node.attrs[0] for node in built(network).nodes[1:]] == expected


def test_reshapes_of_reshapes_are_one() -> None:
    same(lambda b, x: b.reshape(b.reshape(b.reshape(x, (144,)), (12, 12)), (2, 72)), lambda b, x: b.reshape(x, (2, 72)))


def test_numbers_that_change_nothing_are_not_told_apart() -> None:
    same(lambda b, x: b.conv(x, 4, 1, dilation=3), lambda b, x: b.conv(x, 4))
    same(lambda b, x: b.conv(x, 4, (1, 3), dilation=(5, 2)), lambda b, x: b.conv(x, 4, (1, 3), dilation=(1, 2)))
    same(lambda b, x: b.conv(x, 4, 3), lambda b, x: b.conv(x, 4, (3, 3), padding=[(1, 1), (1, 1)]))
    same(lambda b, x: b.conv(x, 4, 3), lambda b, x: b.conv(x, 4, [3, 3], padding=1))
    same(lambda b, x: b.pool(x, "max", 3, count_padding=True), lambda b, x: b.pool(x, "max", 3))
    same(lambda b, x: b.pool(x, "avg", 2, 2, count_padding=True), lambda b, x: b.pool(x, "avg", 2, 2))
    same(lambda b, x: b.norm(x, "layer", momentum=0.3), lambda b, x: b.norm(x, "layer"))
    same(lambda b, x: b.norm(x, "layer", axis=-3), lambda b, x: b.norm(x, "layer"))
    same(lambda b, x: b.depthwise(x, 5), lambda b, x: b.conv(x, 4, 5, groups=4))
    differ(lambda b, x: b.conv(x, 4, 3, dilation=2), lambda b, x: b.conv(x, 4, 3))
    differ(lambda b, x: b.pool(x, "avg", 3, count_padding=True), lambda b, x: b.pool(x, "avg", 3))
    differ(lambda b, x: b.norm(x, momentum=0.3), lambda b, x: b.norm(x))


def test_convolutions_in_a_row_are_not_merged() -> None:
    differ(lambda b, x: b.conv(b.conv(x, 4), 4), lambda b, x: b.conv(x, 4))
    differ(lambda b, x: b.norm(b.norm(x)), lambda b, x: b.norm(x))


@settings(max_examples=200)
@given(extent=st.integers(1, 40), kernel=st.integers(1, 9), stride=st.integers(1, 4), dilation=st.integers(1, 3))
def test_same_padding_is_tensorflows(extent: int, kernel: int, stride: int, dilation: int) -> None:
    before, after = same_padding(extent, kernel, stride, dilation)
    window = dilation * (kernel - 1) + 1
    outputs = (extent + before + after - window) // stride + 1
    assert outputs == -(-extent // stride)
    assert 0 <= after - before <= 1
    if before + after:  # not an element more than that takes
        assert (extent + before + after - 1 - window) // stride + 1 < outputs


# -- what cannot be --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("network", "message"),
    [
        (lambda b, x: b.conv(x, 0), "out_channels must be a whole number from 1"),
        (lambda b, x: b.conv(x, -8), "out_channels must be a whole number from 1"),
        (lambda b, x: b.conv(x, 8.0), "out_channels must be a whole number, not 8.0"),
        (lambda b, x: b.conv(x, "8"), "out_channels must be a whole number, not '8'"),
        (lambda b, x: b.conv(x, 8, 3.0), "kernel must be a whole number, not 3.0"),
        (lambda b, x: b.conv(x, 8, (3.0, 3)), "kernel must be a whole number, not 3.0"),
        (lambda b, x: b.conv(x, 8, (3, 3, 3)), "kernel has 3 values for 2 spatial axes"),
        (lambda b, x: b.conv(x, 8, 0), "kernel must be at least 1"),
        (lambda b, x: b.conv(x, 8, 3, 0), "stride must be at least 1"),
        (lambda b, x: b.conv(x, 8, 3, 7), "stride 7 is beyond the input, which is 6x6 here"),
        (lambda b, x: b.conv(x, 8, 3, dilation=-1), "dilation must be at least 1"),
        (lambda b, x: b.conv(x, 8, 9, padding="valid"), "kernel 9 .* does not fit an input of 6"),
        (lambda b, x: b.conv(x, 8, padding="full"), "padding must be 'same', 'valid'"),
        (lambda b, x: b.conv(x, 8, padding=-1), "padding must be at least 0"),
        (lambda b, x: b.conv(x, 8, padding=0.5), "padding must be a whole number"),
        (lambda b, x: b.conv(x, 8, padding=[(1, 1)]), r"padding must be one \(before, after\) pair for each of 2"),
        (lambda b, x: b.conv(x, 8, padding=[(1, 1, 1), (1, 1)]), "padding must be one"),
        (lambda b, x: b.conv(x, 8, groups=3), "3 groups divide neither 4"),
        (lambda b, x: b.conv(x, 8, groups=0), "groups must be a whole number from 1"),
        (lambda b, x: b.conv(x, 8, bias=1), "bias must be true or false, not 1"),
        (lambda b, x: b.conv(b.reshape(x, (144,)), 8), "one to three spatial axes"),
        (lambda b, x: b.conv(b.zero(x.shape), 0), "out_channels must be a whole number from 1"),
        (lambda b, x: b.linear(x, 0), "out_features must be a whole number from 1"),
        (lambda b, x: b.linear(x, 1.5), "out_features must be a whole number, not 1.5"),
        (lambda b, x: b.norm(x, "group"), "kind must be 'batch' or 'layer'"),
        (lambda b, x: b.norm(x, eps=-1), "eps must be a number of at least 0"),
        (lambda b, x: b.norm(x, eps="x"), "eps must be a number"),
        (lambda b, x: b.norm(x, "layer", axis=3), "axis 3 does not exist in a tensor of 3 axes"),
        (lambda b, x: b.norm(x, "layer", axis=-4), "axis -1 does not exist"),
        (lambda b, x: b.norm(x, axis=1), "over the channels, axis 0"),
        (lambda b, x: b.norm(b.zero(x.shape), "group"), "kind must be 'batch' or 'layer'"),
        (lambda b, x: b.act(x, "mish"), "no activation 'mish'; known: relu, relu6"),
        (lambda b, x: b.act(b.zero(x.shape), "mish"), "no activation 'mish'"),
        (lambda b, x: b.add(), "at least one operand"),
        (lambda b, x: b.add(x, b.conv(x, 8)), r"operands differ in shape: \(4, 6, 6\), \(8, 6, 6\)"),
        (lambda b, x: b.mul(x, b.conv(x, 8)), "do not broadcast"),
        (lambda b, x: b.concat([]), "at least one operand"),
        (lambda b, x: b.concat([x, b.pool(x, "max", 2, 2)]), "operands differ off axis 0"),
        (lambda b, x: b.concat([x, x], axis=3), "axis 3 does not exist"),
        (lambda b, x: b.pool(x, "min", 2), "kind must be 'max' or 'avg'"),
        (lambda b, x: b.pool(x, "avg", 1, padding=1), "nothing but padding"),
        (lambda b, x: b.pool(x, "max", 3, padding=3), "nothing but padding"),
        (lambda b, x: b.global_pool(x, "sum"), "kind must be 'max' or 'avg'"),
        (lambda b, x: b.resize(x, (0, 3)), "size must be at least 1"),
        (lambda b, x: b.resize(x, (3,)), "size must hold 2 whole"),
        (lambda b, x: b.resize(x, (3, 3), "cubic"), "mode must be 'nearest' or 'bilinear'"),
        (lambda b, x: b.matmul(x, b.conv(x, 8)), "is no matrix product"),
        (lambda b, x: b.softmax(x, 3), "axis 3 does not exist"),
        (lambda b, x: b.reshape(x, (-1,)), "shape must be at least 1"),
        (lambda b, x: b.reshape(x, 144), "shape must be a sequence of whole numbers"),
        (lambda b, x: b.permute(x, (0, 1)), "axes must hold 3 whole"),
        (lambda b, x: b.permute(x, (0, 1, 1)), "are no permutation"),
        (lambda b, x: b.slice(x, 0, 2, 2), "2:2 is no range of axis 0"),
        (lambda b, x: b.slice(x, 0, 0, 5), "0:5 is no range of axis 0"),
        (lambda b, x: b.scale(x, float("inf")), "factor must be a finite number"),
        (lambda b, x: b.scale(x, 10**400), "factor must be a number"),
        (lambda b, x: b.scale(x, float("nan")), "factor must be a finite number"),
        (lambda b, x: b.scale(x, "2"), "factor must be a number"),
        (lambda b, x: b.zero((3, 0)), "shape must be at least 1"),
        (lambda b, x: b.input((3.5,)), "shape must be a whole number, not 3.5"),
        (lambda b, x: b.input((2**31,)), "up to 2147483647"),
        (lambda b, x: b.input((2**30,) * 3), "beyond any memory"),
    ],
)
def test_what_cannot_be_is_a_graph_error_that_says_why(network: Network, message: str) -> None:
    for _ in range(2):  # the second time with everything else remembered
        b = Builder()
        x = b.input(IMAGE)
        with pytest.raises(GraphError, match=message):
            network(b, x)
        b.conv(x, 8, 3)
        b.linear(x, 1)


def test_outputs_must_be_named_tensors_of_the_builder() -> None:
    b, other = Builder(), Builder()
    x = b.input(IMAGE)
    with pytest.raises(GraphError, match="at least one input and one output"):
        b.build({})
    with pytest.raises(GraphError, match="at least one input and one output"):
        other.build(other.zero(IMAGE))
    with pytest.raises(GraphError, match="'y' is not a tensor of this builder"):
        b.build({"y": other.input(IMAGE)})
    with pytest.raises(GraphError, match="'y' is not a tensor of this builder"):
        b.build({"y": 0})  # type: ignore[dict-item]
    with pytest.raises(GraphError, match="needs a name"):
        b.build({0: x})  # type: ignore[dict-item]


def test_tensors_do_not_travel_between_builders() -> None:
    x = Builder().input(IMAGE)
    with pytest.raises(GraphError, match="another builder"):
        Builder().conv(x, 4)
    with pytest.raises(GraphError, match="another builder"):
        blocks.conv_norm_act(Builder(), x, 4)


def test_numbers_of_numpy_are_numbers() -> None:
    numpy = pytest.importorskip("numpy")
    b = Builder()
    x = b.input(tuple(numpy.array([4, 6, 6])))
    graph = b.build(b.conv(x, numpy.int64(8), numpy.int32(3), stride=numpy.int8(2)))
    assert graph_from_json(graph.to_json()) == graph
    assert all(type(n) is int for n in graph.nodes[1].shape)


def test_a_builder_goes_on_after_it_has_built() -> None:
    b = Builder()
    x = b.conv(b.input(IMAGE), 4)
    first = b.build(x)
    second = b.build(b.conv(x, 4))
    assert len(first) == 2
    assert len(second) == 3


def test_many_primitives_are_forgotten_without_losing_what_is_shared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("search_spaces.graph.memo.MEMO_LIMIT", 1)
    assert ops(lambda b, x: b.add(b.act(x, "tanh"), b.act(b.add(x), "tanh"), b.norm(b.act(x, "tanh")))) == [
        "act",
        "norm",
        "add",
    ]
