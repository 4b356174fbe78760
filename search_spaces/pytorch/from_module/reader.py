"""The reader of an exported program: operation by operation, aliases and outputs included."""

from __future__ import annotations

import operator
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import fx, nn
from torch.export import ExportedProgram
from torch.export.graph_signature import InputKind
from torch.utils import _pytree as pytree

from search_spaces.graph.builder import Builder, Tensor
from search_spaces.graph.graph import Graph
from search_spaces.graph.operations import GraphError
from search_spaces.pytorch.from_module import elementwise, shapes, weighted, windows
from search_spaces.pytorch.from_module import normalisation as norms
from search_spaces.pytorch.from_module.call import AtenCall, AtenHandler, ImportState
from search_spaces.pytorch.from_module.operands import ADVICE, UnsupportedModule, UnsupportedValue
from search_spaces.pytorch.from_module.torch_export import exported, parse_input_shapes


def graph_from_module(module: nn.Module, inputs: Sequence[tuple[int, ...]] | tuple[int, ...]) -> Graph:
    """The graph of what ``module`` computes from ``inputs``: shapes without the batch axis, channels first.

    The module is read in the mode it is in and left as it was; its weights are no part of the graph. ``forward`` runs
    once, on stand-ins: parameters that this run does not use are not in the graph, and where Python's own random
    numbers choose a branch it is the one they chose. Dropout is refused in training and nothing in evaluation. One
    tensor becomes the output ``output``, a dict keeps its keys, a tuple or list becomes ``output0``, ``output1``, ...
    Raises ``UnsupportedModule``.
    """
    if not isinstance(module, nn.Module):
        raise TypeError(f"graph_from_module takes an nn.Module, not {type(module).__name__}")
    return ExportedProgramReader(module, exported(module, parse_input_shapes(inputs))).graph()


ATEN_HANDLERS: dict[str, AtenHandler] = {
    name: handler
    for part in (weighted, norms, elementwise, windows, shapes)
    for name, handler in part.ATEN_HANDLERS.items()
}


class ExportedProgramReader:
    """Reads one exported program, onto ``builder`` where one is given."""

    def __init__(self, module: nn.Module, exported: ExportedProgram, builder: Builder | None = None) -> None:
        self.exported = exported
        self.program = ImportState(module, builder)
        self.values = self.program.values
        self.in_place_target = self.program.in_place_target
        self.nodes = list(exported.graph.nodes)
        self.memory: dict[fx.Node, fx.Node] = {}  # what may be a view: the tensor whose memory it shows
        self.last_use = {source: index for index, node in enumerate(self.nodes) for source in node.all_input_nodes}

    def graph(self) -> Graph:
        self._read_inputs()
        needed = self._needed_nodes()
        for index, node in enumerate(self.nodes):
            if node.op == "get_attr":
                self.values[node] = UnsupportedValue(f"the constant {node.target} is no parameter; {ADVICE}")
            elif node.op == "call_function" and node in needed and node not in self.values:
                self._read(index, node)
        outputs = {}
        for name, node in self._outputs().items():
            call = AtenCall(self.program, self.nodes[-1])
            call.op = f"output {name!r}"
            outputs[name] = call.tensor(node)
        return self.program.b.build(outputs)

    def _read_inputs(self) -> None:
        placeholders = [node for node in self.nodes if node.op == "placeholder"]
        for node, spec in zip(placeholders, self.exported.graph_signature.input_specs, strict=True):
            if spec.kind == InputKind.USER_INPUT:
                fake = node.meta["val"]
                self.program.batch, self.program.dtype = fake.shape[0], fake.dtype
                self.values[node] = self.program.b.input(tuple(fake.shape[1:]))
                continue
            if spec.kind in (InputKind.PARAMETER, InputKind.BUFFER) and spec.target in self.program.states:
                self.program.state_names[node] = (spec.kind, spec.target)
            self.values[node] = UnsupportedValue(
                f"{spec.target} is a {spec.kind.name.lower().replace('_', ' ')} used as a tensor; in a graph only"
                " convolutions, linear layers and normalisations have weights, and there are no constants"
            )

    def _needed_nodes(self) -> set[fx.Node]:
        """The nodes that the outputs are computed from, and those that change a tensor in place."""
        needed: set[fx.Node] = set()
        for node in reversed(self.nodes):
            if node.op == "output" or in_place(node) or any(user in needed for user in node.users):
                needed.add(node)
        return needed

    def _read(self, index: int, node: fx.Node) -> None:
        fake = node.meta.get("val")
        call = AtenCall(self.program, node)
        if node.target is operator.getitem:
            self.values[node] = call.value(node.args[0])[node.args[1]]
            self.memory[node] = self._memory_of(node.args[0])
            return
        if isinstance(fake, torch.SymInt | torch.SymFloat | torch.SymBool | int | float | bool):
            self.values[node] = UnsupportedValue("a number that depends on the batch or on data is no constant")
            return
        if in_place(node):
            target = node.args[0]
            assert isinstance(target, fx.Node)
            if target in self.program.state_names:
                if call.op == "add" and self.program.state_names[target][1].rpartition(".")[2] == "num_batches_tracked":
                    return  # batch normalisation's own count
                raise call.unsupported_error(
                    f"it changes {self.program.state_names[target][1]}; a graph has no state but running statistics"
                )
            changed = self.in_place_target.get(target, target)
            self._check_views(index, call, changed)
        handler = ATEN_HANDLERS.get(call.op)
        if handler is None or not isinstance(node.target, torch._ops.OpOverload):
            raise call.unsupported_error(f"a graph has no such operation; {ADVICE}")
        try:
            value = self.value_of(handler, call)
        except GraphError as error:
            raise call.unsupported_error(str(error)) from None
        if isinstance(value, Tensor):
            if call.shape != value.shape:
                raise call.unsupported_error(
                    f"its result is {call.shape}, where the graph's is {value.shape}; {ADVICE}"
                )
            if fake is not None and fake.dtype != self.program.dtype:
                raise call.unsupported_error(
                    f"it changes the number format from {self.program.dtype} to {fake.dtype}; a graph has one"
                )
        if in_place(node):
            self.in_place_target[node] = changed
            self.values[changed] = value
        else:
            self.values[node] = value
            if may_be_view(node):
                self.memory[node] = self._memory_of(node.args[0])

    def value_of(self, handler: AtenHandler, call: AtenCall) -> Any:
        """What one operation of the program is on the builder, in a section that has its module's path for a name."""
        self.program.b.section(module_path(call.node))
        return handler(self.program.b, call)

    def _memory_of(self, view: Any) -> fx.Node:
        node: fx.Node = self.in_place_target.get(view, view)
        return self.memory.get(node, node)

    def _check_views(self, index: int, call: AtenCall, changed: fx.Node) -> None:
        """Refuse a change in place that another view of the same memory shows later."""
        memory = self._memory_of(changed)
        for node in self.values:
            other = self.in_place_target.get(node, node)
            if other is not changed and self._memory_of(other) is memory and self.last_use.get(node, -1) > index:
                raise call.unsupported_error(
                    "it changes a tensor in place that a view shows too; use the operation that makes a new one"
                )

    def _outputs(self) -> dict[str, fx.Node]:
        """The nodes that ``forward`` returns, by name."""
        returned: Any = self.nodes[-1].args[0]
        structure = pytree.tree_unflatten(list(range(len(returned))), self.exported.call_spec.out_spec)
        if isinstance(structure, int):
            structure = {"output": structure}
        elif isinstance(structure, list | tuple):
            structure = {f"output{i}": index for i, index in enumerate(structure)}
        if (
            not isinstance(structure, Mapping)
            or not structure
            or not all(isinstance(p, int) for p in structure.values())
        ):
            raise UnsupportedModule("forward() must return a tensor, or a dict, tuple or list of tensors, not nested")
        outputs = {}
        for name, index in structure.items():
            node = returned[index]
            if not isinstance(name, str) or not isinstance(node, fx.Node):
                raise UnsupportedModule(f"output {name!r} of forward() must be a tensor with a text for its name")
            outputs[name] = node
        return outputs


def module_path(node: fx.Node) -> str:
    """The path of the named module that asks for an operation; empty for the module itself."""
    stack = list((node.meta.get("nn_module_stack") or {}).values())
    return stack[-1][0] if stack else ""


def in_place(node: fx.Node) -> bool:
    return isinstance(node.target, torch._ops.OpOverload) and node.target._schema.is_mutable


def may_be_view(node: fx.Node) -> bool:
    """Whether the result may share its first operand's memory; dropout that does nothing returns its operand."""
    assert isinstance(node.target, torch._ops.OpOverload)
    schema = node.target._schema
    return "dropout" in schema.name or any(r.alias_info is not None for r in schema.returns)
