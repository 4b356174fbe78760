"""The one description of a network: an immutable graph of primitive operations in normal form.

A ``Graph`` is made by ``builder.Builder`` alone. It is stored as *pieces*: runs of nodes that blocks made and
that are shared between graphs, so that building, hashing and costing a candidate take time by the block and not
by the node. ``graph.nodes`` is the plain list behind them, and no figure depends on how it was cut up.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from hashlib import blake2b
from math import prod
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from search_spaces.ops import OPS, Attrs, GraphError, Shape

if TYPE_CHECKING:
    import networkx

    from search_spaces.builder import Tensor

FORMAT = "nas-graph/1"
FLOAT_BYTES = 4  # byte figures of a graph are those of float32 execution; hardware models use their own width


MEMO_LIMIT = 1 << 16
Key = TypeVar("Key")
Value = TypeVar("Value")


def remember(memo: dict[Key, Value], key: Key, value: Value) -> None:
    """Put a value into a memo; one that has grown to ``MEMO_LIMIT`` starts anew."""
    if len(memo) >= MEMO_LIMIT:
        memo.clear()
    memo[key] = value


def recall(memo: dict[Key, Value], key: Key, make: Callable[[Key], Value]) -> Value:
    """What a memo holds for a key; made, and remembered, where it holds nothing."""
    try:
        return memo[key]
    except KeyError:
        value = make(key)
        remember(memo, key, value)
        return value


class Node(NamedTuple):
    """One primitive operation. ``attrs`` are the values of ``OPS[op].attrs``; ``inputs`` are node indices."""

    op: str
    attrs: Attrs
    inputs: tuple[int, ...]
    shape: Shape

    def attr(self, name: str) -> Any:
        """The value of the attribute ``name``; ``ValueError`` where the operation has none of that name."""
        return self.attrs[OPS[self.op].attrs.index(name)]


class NodeFigures(NamedTuple):
    """What one node counts. ``read_elements`` includes its parameters and running statistics."""

    macs: int
    params: int
    variables: int
    read_elements: int
    written_elements: int


def node_figures(node: Node, input_shapes: tuple[Shape, ...]) -> NodeFigures:
    """Count one node from its own shape and those of its operands."""
    op = OPS[node.op]
    params = sum(prod(s) for _, s in op.parameters(input_shapes, node.attrs)) if op.parameters else 0
    buffers = sum(prod(s) for _, s in op.buffers(input_shapes, node.attrs)) if op.buffers else 0
    macs = op.macs(input_shapes, node.attrs, node.shape) if op.macs else 0
    if op.view or not input_shapes:
        return NodeFigures(macs, params, params + buffers, 0, 0)
    read = sum(prod(s) for s in input_shapes) + params + buffers
    return NodeFigures(macs, params, params + buffers, read, prod(node.shape))


def _operation_digest(node: Node) -> bytes:
    return blake2b(repr((node.op, node.attrs)).encode(), digest_size=8).digest()


class Fragment:
    """A run of nodes with open ends, shared between graphs and never changed.

    A node's input ``i >= 0`` is a node of the fragment, ``-(k + 1)`` the fragment's k-th operand. ``closed`` says
    that what its operands come from matters to none of its nodes: no rule of the normal form reaches across the
    border from inside, and no operation folds into one that went before.
    """

    __slots__ = (
        "_code",
        "_codes",
        "_figures",
        "_patches",
        "_peaks",
        "closed",
        "end",
        "input_shapes",
        "last",
        "length",
        "macs",
        "nodes",
        "output_elements",
        "outputs",
        "parametric",
        "params",
        "read_elements",
        "variables",
        "written_elements",
    )

    def __init__(self, nodes: tuple[Node, ...], outputs: tuple[int, ...], input_shapes: tuple[Shape, ...]) -> None:
        self.nodes = nodes
        self.outputs = outputs
        self.input_shapes = input_shapes
        self.length = len(nodes)
        self.end = outputs[0]
        self.last = nodes[self.end]
        figures = [node_figures(node, self.operand_shapes(node)) for node in nodes]
        self._figures = figures
        self.macs = sum(f.macs for f in figures)
        self.params = sum(f.params for f in figures)
        self.variables = sum(f.variables for f in figures)
        self.read_elements = sum(f.read_elements for f in figures)
        self.written_elements = sum(f.written_elements for f in figures)
        self.output_elements = sum(prod(nodes[o].shape) for o in outputs)
        self.parametric = self.params > 0
        self.closed = self._is_closed()
        code = bytearray()
        self._patches: list[tuple[int, int, int]] = []  # (place in code, node index, operand)
        for index, node in enumerate(nodes):
            code += _operation_digest(node)
            code += struct.pack("<I", len(node.inputs))
            for i in node.inputs:
                if i < 0:
                    self._patches.append((len(code), index, -i - 1))
                code += struct.pack("<I", index - i if i >= 0 else 0)
        self._code = bytes(code)
        self._codes: dict[tuple[int, ...], bytes] = {}
        self._peaks: dict[tuple[int, ...], int] = {}

    def operand_shapes(self, node: Node) -> tuple[Shape, ...]:
        """Shapes of the operands of one of this fragment's nodes."""
        return tuple(self.nodes[i].shape if i >= 0 else self.input_shapes[-i - 1] for i in node.inputs)

    def node_figures(self) -> list[NodeFigures]:
        """The counts of every node, in order."""
        return self._figures

    def _is_closed(self) -> bool:
        # Only convolutions and linear layers read what comes from outside; and residual sums, whose operand something
        # else in here reads too, so that they never flatten a sum outside.
        uses = [0] * len(self.input_shapes)
        for node in self.nodes:
            for i in node.inputs:
                if i < 0:
                    uses[-i - 1] += 1
        for node in self.nodes:
            outside = [-i - 1 for i in node.inputs if i < 0]
            residual = node.op == "add" and len(outside) == 1 < len(node.inputs) and uses[outside[0]] > 1
            if node.op == "zero" or (outside and node.op not in ("conv", "linear") and not residual):
                return False
        return all(uses)

    def code(self, distances: tuple[int, ...]) -> bytes:
        """The nodes as bytes, inputs relative; ``distances[k]`` is how far before node 0 operand ``k`` stands."""
        code = self._codes.get(distances)
        if code is None:
            patched = bytearray(self._code)
            for place, index, operand in self._patches:
                struct.pack_into("<I", patched, place, index + distances[operand])
            if len(self._codes) > 256:
                self._codes.clear()
            code = self._codes[distances] = bytes(patched)
        return code

    def peak_elements(self, states: tuple[int, ...]) -> int:
        """Most elements live at once while this runs. Per operand: 0 outlives it, 1 dies in it, 2 is a repeat."""
        peak = self._peaks.get(states)
        if peak is None:
            peak = self._peaks[states] = self._simulate(states)
        return peak

    def _simulate(self, states: tuple[int, ...]) -> int:
        left: dict[int, int] = {}
        for node in self.nodes:
            for i in set(node.inputs):
                left[i] = left.get(i, 0) + 1
        kept = set(self.outputs) | {-k - 1 for k, state in enumerate(states) if state != 1}
        live = sum(prod(s) for s, state in zip(self.input_shapes, states, strict=True) if state != 2)
        peak = live
        for index, node in enumerate(self.nodes):
            if index not in left and index not in kept:  # an input that nothing reads
                peak = max(peak, live + prod(node.shape))
                continue
            dying = []
            for i in set(node.inputs):
                left[i] -= 1
                if not left[i] and i not in kept:
                    dying.append(i)
            freed = sum(prod(self.nodes[i].shape if i >= 0 else self.input_shapes[-i - 1]) for i in dying)
            if OPS[node.op].in_place and node.inputs[0] in dying:
                live += prod(node.shape) - freed
                continue
            live += prod(node.shape)
            peak = max(peak, live)
            live -= freed
        return peak


_SHIFTED = ("norm", "conv", "linear")  # operations whose shift is left of a zero where a builder keeps it


def _zeros_policy(operations: Sequence[tuple[object, object]]) -> str:
    """The ``zeros`` of the builder that made these (operation, inputs): ``bias`` where one shifts a zero."""
    zeros = {i for i, (op, _) in enumerate(operations) if op == "zero"}
    read = [inputs for op, inputs in operations if op in _SHIFTED and isinstance(inputs, list | tuple)]
    shifted = any(isinstance(i, int) and i in zeros for inputs in read for i in inputs)
    return "bias" if shifted else "absorb"


class Piece(NamedTuple):
    """A fragment in its place: node indices of its operands, their operations, and the index of its first node."""

    fragment: Fragment
    inputs: tuple[int, ...]
    producers: tuple[str, ...]
    base: int


class Graph:
    """An immutable network in normal form. Made by ``Builder.build`` or ``Graph.from_json``.

    ``macs``: multiply-adds of convolutions, linear layers and matrix products (half of what PyTorch's flop counter
    reports). ``params``: trainable parameters. ``variables``: the same and running statistics.
    """

    def __init__(self, pieces: tuple[Piece, ...], outputs: tuple[tuple[str, int], ...], length: int) -> None:
        self.pieces = pieces
        self.outputs = outputs
        self._length = length

    def __len__(self) -> int:
        return self._length

    def __repr__(self) -> str:
        return f"<Graph {self._length} nodes, {self.macs / 1e6:.1f} M MACs, {self.params / 1e6:.3f} M parameters>"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Graph) and self._code() == other._code()

    def __hash__(self) -> int:
        return hash(self.digest)

    @cached_property
    def nodes(self) -> tuple[Node, ...]:
        """All nodes in the order they execute; ``Node.inputs`` point backwards."""
        return tuple(self._flat())

    def _flat(self) -> Iterator[Node]:
        for fragment, inputs, _, base in self.pieces:
            for node in fragment.nodes:
                yield node._replace(inputs=tuple(base + i if i >= 0 else inputs[-i - 1] for i in node.inputs))

    def figures(self) -> list[NodeFigures]:
        """MACs, parameters and elements moved of every node, in order."""
        return [f for piece in self.pieces for f in piece.fragment.node_figures()]

    @property
    def macs(self) -> int:
        return sum([piece[0].macs for piece in self.pieces])

    @property
    def params(self) -> int:
        return sum([piece[0].params for piece in self.pieces])

    @property
    def variables(self) -> int:
        return sum([piece[0].variables for piece in self.pieces])

    @property
    def bytes_read(self) -> int:
        """Bytes that the operations read, operands and weights, each operation on its own, in float32."""
        return FLOAT_BYTES * sum(piece.fragment.read_elements for piece in self.pieces)

    @property
    def bytes_written(self) -> int:
        """Bytes that the operations write, each operation on its own, in float32."""
        return FLOAT_BYTES * sum(piece.fragment.written_elements for piece in self.pieces)

    @property
    def peak_activation_bytes(self) -> int:
        """Peak bytes of live activations in float32, in the graph's own order of execution.

        At every node its operands and its result are live together, as are tensors that later nodes or the outputs
        need; an elementwise operation on one operand (normalisation, activation, scaling, softmax, reshape)
        overwrites an operand that nothing else needs. Weights are not counted.
        """
        return FLOAT_BYTES * self.peak_activation_elements

    @cached_property
    def peak_activation_elements(self) -> int:
        """As ``peak_activation_bytes``, in elements, for other number formats."""
        last: dict[int, int] = {}
        for position, piece in enumerate(self.pieces):
            for i in piece.inputs:
                last[i] = position
        for _, index in self.outputs:
            last[index] = len(self.pieces)
        sizes: dict[int, int] = {}
        live = peak = 0
        for position, (fragment, inputs, _, base) in enumerate(self.pieces):
            states = []
            others = live
            seen: set[int] = set()
            for i in inputs:
                states.append(2 if i in seen else int(last[i] == position))
                if i not in seen:
                    others -= sizes[i]
                    seen.add(i)
            peak = max(peak, others + fragment.peak_elements(tuple(states)))
            for i in seen:
                if last[i] == position:
                    live -= sizes.pop(i)
            for o in fragment.outputs:
                if base + o in last:  # all but an input that nothing reads
                    sizes[base + o] = prod(fragment.nodes[o].shape)
                    live += sizes[base + o]
        return peak

    @property
    def input_shape(self) -> Shape:
        """Shape of the first input, without the batch axis."""
        return self.input_shapes[0]

    @cached_property
    def input_shapes(self) -> tuple[Shape, ...]:
        """Shapes of all inputs, without the batch axis."""
        sources = [piece[0] for piece in self.pieces if not piece[1]]  # an input is a piece of its own
        return tuple([n.shape for fragment in sources for n in fragment.nodes if n.op == "input"])

    @cached_property
    def output_shapes(self) -> dict[str, Shape]:
        """Shape of every named output, without the batch axis."""
        return {name: self.nodes[index].shape for name, index in self.outputs}

    @property
    def zeros(self) -> str:
        """The ``zeros`` of the builder that made this graph, for one that is to make it again."""
        return _zeros_policy([(node.op, node.inputs) for node in self.nodes])

    def _code(self) -> bytes:
        parts = []
        for fragment, inputs, _, base in self.pieces:
            parts.append(fragment.code(tuple([base - i for i in inputs])))
        for name, index in self.outputs:
            escaped = name.replace("\\", "\\\\").replace("|", "\\|")
            parts.append(f"|{escaped}:{self._length - index}".encode())
        return b"".join(parts)

    @cached_property
    def digest(self) -> str:
        """Hex digest of the normal form, the same in every process and for every way of writing the blocks."""
        return blake2b(self._code(), digest_size=16, person=b"nas-graph-1").hexdigest()

    def to_json(self) -> str:
        """The graph as JSON text; ``Graph.from_json`` reads it back."""
        nodes = []
        for node in self.nodes:
            row: dict[str, Any] = {"op": node.op}
            if node.inputs:
                row["inputs"] = list(node.inputs)
            row.update(zip(OPS[node.op].attrs, node.attrs, strict=True))
            nodes.append(row)
        return json.dumps({"format": FORMAT, "nodes": nodes, "outputs": dict(self.outputs)}, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> Graph:
        """Read ``to_json``'s text, checking every shape again. Raises ``GraphError`` for anything else."""
        from search_spaces.builder import Builder

        try:
            document = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise GraphError(f"no graph: the text is not JSON ({error})") from None
        if not isinstance(document, Mapping) or document.get("format") != FORMAT:
            raise GraphError(f"no graph: expected a JSON object with format {FORMAT!r}")
        nodes, outputs = document.get("nodes"), document.get("outputs")
        if not isinstance(nodes, list) or not isinstance(outputs, Mapping) or not outputs:
            raise GraphError("no graph: it needs a list `nodes` and an object `outputs`")
        rows = [(row.get("op"), row.get("inputs")) if isinstance(row, Mapping) else (None, None) for row in nodes]
        builder = Builder(_zeros_policy(rows))
        tensors: list[Tensor] = []
        for place, row in enumerate(nodes):
            try:
                tensors.append(builder.apply_row(row, tensors))
            except GraphError as error:
                raise GraphError(f"node {place}: {error}") from None
        chosen = {}
        for name, index in outputs.items():
            if not isinstance(index, int) or isinstance(index, bool) or not 0 <= index < len(tensors):
                raise GraphError(f"output {name!r} must be the number of a node, 0 to {len(tensors) - 1}")
            chosen[name] = tensors[index]
        return builder.build(chosen)

    def to_networkx(self) -> networkx.MultiDiGraph[int]:
        """A networkx graph: node attributes ``op``, ``attrs``, ``shape``, ``outputs``; edge attribute ``operand``."""
        import networkx

        graph: networkx.MultiDiGraph[int] = networkx.MultiDiGraph()
        for index, node in enumerate(self.nodes):
            attrs = dict(zip(OPS[node.op].attrs, node.attrs, strict=True))
            graph.add_node(index, op=node.op, attrs=attrs, shape=node.shape, outputs=[])
            for operand, i in enumerate(node.inputs):
                graph.add_edge(i, index, operand=operand)
        for name, index in self.outputs:
            graph.nodes[index]["outputs"].append(name)
        return graph
