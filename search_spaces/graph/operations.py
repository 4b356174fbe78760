"""The vocabulary: one row per primitive operation, with all that anybody asks of it.

Shapes carry no batch axis and put channels first: an image is ``(channels, height, width)``, a volume
``(channels, depth, height, width)``, a vector ``(features,)``.

A new operation is one row of ``OPS`` and one row in the table of each target that shall run it:
``search_spaces.pytorch.operations.PYTORCH_OPERATIONS``, ``search_spaces.export.onnx.nodes.NODE_WRITERS`` and
``search_spaces.export.tflite.lowering.LOWERING_RULES``. ``Builder.operation`` makes it; a constructor of its own in
``builder`` is for rules of the normal form that a row does not have. Its traits are facts, and the contract tests try
them on its ``example``. A new activation is one row of ``ACTIVATIONS`` and, likewise, one a target.

Four operations are the language of the normal form itself, and known there by name: ``input``, ``zero``, ``add`` and
``concat``.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from math import prod
from typing import NamedTuple

from search_spaces.graph import shape_rules as rules
from search_spaces.graph.shape_rules import MAX_INT_ATTRIBUTE as MAX_INT_ATTRIBUTE
from search_spaces.graph.shape_rules import MAX_TENSOR_ELEMENTS as MAX_TENSOR_ELEMENTS
from search_spaces.graph.shape_rules import Attrs as Attrs
from search_spaces.graph.shape_rules import GraphError as GraphError
from search_spaces.graph.shape_rules import Shape as Shape

Shapes = tuple[Shape, ...]
Trait = Callable[[Attrs], bool]
"""Something that holds of an operation or not, which its attributes may decide."""


def always(attrs: Attrs) -> bool:
    """The trait of operations that have it whatever their attributes are."""
    return True


def never(attrs: Attrs) -> bool:
    """The trait of operations that do not have it, or of which nobody says so."""
    return False


HE, GLOROT = "he", "glorot"
"""Normal draws of variance 2 / fan-in (arXiv 1502.01852, eq. 10), and of 2 / (fan-in + fan-out)."""


class MatrixProduct(NamedTuple):
    """An operation as ``groups`` products of ``positions x reduction`` with ``reduction x columns`` matrices.

    ``places``: how many positions each result sees, as a kernel has. ``axis``: of the first operand, what is summed
    over; of the result, what the columns are.
    """

    groups: int
    positions: int
    reduction: int
    columns: int
    places: int
    axis: int


class Example(NamedTuple):
    """A small instance: shapes of operands that are drawn at random, and attributes."""

    operands: Shapes
    attrs: Attrs = ()


@dataclass(frozen=True, slots=True)
class Activation:
    """A function of each element, as ``act`` has it by name. The traits are facts about the function.

    zero_at_zero: f(0) = 0. homogeneous: f(cx) = c f(x) for every c > 0. nonnegative: no value is below 0.
    slope_from_result: its derivative can be computed from its result, so that training need not keep the operand.
    behind: by activation right before this one, the single one that both are.
    """

    zero_at_zero: bool = True
    homogeneous: bool = False
    nonnegative: bool = False
    slope_from_result: bool = False
    behind: Mapping[str, str] = field(default_factory=dict)


ACTIVATIONS: dict[str, Activation] = {
    "relu": Activation(
        homogeneous=True, nonnegative=True, slope_from_result=True, behind={"relu": "relu", "relu6": "relu6"}
    ),
    "relu6": Activation(nonnegative=True, behind={"relu6": "relu6", "relu": "relu6"}),
    "hswish": Activation(),
    "hsigmoid": Activation(zero_at_zero=False, nonnegative=True),
    "sigmoid": Activation(zero_at_zero=False, nonnegative=True, slope_from_result=True),
    "silu": Activation(),
    "gelu": Activation(),
    "tanh": Activation(slope_from_result=True),
    "leaky_relu": Activation(homogeneous=True),
}


def folded_activation(outer: str, inner: str) -> str | None:
    """The activation that ``outer`` right behind ``inner`` is, where that is a single one."""
    row = ACTIVATIONS.get(outer)
    return None if row is None else row.behind.get(inner)


def may_be_folded(inner: str) -> bool:
    """Whether an activation right behind this one may be another one in place of both."""
    return any(row.behind.get(inner, inner) != inner for row in ACTIVATIONS.values())


@dataclass(frozen=True, slots=True)
class Operation:
    """One primitive operation: a row of the vocabulary.

    What it is:

    - ``attrs`` names the values of ``Node.attrs``, in order.
    - ``shape(operand shapes, attrs)`` is the shape of the result; raises ``GraphError`` for what cannot be.
    - ``example``: a small instance, which contract tests try the row and every target with.
    - ``source``: it has no operands; its value is there from the start.
    - ``activation``: a nonlinear function of each element, without weights.
    - ``normalises``: its result has a mean and a spread of its own, whatever the operand's.

    Its arrays, in ``Weights`` and in modules:

    - ``parameters(operand shapes, attrs)`` lists ``(name, shape)`` of what is trained, ``buffers`` of running
      statistics. An operation with parameters is never shared between equal writings.
    - ``initial(name, attrs)``: what an array holds at first, a number, ``HE`` or ``GLOROT``.
    - ``product(operand shapes, attrs, shape)``: it as products of matrices, where it is that; of its multiply-adds
      nothing else counts.

    What may be done with it (algebra, which the normal form and the keys of networks rest on):

    - ``elementwise``: each element of the result comes from that element of each operand, and nothing else; operands of
      extent 1 broadcast. ``commutative``: the order of its operands does not matter.
    - ``channelwise(operand shape, attrs, axis)``: each slice of the result along the axis comes from that slice of the
      one operand and parameters of its own. Elementwise operations are so on every axis.
    - ``zero_at_zero``: of zeros alone it makes zeros, but for a shift that it has; ``shifts``: it may add a trained
      constant, so that a zero does not stay one in training.
    - ``degree(attrs)``: d, where f(cx) = c^d f(x) for every c > 0, up to a normalisation's eps; ``None``: no key may
      rest on it.
    - ``affine``: with running statistics it is a factor and a shift of each channel, no more. With parameters, it folds
      into the weights of what stands before it.
    - ``pooling(attrs)``: ``"avg"`` or ``"max"`` where it is that over positions; ``keeps_constants``: a map that is the
      same everywhere stays as it is where its shape does.
    - ``replaceable``: a later operation of its kind may stand for both; constructors of their own do that.
    - ``with_channels(attrs, channels)``: the attributes for another number of channels, where ``channelwise``
      attributes hold that number.

    What running and training it takes:

    - ``in_place``: elementwise on one operand, so that a runtime writes the result over an operand that nobody else
      needs. ``view``: it moves no bytes.
    - ``absorbs_affine``: its weights take in an affine operation behind it; ``absorbs_activation``: runtimes compute an
      activation behind it along with it.
    - ``keeps(attrs)``: what its backward pass needs, ``"operands"``, its ``"result"`` or ``""``.
    - ``varieties``: what device files tell apart; ``variety(attrs, shape)`` is one of them, empty where plain.

    And what follows from these: ``fuses``, whether compilers may make it part of the operation before it, as an
    activation or what may fold; ``weighs_inputs``, whether it is a product with weights, as a convolution is.
    """

    attrs: tuple[str, ...]
    shape: Callable[[Shapes, Attrs], Shape]
    example: Example | None = None
    source: bool = False
    activation: bool = False
    normalises: bool = False
    # -- arrays
    parameters: Callable[[Shapes, Attrs], list[tuple[str, Shape]]] | None = None
    buffers: Callable[[Shapes, Attrs], list[tuple[str, Shape]]] | None = None
    initial: Callable[[str, Attrs], float | str] = lambda name, attrs: 0.0
    product: Callable[[Shapes, Attrs, Shape], MatrixProduct] | None = None
    # -- algebra
    elementwise: bool = False
    commutative: bool = False
    channelwise: Callable[[Shape, Attrs, int], bool] = lambda shape, attrs, axis: False
    zero_at_zero: Trait = never
    shifts: Trait = never
    degree: Callable[[Attrs], int | None] = lambda attrs: None
    affine: Trait = never
    pooling: Callable[[Attrs], str] = lambda attrs: ""
    keeps_constants: Trait = never
    replaceable: Trait = never
    with_channels: Callable[[Attrs, int], Attrs] = lambda attrs, channels: attrs
    # -- execution
    in_place: bool = False
    view: bool = False
    absorbs_affine: bool = False
    absorbs_activation: bool = False
    keeps: Callable[[Attrs], str] = lambda attrs: "operands"
    varieties: Collection[str] = ("",)
    variety: Callable[[Attrs, Shape], str] | None = None
    # -- what follows from these
    fuses: bool = field(init=False)
    weighs_inputs: bool = field(init=False)

    def __post_init__(self) -> None:
        trained = self.parameters is not None
        object.__setattr__(self, "fuses", self.activation or (trained and self.affine is not never))
        object.__setattr__(self, "weighs_inputs", trained and self.product is not None)

    def folds_into_weights(self, attrs: Attrs) -> bool:
        """Whether it is a trained factor and shift of each channel."""
        return self.parameters is not None and self.affine(attrs)

    def macs(self, inputs: Shapes, attrs: Attrs, output: Shape) -> int:
        """Multiply-adds of convolutions, linear layers and matrix products; everything else counts zero."""
        if self.product is None:
            return 0
        groups, positions, reduction, columns, _, _ = self.product(inputs, attrs, output)
        return groups * positions * reduction * columns


# -- the rows' own rules -----------------------------------------------------------------------------------------------


def _conv_product(inputs: Shapes, attrs: Attrs, output: Shape) -> MatrixProduct:
    places, groups = prod(attrs[1]), int(attrs[5])
    return MatrixProduct(groups, prod(output[1:]), inputs[0][0] // groups * places, output[0] // groups, places, 0)


def _linear_product(inputs: Shapes, attrs: Attrs, output: Shape) -> MatrixProduct:
    return MatrixProduct(1, prod(output[:-1]), inputs[0][-1], output[-1], 1, len(output) - 1)


def _matmul_product(inputs: Shapes, attrs: Attrs, output: Shape) -> MatrixProduct:
    return MatrixProduct(prod(output[:-2]), output[-2], inputs[0][-1], output[-1], 1, len(output) - 1)


def _conv_is_depthwise(shape: Shape, attrs: Attrs, axis: int) -> bool:
    return axis == 0 and bool(attrs[5] == attrs[0] == shape[0])


def _first_axis(shape: Shape, attrs: Attrs, axis: int) -> bool:
    return axis == 0


def _is_batch(attrs: Attrs) -> bool:
    kind: str = attrs[0]
    return kind == "batch"


def _first_attribute(attrs: Attrs, shape: Shape | None = None) -> str:
    text: str = attrs[0]
    return text


def _act_shape(inputs: Shapes, attrs: Attrs) -> Shape:
    rules.check_arity("act", inputs, 1)
    if not isinstance(attrs[0], str) or attrs[0] not in ACTIVATIONS:
        raise GraphError(f"act: no activation {attrs[0]!r}; known: {', '.join(ACTIVATIONS)}")
    return inputs[0]


def _degree_one(attrs: Attrs) -> int:
    return 1


def _keeps_nothing(attrs: Attrs) -> str:
    return ""


def _keeps_result(attrs: Attrs) -> str:
    return "result"


_IMAGE = (4, 6, 6)

OPS: dict[str, Operation] = {
    "input": Operation(("shape",), rules.shape_attribute("input"), Example((), (_IMAGE,)), source=True),
    "zero": Operation(
        ("shape",), rules.shape_attribute("zero"), Example((), (_IMAGE,)), source=True, zero_at_zero=always
    ),
    "conv": Operation(
        ("out_channels", "kernel", "stride", "padding", "dilation", "groups", "bias"),
        rules.conv_shape,
        Example((_IMAGE,), (6, (3, 3), (1, 1), ((1, 1), (1, 1)), (1, 1), 2, True)),
        parameters=rules.conv_parameters,
        initial=lambda name, attrs: HE if name == "weight" else 0.0,
        product=_conv_product,
        channelwise=_conv_is_depthwise,
        zero_at_zero=always,
        shifts=lambda attrs: bool(attrs[6]),
        degree=lambda attrs: None if attrs[6] else 1,
        with_channels=lambda attrs, channels: (channels, *attrs[1:5], channels, attrs[6]),
        absorbs_affine=True,
        absorbs_activation=True,
        varieties=("", "3d"),
        variety=lambda attrs, shape: "3d" if len(shape) > 3 else "",
    ),
    "linear": Operation(
        ("out_features", "bias"),
        rules.linear_shape,
        Example(((5,),), (3, True)),
        parameters=rules.linear_parameters,
        initial=lambda name, attrs: GLOROT if name == "weight" else 0.0,
        product=_linear_product,
        zero_at_zero=always,
        shifts=lambda attrs: bool(attrs[1]),
        degree=lambda attrs: None if attrs[1] else 1,
        absorbs_affine=True,
        absorbs_activation=True,
    ),
    "norm": Operation(
        ("kind", "eps", "momentum", "axis"),
        rules.norm_shape,
        Example((_IMAGE,), ("batch", 1e-5, 0.1, 0)),
        normalises=True,
        parameters=rules.norm_parameters,
        buffers=rules.norm_buffers,
        initial=lambda name, attrs: 1.0 if name in ("weight", "running_var") else 0.0,
        channelwise=lambda shape, attrs, axis: axis == 0 and _is_batch(attrs),
        zero_at_zero=always,
        shifts=always,
        degree=lambda attrs: 0 if _is_batch(attrs) else None,
        affine=_is_batch,
        in_place=True,
        absorbs_affine=True,
        absorbs_activation=True,
        varieties=("batch", "layer"),
        variety=_first_attribute,
    ),
    "layer_scale": Operation(
        ("initial",),
        rules.layer_scale_shape,
        Example((_IMAGE,), (0.5,)),
        parameters=rules.layer_scale_parameters,
        initial=lambda name, attrs: float(attrs[0]),
        channelwise=_first_axis,
        zero_at_zero=always,
        degree=_degree_one,
        affine=always,
        in_place=True,
    ),
    "act": Operation(
        ("fn",),
        _act_shape,
        Example((_IMAGE,), ("relu",)),
        activation=True,
        elementwise=True,
        zero_at_zero=lambda attrs: ACTIVATIONS[attrs[0]].zero_at_zero,
        degree=lambda attrs: 1 if ACTIVATIONS[attrs[0]].homogeneous else None,
        replaceable=lambda attrs: may_be_folded(attrs[0]),
        in_place=True,
        keeps=lambda attrs: "result" if ACTIVATIONS[attrs[0]].slope_from_result else "operands",
        varieties=ACTIVATIONS,
        variety=_first_attribute,
    ),
    "add": Operation(
        (),
        rules.add_shape,
        Example((_IMAGE, _IMAGE)),
        elementwise=True,
        commutative=True,
        zero_at_zero=always,
        absorbs_activation=True,
        keeps=_keeps_nothing,
    ),
    "mul": Operation(
        (),
        rules.mul_shape,
        Example((_IMAGE, (4, 1, 1))),
        elementwise=True,
        commutative=True,
        zero_at_zero=always,
    ),
    "concat": Operation(
        ("axis",), rules.concat_shape, Example((_IMAGE, _IMAGE), (0,)), zero_at_zero=always, keeps=_keeps_nothing
    ),
    "pool": Operation(
        ("kind", "kernel", "stride", "padding", "count_padding"),
        rules.pool_shape,
        Example((_IMAGE,), ("avg", (3, 3), (1, 1), ((1, 1), (1, 1)), False)),
        channelwise=_first_axis,
        zero_at_zero=always,
        pooling=_first_attribute,
        keeps_constants=lambda attrs: not attrs[4],
        keeps=lambda attrs: "result" if attrs[0] == "max" else "",  # which place of the window each came from
        varieties=("max", "avg"),
        variety=_first_attribute,
    ),
    "global_pool": Operation(
        ("kind",),
        rules.global_pool_shape,
        Example((_IMAGE,), ("avg",)),
        channelwise=_first_axis,
        zero_at_zero=always,
        pooling=_first_attribute,
        keeps_constants=always,
        keeps=lambda attrs: "result" if attrs[0] == "max" else "",
        varieties=("max", "avg"),
        variety=_first_attribute,
    ),
    "resize": Operation(
        ("size", "mode"),
        rules.resize_shape,
        Example((_IMAGE,), ((12, 12), "nearest")),
        channelwise=_first_axis,
        zero_at_zero=always,
        degree=_degree_one,
        keeps=_keeps_nothing,
        varieties=("nearest", "bilinear"),
        variety=lambda attrs, shape: str(attrs[1]),
    ),
    "matmul": Operation(
        (), rules.matmul_shape, Example(((3, 4), (4, 5))), product=_matmul_product, zero_at_zero=always
    ),
    "softmax": Operation(
        ("axis",),
        rules.softmax_shape,
        Example(((3, 5),), (1,)),
        in_place=True,
        keeps=_keeps_result,
        varieties=("1d", "nd"),
        variety=lambda attrs, shape: "1d" if prod(shape) == shape[attrs[0]] else "nd",
    ),
    "reshape": Operation(
        ("shape",),
        rules.reshape_shape,
        Example(((4, 6),), ((2, 12),)),
        zero_at_zero=always,
        degree=_degree_one,
        replaceable=always,
        in_place=True,
        view=True,
        keeps=_keeps_nothing,
    ),
    "permute": Operation(
        ("axes",),
        rules.permute_shape,
        Example(((4, 6),), ((1, 0),)),
        zero_at_zero=always,
        degree=_degree_one,
        keeps=_keeps_nothing,
    ),
    "slice": Operation(
        ("axis", "start", "stop"),
        rules.slice_shape,
        Example((_IMAGE,), (0, 1, 3)),
        zero_at_zero=always,
        degree=_degree_one,
        keeps=_keeps_nothing,
    ),
    "scale": Operation(
        ("factor",),
        rules.scale_shape,
        Example((_IMAGE,), (0.5,)),
        elementwise=True,
        zero_at_zero=always,
        degree=_degree_one,
        affine=always,
        in_place=True,
        keeps=_keeps_nothing,
    ),
}
