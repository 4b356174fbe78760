"""What a network looks like from each of its operations, in one pass forward and one back, chains taken as one.

A maximal chain of unary operations (each the only reader of the one before) is one application of the keyed hash to
the codes of its operations: a MobileDet of 250 operations has some 50 chains. What is inside a chain follows from its
two ends, so nothing is lost. The chains of a block are found once; across the borders of blocks they are joined.

Networks with concatenations or constants do not take this way; ``form`` has them.
"""

from __future__ import annotations

from typing import NamedTuple

from nas.hashing.field import P, code, output_adjoint, prf
from search_spaces.graph import Fragment, Graph, remember

_FACTOR = code("factor")
_SIDES = (code("operand", 0), code("operand", 1))


class View(NamedTuple):
    """What the outputs compute, by name, and (value, adjoint) of every chain that has parameters."""

    outputs: tuple[tuple[str, int], ...]
    instances: list[tuple[int, int]]


# A step is (operation, operands, end, codes, has parameters, leaves): of a chain, the operation is "" and it may go on
# behind the block where it leaves, that is, ends in an output that nothing inside reads. Places are those of the
# fragment's nodes, its operands -1, -2 and so on.
_Step = tuple[str, tuple[int, ...], int, bytes, bool, bool]


class _Program(NamedTuple):
    """A block condensed; ``reads`` says how often it reads each operand, ``own`` each of its own outputs."""

    steps: tuple[_Step, ...]
    reads: tuple[int, ...]
    own: tuple[tuple[int, int], ...]


_PROGRAMS: dict[Fragment, _Program | None] = {}


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
    return _Program(
        tuple(steps.values()),
        tuple([reads.get(-k - 1, 0) for k in range(len(fragment.input_shapes))]),
        tuple([(o, reads[o]) for o in fragment.outputs if o in reads]),
    )


def view(graph: Graph) -> View | None:
    """The network's view; ``None`` where it has to go another way."""
    programs = []
    reads: dict[int, int] = {}
    for fragment, inputs, _, base in graph.pieces:
        try:
            program = _PROGRAMS[fragment]
        except KeyError:
            program = _program(fragment)
            remember(_PROGRAMS, fragment, program)
        if program is None:
            return None
        programs.append(program)
        for i, count in zip(inputs, program.reads, strict=True):
            reads[i] = reads.get(i, 0) + count
        for o, count in program.own:
            reads[base + o] = reads.get(base + o, 0) + count
    for _, i in graph.outputs:
        reads[i] = reads.get(i, 0) + 2  # an output is an end, whoever else reads it

    values: dict[int, int] = {}
    waiting: dict[int, tuple[int, bytes, bool]] = {}  # chains that may go on: source, codes, has parameters
    # (end, operand, Jacobian, has parameters) of a chain, (end, operands, 0, False) of a sum
    tape: list[tuple[int, int | tuple[int, ...], int, bool]] = []
    sums = []
    inner = -1  # places of the factors of products, which are no nodes
    entered = 0

    def settle(place: int) -> int:
        """The value at a place where a chain waits, which ends here."""
        source, codes, parametric = waiting.pop(place)
        value, jacobian = prf(codes, values[source])
        values[place] = value
        tape.append((place, source, jacobian, parametric))
        return value

    for (_, inputs, _, base), (steps, _, _) in zip(graph.pieces, programs, strict=True):
        for op, operands, end, codes, parametric, leaves in steps:
            end += base
            if not op:
                source = operands[0]
                source = base + source if source >= 0 else inputs[-source - 1]
                if source in waiting:
                    if reads[source] == 1:
                        source, before, had = waiting.pop(source)
                        codes, parametric = before + codes, had or parametric
                    else:
                        settle(source)
                if leaves and reads[end] == 1:
                    waiting[end] = (source, codes, parametric)
                else:
                    value, jacobian = prf(codes, values[source])
                    values[end] = value
                    tape.append((end, source, jacobian, parametric))
                continue
            places = tuple([base + i if i >= 0 else inputs[-i - 1] for i in operands])
            if op == "add":
                total = 0
                for place in places:
                    total += values[place] if place in values else settle(place)
                total %= P
                values[end] = total
                sums.append(total)
                tape.append((end, places, 0, False))
            elif op == "input":
                values[end] = prf(code("input", entered, codes), 0)[0]
                entered += 1
            else:
                total = 0
                factors = []
                for side, place in enumerate(places):
                    read = values[place] if place in values else settle(place)
                    value, jacobian = prf(_FACTOR if op == "mul" else _SIDES[side], read)
                    tape.append((inner, place, jacobian, False))
                    factors.append(inner)
                    inner -= 1
                    total += value
                values[inner], jacobian = prf(code(op), total % P)
                values[end] = values[inner]
                tape.append((inner, tuple(factors), 0, False))
                tape.append((end, inner, jacobian, False))
                inner -= 1

    if len(set(sums)) < len(sums):  # one sum grouped in two ways: what reads both may be one operation
        return None
    adjoints: dict[int, int] = {}
    outputs = []
    for name, i in graph.outputs:
        name = name if len(graph.outputs) > 1 else ""
        outputs.append((name, values[i] if i in values else settle(i)))
        adjoints[i] = adjoints.get(i, 0) + output_adjoint(name)
    instances = []
    adjoint_of = adjoints.get
    for end, read_s, jacobian, parametric in reversed(tape):
        adjoint = adjoint_of(end, 0)
        if type(read_s) is int:
            adjoint %= P
            if parametric:
                instances.append((values[end], adjoint))
            adjoints[read_s] = adjoint_of(read_s, 0) + adjoint * jacobian
        else:
            for place in read_s:  # type: ignore[union-attr]
                adjoints[place] = adjoint_of(place, 0) + adjoint
    return View(tuple(outputs), instances)
