"""What a network looks like from each of its operations, in one pass forward and one back, chains taken as one.

A maximal chain of unary operations (each the only reader of the one before) is one application of the keyed hash to
the codes of its operations: a MobileDet of 250 operations has some 40 chains. What is inside a chain follows from its
two ends, so nothing is lost. The chains of a block are found once; across the borders of blocks they are joined.

Blocks that are a chain, or a chain and a sum with what it reads, are links: they follow each other in *runs*, which
need no bookkeeping but at their ends.

Networks with concatenations or constants do not take this way; ``form`` has them.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any, NamedTuple

from nas.hashing.prime_field import JACOBIAN_SHIFT, P, code, keyed, output_adjoint, prf
from search_spaces.graph.fragment import Fragment
from search_spaces.graph.graph import Graph
from search_spaces.graph.memo import recall

_FACTOR = code("factor")
_SIDES = (code("operand", 0), code("operand", 1))


class View(NamedTuple):
    """What the outputs compute, by name, and every chain that has parameters as ``value << 127 | adjoint``."""

    outputs: tuple[tuple[str, int], ...]
    looks: list[int]

    @property
    def instances(self) -> list[tuple[int, int]]:
        """(value, adjoint) of every chain that has parameters."""
        return [(look >> 127, look & P) for look in self.looks]


# A step is (operation, operands, end, codes, has parameters, leaves): of a chain, the operation is "" and it may go on
# behind the block where it leaves, that is, ends in an output that nothing inside reads. Places are those of the
# fragment's nodes, its operands -1, -2 and so on.
_Step = tuple[str, tuple[int, ...], int, bytes, bool, bool]


class _Program(NamedTuple):
    """A block condensed; ``reads`` says how often it reads each operand.

    ``link``: (codes, has parameters, end, whether its operand is added) of a block that is one chain.
    """

    steps: tuple[_Step, ...]
    reads: tuple[int, ...]
    link: tuple[bytes, bool, int, bool] | None


_PROGRAMS: dict[Fragment, _Program | None] = {}


def program_of(fragment: Fragment) -> _Program | None:
    """A block condensed; ``None`` where it holds a concatenation or a constant."""
    return recall(_PROGRAMS, fragment, _program)


def _program(fragment: Fragment) -> _Program | None:
    reads: dict[int, int] = {}
    for node in fragment.nodes:
        if node.op in ("concat", "zero"):
            return None
        for i in node.inputs:
            reads[i] = reads.get(i, 0) + 1
    outputs = set(fragment.outputs)
    steps: dict[int, _Step] = {}
    source: tuple[int, ...]
    for place, node in enumerate(fragment.nodes):
        if len(node.inputs) != 1:
            text = repr(node.attrs).encode() if node.op == "input" else b""
            steps[place] = (node.op, node.inputs, place, text, False, False)
            continue
        source, codes, parametric = node.inputs, code(node.op, node.attrs), fragment.node_figures()[place].params > 0
        (i,) = source
        if i >= 0 and not steps[i][0] and reads[i] == 1 and i not in outputs:
            _, source, _, before, had, _ = steps.pop(i)
            codes, parametric = before + codes, had or parametric
        steps[place] = ("", source, place, codes, parametric, place in outputs and place not in reads)
    condensed = tuple(steps.values())
    link = _link(condensed) if len(fragment.outputs) == len(fragment.input_shapes) == 1 else None
    return _Program(condensed, tuple([reads.get(-k - 1, 0) for k in range(len(fragment.input_shapes))]), link)


def _link(steps: tuple[_Step, ...]) -> tuple[bytes, bool, int, bool] | None:
    """The chain of a block with one operand and one output, if it is no more than that."""
    op, source, end, codes, parametric, leaves = steps[0]
    if op or source != (-1,):
        return None
    if len(steps) == 1:
        return (codes, parametric, end, False) if leaves else None
    adds, terms, last, _, _, _ = steps[1]
    residual = len(steps) == 2 and adds == "add" and sorted(terms) == [-1, end] and not leaves
    return (codes, parametric, last, True) if residual else None


# What a link gives on the value that it reads: the factor that adjoints take on the way back, and the chain's own
# value << 127, or -1 without parameters.
_Result = tuple[int, int]


class _Walk:
    """The way forward through a network: values by place, and the tape that the way back reads.

    ``waiting`` holds chains that may go on: where they started, codes, whether they have parameters. The tape holds
    (end, start, results, -1) of a run, (end, start, factor, the chain's own value << 127 or -1) of a chain alone, and
    (end, terms, None, -1) of a sum.
    """

    def __init__(self, taps: set[int]) -> None:
        self.taps = taps  # places that several read
        self.values: dict[int, int] = {}
        self.tape: list[tuple[int, Any, Any, int]] = []
        self.sums: list[int] = []
        self.waiting: dict[int, tuple[int, bytes, bool]] = {}
        self._entered = 0
        self._inner = -1  # places of the factors of products, which are no nodes

    def joined(self, place: int, alone: bool = True) -> tuple[int, bytes, bool]:
        """The chain that an only reader of a place goes on with; an empty one from there where there is none."""
        if place in self.waiting:
            if alone and place not in self.taps:
                return self.waiting.pop(place)
            self.settle(place)
        return place, b"", False

    def settle(self, place: int) -> None:
        """Where a chain waits, it ends."""
        start, codes, parametric = self.waiting.pop(place)
        self.chain(place, start, codes, parametric)

    def chain(self, end: int, start: int, codes: bytes, parametric: bool) -> None:
        """A chain between two places."""
        own, jacobian = prf(codes, self.values[start])
        self.values[end] = own
        self.tape.append((end, start, jacobian, own << 127 if parametric else -1))

    def block(self, program: _Program, inputs: tuple[int, ...], base: int) -> None:
        """Go through a block that is no link."""
        taps, values, waiting, tape, number = self.taps, self.values, self.waiting, self.tape, int.from_bytes
        for op, operands, end, codes, parametric, leaves in program.steps:
            end += base
            if not op:
                start = operands[0]
                if start >= 0:
                    start += base
                else:
                    place = inputs[-start - 1]
                    start = place
                    if place in waiting:
                        start, before, had = self.joined(place, program.reads[-operands[0] - 1] == 1)
                        codes, parametric = before + codes, had or parametric
                if leaves and end not in taps:
                    waiting[end] = start, codes, parametric
                    continue
                state = keyed()  # as ``chain``, which this calls most often
                state.update(codes + values[start].to_bytes(16, "little"))
                both = number(state.digest(), "little")
                values[end] = own = both & P
                tape.append((end, start, both >> JACOBIAN_SHIFT, own << 127 if parametric else -1))
                continue
            places = tuple([base + i if i >= 0 else inputs[-i - 1] for i in operands])
            for place in places:
                if place in self.waiting:
                    self.settle(place)
            if op == "add":
                self.values[end] = total = sum([self.values[place] for place in places]) % P
                self.sums.append(total)
                self.tape.append((end, places, None, -1))
            elif op == "input":
                self.values[end] = prf(code("input", self._entered, codes), 0)[0]
                self._entered += 1
            else:
                self._product(op, places, end)

    def _product(self, op: str, places: tuple[int, ...], end: int) -> None:
        factors = []
        for side, place in enumerate(places):
            self.chain(self._inner, place, _FACTOR if op == "mul" else _SIDES[side], False)
            factors.append(self._inner)
            self._inner -= 1
        self.values[self._inner] = sum([self.values[factor] for factor in factors]) % P
        self.tape.append((self._inner, factors, None, -1))
        self.chain(end, self._inner, code(op), False)
        self._inner -= 1

    def back(self, adjoints: dict[int, int]) -> list[int]:
        """The looks of a view, from the adjoints of the outputs."""
        looks: list[int] = []
        for end, start, factor, own in reversed(self.tape):
            adjoint = adjoints.get(end, 0) % P
            if factor is None:
                for place in start:
                    adjoints[place] = adjoints.get(place, 0) + adjoint
                continue
            if own >= 0:
                looks.append(own | adjoint)
            if type(factor) is list:
                for passed, each in reversed(factor):
                    if each >= 0:
                        looks.append(each | adjoint)
                    adjoint = adjoint * passed % P
                factor = 1
            adjoints[start] = adjoints.get(start, 0) + adjoint * factor
        return looks


def _taps(graph: Graph) -> set[int]:
    """Places that more than one block or output reads, and all outputs: there, chains end."""
    reads = sorted([i for _, inputs, _, _ in graph.pieces for i in inputs])
    return {i for _, i in graph.outputs}.union([i for i, following in pairwise(reads) if i == following])


def view(graph: Graph) -> View | None:
    """The network's view; ``None`` where it has to go another way."""
    taps = _taps(graph)
    walk = _Walk(taps)
    # The run at hand: from where, through what, to where and to which value; then a chain up to ``end``
    start, at, value, codes, parametric, end = -1, -1, 0, b"", False, -1
    results: list[_Result] = []
    sums, number = walk.sums, int.from_bytes

    def leave() -> None:
        if results:
            walk.values[at] = value
            walk.tape.append((at, start, results, -1))
        if codes:
            walk.waiting[end] = at, codes, parametric

    for fragment, inputs, _, base in graph.pieces:
        program = program_of(fragment)
        if program is None:
            return None
        link = program.link
        if link is None:
            leave()
            results, codes, end = [], b"", -1
            walk.block(program, inputs, base)
            continue
        place = inputs[0]
        if place != end or place in taps:
            leave()
            start, codes, parametric = walk.joined(place)
            at, value, results = start, walk.values[start], []
        own, has_parameters, last, residual = link
        end = base + last
        if not residual:
            codes += own
            parametric = parametric or has_parameters
            continue
        if codes:
            value, jacobian = prf(codes, value)
            results.append((jacobian, value << 127 if parametric else -1))
            codes, parametric = b"", False
        state = keyed()  # as ``prf``, which half of the time would go into calling
        state.update(own + value.to_bytes(16, "little"))
        both = number(state.digest(), "little")
        inside = both & P
        results.append(((both >> JACOBIAN_SHIFT) + 1, inside << 127 if has_parameters else -1))
        value, at = (value + inside) % P, end
        sums.append(value)
    leave()
    for place in list(walk.waiting):  # all of them are outputs
        walk.settle(place)
    if len(set(walk.sums)) < len(walk.sums):  # one sum grouped in two ways: what reads both may be one operation
        return None
    names = [name for name, _ in graph.outputs] if len(graph.outputs) > 1 else [""]
    adjoints: dict[int, int] = {}
    for name, (_, i) in zip(names, graph.outputs, strict=True):
        adjoints[i] = adjoints.get(i, 0) + output_adjoint(name)
    values = walk.values
    outputs = tuple([(name, values[i]) for name, (_, i) in zip(names, graph.outputs, strict=True)])
    return View(outputs, walk.back(adjoints))
