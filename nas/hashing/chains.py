"""The signature of each of a network's operations, in one pass forward and one back, a chain of operations at a time.

A maximal chain of unary operations (each the only reader of the one before) is one application of the keyed hash to
the codes of its operations: a MobileDet of 250 operations has some 40 chains. What is inside a chain follows from its
two ends, so nothing is lost. Each block is condensed to its chains once; across the borders of blocks they are joined.

Blocks that are a chain, or a chain and a sum with what it reads (a residual block), are links: they follow each other
in *runs*, which need no bookkeeping but at their ends.

Networks with constants, or with joins that have attributes as concatenations do, or parameters, are left to ``form``.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any, NamedTuple

from nas.hashing.prime_field import JACOBIAN_SHIFT, PRIME, keyed_hash, label_code, output_adjoint, prf
from search_spaces.graph.fragment import Fragment
from search_spaces.graph.graph import Graph
from search_spaces.graph.memo import memo_get_or_make
from search_spaces.graph.operations import OPS

_FACTOR = label_code("factor")


class NetworkSignature(NamedTuple):
    """What the outputs compute, by name, and every chain that has parameters as ``value << 127 | adjoint``."""

    outputs: tuple[tuple[str, int], ...]
    signatures: list[int]

    @property
    def instances(self) -> list[tuple[int, int]]:
        """(value, adjoint) of every chain that has parameters."""
        return [(signature >> 127, signature & PRIME) for signature in self.signatures]


# A step is (operation, operands, end, codes, has parameters, stays open): of a chain, the operation is "" and it may go
# on behind the block where it stays open, that is, ends in an output that nothing inside reads. Indices are
# those of the fragment's nodes; its operands are -1, -2 and so on.
_ChainStep = tuple[str, tuple[int, ...], int, bytes, bool, bool]


class CondensedBlock(NamedTuple):
    """A block as chains and joins; ``read_counts`` says how often it reads each operand.

    ``link``: (codes, has parameters, end, whether its operand is added) of a block that is one chain.
    """

    steps: tuple[_ChainStep, ...]
    read_counts: tuple[int, ...]
    link: tuple[bytes, bool, int, bool] | None


_CONDENSED_BLOCKS: dict[Fragment, CondensedBlock | None] = {}


def condense_block(fragment: Fragment) -> CondensedBlock | None:
    """A block as chains and joins; ``None`` where it holds a constant, or a join with attributes or parameters."""
    return memo_get_or_make(_CONDENSED_BLOCKS, fragment, _condense_fragment)


def _condense_fragment(fragment: Fragment) -> CondensedBlock | None:
    read_counts: dict[int, int] = {}
    for node in fragment.nodes:
        is_join = len(node.inputs) > 1
        if node.op == "zero" or (is_join and (node.attrs or OPS[node.op].parameters is not None)):
            return None
        for i in node.inputs:
            read_counts[i] = read_counts.get(i, 0) + 1
    outputs = set(fragment.outputs)
    steps: dict[int, _ChainStep] = {}
    source: tuple[int, ...]
    for index, node in enumerate(fragment.nodes):
        if len(node.inputs) != 1:
            text = repr(node.attrs).encode() if node.op == "input" else b""
            steps[index] = (node.op, node.inputs, index, text, False, False)
            continue
        source, codes = node.inputs, label_code(node.op, node.attrs)
        has_parameters = fragment.node_counts()[index].params > 0
        (i,) = source
        if i >= 0 and not steps[i][0] and read_counts[i] == 1 and i not in outputs:
            _, source, _, codes_before, had_parameters, _ = steps.pop(i)
            codes, has_parameters = codes_before + codes, had_parameters or has_parameters
        steps[index] = ("", source, index, codes, has_parameters, index in outputs and index not in read_counts)
    condensed = tuple(steps.values())
    link = _link(condensed) if len(fragment.outputs) == len(fragment.input_shapes) == 1 else None
    return CondensedBlock(
        condensed, tuple([read_counts.get(-k - 1, 0) for k in range(len(fragment.input_shapes))]), link
    )


def _link(steps: tuple[_ChainStep, ...]) -> tuple[bytes, bool, int, bool] | None:
    """The chain of a block with one operand and one output, if it is no more than that."""
    op, source, end, codes, has_parameters, stays_open = steps[0]
    if op or source != (-1,):
        return None
    if len(steps) == 1:
        return (codes, has_parameters, end, False) if stays_open else None
    join, terms, last, _, _, _ = steps[1]
    is_residual = len(steps) == 2 and join == "add" and sorted(terms) == [-1, end] and not stays_open
    return (codes, has_parameters, last, True) if is_residual else None


# What a link gives on the value that it reads: the factor that adjoints take on the way back, and the chain's own
# value << 127, or -1 without parameters.
_LinkResult = tuple[int, int]


class _ForwardPass:
    """The forward pass through a network: values by node index, and the tape that ``backpropagate`` reads.

    ``open_chains`` holds chains that may go on: where they started, codes, whether they have parameters. The tape holds
    (end, start, results, -1) of a run, (end, start, factor, the chain's own value << 127 or -1) of a chain alone, and
    (end, terms, None, -1) of a sum.
    """

    def __init__(self, shared_nodes: set[int]) -> None:
        self.shared_nodes = shared_nodes  # nodes that several read
        self.values: dict[int, int] = {}
        self.tape: list[tuple[int, Any, Any, int]] = []
        self.sums: list[int] = []
        self.open_chains: dict[int, tuple[int, bytes, bool]] = {}
        self._input_count = 0
        self._next_factor = -1  # indices of the factors of products, which are no nodes

    def take_chain(self, index: int, only_reader: bool = True) -> tuple[int, bytes, bool]:
        """The open chain that a node's only reader goes on with; an empty one from there where there is none."""
        if index in self.open_chains:
            if only_reader and index not in self.shared_nodes:
                return self.open_chains.pop(index)
            self.end_chain(index)
        return index, b"", False

    def end_chain(self, index: int) -> None:
        """End the open chain at a node."""
        start, codes, has_parameters = self.open_chains.pop(index)
        self.chain(index, start, codes, has_parameters)

    def chain(self, end: int, start: int, codes: bytes, has_parameters: bool) -> None:
        """Apply a whole chain between two nodes."""
        own, jacobian = prf(codes, self.values[start])
        self.values[end] = own
        self.tape.append((end, start, jacobian, own << 127 if has_parameters else -1))

    def block(self, condensed: CondensedBlock, inputs: tuple[int, ...], base: int) -> None:
        """Go through a block that is no link."""
        shared_nodes, values, number = self.shared_nodes, self.values, int.from_bytes
        open_chains, tape = self.open_chains, self.tape
        for op, operands, end, codes, has_parameters, stays_open in condensed.steps:
            end += base
            if not op:
                start = operands[0]
                if start >= 0:
                    start += base
                else:
                    index = inputs[-start - 1]
                    start = index
                    if index in open_chains:
                        only_reader = condensed.read_counts[-operands[0] - 1] == 1
                        start, codes_before, had_parameters = self.take_chain(index, only_reader)
                        codes, has_parameters = codes_before + codes, had_parameters or has_parameters
                if stays_open and end not in shared_nodes:
                    open_chains[end] = start, codes, has_parameters
                    continue
                state = keyed_hash()  # as ``chain``, which this calls most often
                state.update(codes + values[start].to_bytes(16, "little"))
                both = number(state.digest(), "little")
                values[end] = own = both & PRIME
                tape.append((end, start, both >> JACOBIAN_SHIFT, own << 127 if has_parameters else -1))
                continue
            terms = tuple([base + i if i >= 0 else inputs[-i - 1] for i in operands])
            for index in terms:
                if index in self.open_chains:
                    self.end_chain(index)
            if op == "add":
                self.values[end] = total = sum([self.values[index] for index in terms]) % PRIME
                self.sums.append(total)
                self.tape.append((end, terms, None, -1))
            elif op == "input":
                self.values[end] = prf(label_code("input", self._input_count, codes), 0)[0]
                self._input_count += 1
            else:
                self._product(op, terms, end)

    def _product(self, op: str, operands: tuple[int, ...], end: int) -> None:
        """A join that is no sum, such as a product: a chain on the sum of what a chain makes of each operand."""
        factors = []
        commutative = OPS[op].commutative
        for side, index in enumerate(operands):
            self.chain(self._next_factor, index, _FACTOR if commutative else label_code("operand", side), False)
            factors.append(self._next_factor)
            self._next_factor -= 1
        self.values[self._next_factor] = sum([self.values[factor] for factor in factors]) % PRIME
        self.tape.append((self._next_factor, factors, None, -1))
        self.chain(end, self._next_factor, label_code(op), False)
        self._next_factor -= 1

    def backpropagate(self, adjoints: dict[int, int]) -> list[int]:
        """The signatures of all chains with parameters, from the adjoints of the outputs, which are changed."""
        signatures: list[int] = []
        for end, start, factor, own in reversed(self.tape):
            adjoint = adjoints.get(end, 0) % PRIME
            if factor is None:
                for index in start:
                    adjoints[index] = adjoints.get(index, 0) + adjoint
                continue
            if own >= 0:
                signatures.append(own | adjoint)
            if type(factor) is list:
                for passed, each in reversed(factor):
                    if each >= 0:
                        signatures.append(each | adjoint)
                    adjoint = adjoint * passed % PRIME
                factor = 1
            adjoints[start] = adjoints.get(start, 0) + adjoint * factor
        return signatures


def _shared_nodes(graph: Graph) -> set[int]:
    """Nodes that more than one block or output reads, and all outputs: there, chains end."""
    read_counts = sorted([i for _, inputs, _, _ in graph.pieces for i in inputs])
    return {i for _, i in graph.outputs}.union([i for i, following in pairwise(read_counts) if i == following])


def network_signature(graph: Graph) -> NetworkSignature | None:
    """The network's signature; ``None`` where only its ``form`` tells: it holds a concatenation or a constant, or two
    sums of one value."""
    shared_nodes = _shared_nodes(graph)
    forward = _ForwardPass(shared_nodes)
    # The current run: from where, through what, to where and to which value; then a chain up to ``end``
    start, at, value, codes, has_parameters, end = -1, -1, 0, b"", False, -1
    results: list[_LinkResult] = []
    sums, number = forward.sums, int.from_bytes

    def end_run() -> None:
        if results:
            forward.values[at] = value
            forward.tape.append((at, start, results, -1))
        if codes:
            forward.open_chains[end] = at, codes, has_parameters

    for fragment, inputs, _, base in graph.pieces:
        condensed = condense_block(fragment)
        if condensed is None:
            return None
        link = condensed.link
        if link is None:
            end_run()
            results, codes, end = [], b"", -1
            forward.block(condensed, inputs, base)
            continue
        index = inputs[0]
        if index != end or index in shared_nodes:
            end_run()
            start, codes, has_parameters = forward.take_chain(index)
            at, value, results = start, forward.values[start], []
        link_codes, link_has_parameters, last, is_residual = link
        end = base + last
        if not is_residual:
            codes += link_codes
            has_parameters = has_parameters or link_has_parameters
            continue
        if codes:
            value, jacobian = prf(codes, value)
            results.append((jacobian, value << 127 if has_parameters else -1))
            codes, has_parameters = b"", False
        state = keyed_hash()  # as ``prf``, which half of the time would go into calling
        state.update(link_codes + value.to_bytes(16, "little"))
        both = number(state.digest(), "little")
        inside = both & PRIME
        results.append(((both >> JACOBIAN_SHIFT) + 1, inside << 127 if link_has_parameters else -1))
        value, at = (value + inside) % PRIME, end
        sums.append(value)
    end_run()
    return _backward_signature(graph, forward)


def _backward_signature(graph: Graph, forward: _ForwardPass) -> NetworkSignature | None:
    """The signature once all blocks are passed; ``None`` where two sums have one value."""
    for index in list(forward.open_chains):  # all of them are outputs
        forward.end_chain(index)
    if len(set(forward.sums)) < len(forward.sums):  # one sum grouped in two ways: what reads both may be one operation
        return None
    names = [name for name, _ in graph.outputs] if len(graph.outputs) > 1 else [""]
    adjoints: dict[int, int] = {}
    for name, (_, i) in zip(names, graph.outputs, strict=True):
        adjoints[i] = adjoints.get(i, 0) + output_adjoint(name)
    values = forward.values
    outputs = tuple([(name, values[i]) for name, (_, i) in zip(names, graph.outputs, strict=True)])
    return NetworkSignature(outputs, forward.backpropagate(adjoints))
