"""One operation of an exported program, and the state of reading the program."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import fx, nn
from torch.export.graph_signature import InputKind
from torch.fx.experimental.symbolic_shapes import statically_known_true

from search_spaces.graph.builder import Builder, Tensor
from search_spaces.graph.operations import Shape
from search_spaces.pytorch.from_module.operands import (
    ADVICE,
    HardSigmoidInput,
    LayerScaleFactors,
    PaddedTensor,
    ScaledActivation,
    UnsupportedModule,
    UnsupportedValue,
)


class ImportState:
    """The state of reading an exported program. ``values`` holds what each of its nodes stands for."""

    def __init__(self, module: nn.Module, builder: Builder | None = None) -> None:
        self.module = module
        self.b = builder or Builder()
        self.batch: Any = None  # the extent of every input's first axis
        self.dtype: torch.dtype | None = None
        self.values: dict[fx.Node, Any] = {}
        self.states: dict[str, torch.Tensor] = {
            **dict(module.named_parameters(remove_duplicate=False)),
            **dict(module.named_buffers(remove_duplicate=False)),
        }
        self.state_names: dict[
            fx.Node, tuple[InputKind, str]
        ] = {}  # parameters and buffers by their names in the module
        self.weight_users: dict[tuple[Any, ...], tuple[fx.Node, str]] = {}  # what each weight's memory serves as
        self.in_place_target: dict[
            fx.Node, fx.Node
        ] = {}  # what an operation in place returns: the tensor that it changed

    def unbatched(self, fake: Any) -> Shape | None:
        """The shape behind the batch axis; ``None`` where that is not first, or another extent is not constant."""
        if not isinstance(fake, torch.Tensor) or fake.dim() < 1:
            return None
        first, *extents = fake.shape
        if isinstance(first, int) or not statically_known_true(first == self.batch):
            return None
        return tuple(extents) if all(isinstance(n, int) for n in extents) else None


class AtenCall:
    """One operation: its arguments by name, and the shape of its result without the batch axis."""

    def __init__(self, program: ImportState, node: fx.Node) -> None:
        self.program = program
        self.node = node
        self.op = str(node.target)
        self.arguments: dict[str, Any] = {}
        if isinstance(node.target, torch._ops.OpOverload):
            schema = node.target._schema
            self.op = schema.name.removeprefix("aten::")
            if schema.is_mutable:
                self.op = self.op.removesuffix("_")
            self.arguments = {a.name: a.default_value for a in schema.arguments if a.has_default_value()}
            self.arguments |= zip([a.name for a in schema.arguments], node.args, strict=False)
            self.arguments |= node.kwargs

    def __getitem__(self, name: str) -> Any:
        return self.arguments[name]

    def unsupported_error(self, reason: str) -> UnsupportedModule:
        return UnsupportedModule(f"{describe_location(self.node, self.op)}: {reason}")

    def require(self, **expected: Any) -> None:
        """Refuse any of these arguments that has another value; one that the operation has not is fine."""
        for name, value in expected.items():
            if self.arguments.get(name, value) != value:
                raise self.unsupported_error(
                    f"{name} must be {value!r} in a graph, not {self.arguments[name]!r}; {ADVICE}"
                )

    def value(self, argument: Any) -> Any:
        """What a node stands for."""
        if not isinstance(argument, fx.Node):
            raise self.unsupported_error(f"its operand must be a tensor of the network, not {argument!r}; {ADVICE}")
        return self.program.values[self.program.in_place_target.get(argument, argument)]

    def tensor(self, argument: Any) -> Tensor:
        value = self.value(argument)
        b = self.program.b
        if isinstance(value, PaddedTensor) and value.fill == 0:
            return _pad_with_zeros(b, value)
        if isinstance(value, ScaledActivation):
            return b.scale(b.act(value.x, value.fn), 6)
        if isinstance(value, Tensor):
            return value
        reasons = {
            PaddedTensor: "padding with another value than zero is known in front of a maximum pooling alone, as -inf",
            HardSigmoidInput: f"adding a constant is no operation of a graph; {ADVICE}",
        }
        raise self.unsupported_error(
            value.reason if isinstance(value, UnsupportedValue) else reasons.get(type(value), f"no tensor; {ADVICE}")
        )

    @property
    def first(self) -> Any:
        return self.value(self.node.args[0])

    @property
    def x(self) -> Tensor:
        """The first operand."""
        return self.tensor(self.node.args[0])

    def shape_of(self, fake: Any) -> Shape:
        """A result's shape without the batch axis, which must be the first."""
        shape = self.program.unbatched(fake)
        if not shape:
            raise self.unsupported_error(
                f"its result {tuple(fake.shape)} does not keep the batch as first of several axes;"
                " reshape and reorder within a sample only"
            )
        return shape

    @property
    def shape(self) -> Shape:
        return self.shape_of(self.node.meta["val"])

    def axis(self, name: str = "dim") -> int:
        """An axis of the unbatched tensor; the batch axis is refused."""
        return self.axes([self[name]])[0]

    def axes(self, argument_value: Iterable[Any]) -> list[int]:
        rank = len(self.node_shape(self.node.args[0]))
        axes = [axis % rank for axis in argument_value]
        if 0 in axes:
            raise self.unsupported_error("it works along the batch axis; a graph describes what happens to one sample")
        return [axis - 1 for axis in axes]

    def node_shape(self, argument: Any) -> tuple[Any, ...]:
        """The batched shape of an argument, or of the first of several."""
        node = argument if isinstance(argument, fx.Node) else argument[0]
        return tuple(node.meta["val"].shape)

    def number(self, name: str) -> float | None:
        """A Python constant; ``None`` where the argument is a tensor."""
        argument_value = self[name]
        if isinstance(argument_value, int | float) and not isinstance(argument_value, bool):
            return float(argument_value)
        if isinstance(argument_value, fx.Node) and isinstance(argument_value.meta.get("val"), torch.Tensor):
            return None
        raise self.unsupported_error(
            f"its operand {argument_value!r} must be a constant or a tensor of the network; {ADVICE}"
        )

    def per_axis(self, name: str, rank: int) -> tuple[int, ...]:
        argument_value = self[name]
        values = tuple(argument_value) if isinstance(argument_value, list | tuple) else (argument_value,)
        return values * rank if len(values) == 1 else values

    def weight(self, name: str, kind: InputKind = InputKind.PARAMETER) -> None:
        """Take a parameter or buffer for this operation alone."""
        node = self[name]
        source = self.program.state_names.get(node) if isinstance(node, fx.Node) else None
        if source is None or source[0] != kind:
            raise self.unsupported_error(
                f"its {name} must be a {kind.name.lower()} of the module as it is, none computed or constant"
            )
        self._claim_weight(node, name, kind)

    def _claim_weight(self, node: fx.Node, name: str, kind: InputKind = InputKind.PARAMETER) -> None:
        path = self.program.state_names[node][1]
        tensor = self.program.states[path]
        if kind == InputKind.PARAMETER and not tensor.requires_grad:
            raise self.unsupported_error(
                f"the parameter {path} is frozen, but all weights of a graph learn; set requires_grad"
            )
        memory_key = (tensor.untyped_storage()._cdata, tensor.storage_offset())
        user, use = self.program.weight_users.setdefault(memory_key, (self.node, name))
        if (user, use) != (self.node, name):
            raise self.unsupported_error(
                f"tied weights: {path} also serves {describe_location(user, 'an operation')}; a graph has weights for"
                " each use, so call a module once and share no parameter"
            )

    def factors(self, name: str) -> LayerScaleFactors | None:
        """A parameter that this operation multiplies by, as it is or reshaped; ``None`` where it is none."""
        node = self[name]
        if isinstance(node, fx.Node) and self.program.state_names.get(node, ("", ""))[0] == InputKind.PARAMETER:
            return LayerScaleFactors(node, tuple(node.meta["val"].shape))
        source = self.value(node)
        return source if isinstance(source, LayerScaleFactors) else None

    def initial(self, factors: LayerScaleFactors, x: Tensor) -> float:
        """What LayerScale starts with on ``x``; taken for this operation alone."""
        shape = factors.shape[1:] if len(factors.shape) == len(x.shape) + 1 else factors.shape
        path = self.program.state_names[factors.parameter][1]
        channels = (x.channels, *[1] * (len(x.shape) - 1))
        if shape != channels or factors.shape[: len(factors.shape) - len(shape)] not in ((), (1,)):
            raise self.unsupported_error(
                f"the parameter {path} of {factors.shape} is no LayerScale, one number for each channel; {ADVICE}"
            )
        self._claim_weight(factors.parameter, "factor")
        values = self.program.states[path].detach().flatten()
        if not torch.equal(values, values[:1].expand_as(values)):
            raise self.unsupported_error(
                f"the parameter {path} is no LayerScale as it starts, with one number for all channels; read the module"
                " before it is trained"
            )
        return float(str(values[0].cpu().numpy()[()]))  # 1e-6, not what float32 makes of it

    def bias(self, x: Tensor) -> bool:
        """Take the bias, or the shift of a normalisation of ``x``, if the operation has one; whether it has."""
        if self["bias"] is None:
            return False
        self.weight("bias")
        if x.is_zero:  # the normal form takes a layer of nothing for nothing; this one yields its bias
            raise self.unsupported_error(f"it adds a bias to a constant zero; {ADVICE}")
        return True


def describe_location(node: fx.Node, op: str) -> str:
    stack = list((node.meta.get("nn_module_stack") or {}).values())
    path, kind = stack[-1] if stack else ("", "")
    name = kind.rpartition(".")[2] if isinstance(kind, str) else kind.__name__
    return f"{op} in {path or 'the module itself'}" + (f" ({name})" if name else "")


def _pad_with_zeros(b: Builder, padded: PaddedTensor) -> Tensor:
    """Zeros around a tensor, where no padding of a window says it."""
    x = padded.x
    for axis, (before, after) in enumerate(padded.pads):
        zeros = [b.zero((*x.shape[:axis], n, *x.shape[axis + 1 :])) if n else None for n in (before, after)]
        x = b.concat([part for part in (zeros[0], x, zeros[1]) if part is not None], axis)
    return x


AtenHandler = Callable[[Builder, AtenCall], Any]
