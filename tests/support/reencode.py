"""Another writing of the same trainable network: the metamorphic half of the functional hash's tests.

``reencode`` replays a graph through a new builder and, wherever there is more than one way to write the
same thing, takes one at random. Every rule can be switched off by name and counts how often it did something.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from itertools import pairwise
from math import prod
from typing import Any, NamedTuple

from search_spaces.families.mobiledet import MACRO, SKIP, round_to_8
from search_spaces.graph.arguments import same_padding
from search_spaces.graph.builder import Builder, Tensor
from search_spaces.graph.fragment import Node
from search_spaces.graph.graph import Graph
from search_spaces.graph.operations import OPS
from search_spaces.space.genotype import DecisionValue, Genotype
from tests.support.channel_oracle import mixes_parts, passes_parts, response

# name: the row of table 3.3 of the hash's design that it belongs to
RULES: dict[str, str] = {
    "order": "permuted branches",
    "outputs": "permuted branches (the order in which outputs are named)",
    "dead": "unused nodes",
    "identity": "identity chains, skip; 1x1 stride-1 pool",
    "kernel-1": "k=1 => dilation 1",
    "zeros": "zero: none, conv/act/bn/mul of zero, dead paths",
    "sum-order": "sums: commutative",
    "sum-nesting": "sums: associative",
    "sum-sharing": "sums: associative, also where a partial sum has other users",
    "concat-order": "concat order, dense consumer",
    "concat-joint": "concat order, jointly permutable sums of concats",
    "concat-nesting": "concat order: a nested concat is its blocks in order",
    "concat-zeros": "concat with zero channels, read by dense convolutions",
    "concat-zeros-through": "concat with zero channels, read by dense layers through channelwise operations",
    "spelling": "groups=C: depthwise, and padding and axes by another name",
    "folds": "relu(relu), relu6(relu)",
    "twice": "parameter-free duplicates",
    "mul-order": "sums: commutative (the same holds of products)",
}


class Region(NamedTuple):
    """Concatenations along one axis whose blocks may be reordered together, and all that must be reordered with them.

    ``carriers`` work on each channel alone; everything else that reads the region is dense: it mixes all channels
    with weights of its own, whose order does not matter.
    """

    axis: int
    concats: tuple[int, ...]
    carriers: frozenset[int]
    sizes: tuple[int, ...]


def _extents(nodes: Sequence[Node], index: int) -> tuple[int, ...]:
    axis = nodes[index].attrs[0]
    return tuple(nodes[i].shape[axis] for i in nodes[index].inputs)


def regions(nodes: Sequence[Node], outputs: Collection[int]) -> list[Region]:
    """All the regions of a network with these nodes; ``outputs`` are the indices of its outputs."""
    readers: dict[int, list[int]] = {}
    for index, node in enumerate(nodes):
        for i in set(node.inputs):
            readers.setdefault(i, []).append(index)
    region_of: dict[int, Region | None] = {}
    for index, node in enumerate(nodes):
        if node.op == "concat" and index not in region_of:
            region = _grown(nodes, readers, outputs, index)
            for member in region.concats if region else (index,):
                region_of[member] = region
    return [region for index, region in region_of.items() if region and index == region.concats[0]]


def _grown(
    nodes: Sequence[Node], readers: Mapping[int, Sequence[int]], outputs: Collection[int], start: int
) -> Region | None:
    axis, sizes = nodes[start].attrs[0], _extents(nodes, start)
    members, todo = {start}, [start]
    while todo:
        index = todo.pop()
        node = nodes[index]
        connected: list[int] = []
        if index in outputs:
            return None
        if node.op == "concat":
            if node.attrs[0] != axis or _extents(nodes, index) != sizes:
                return None
        elif node.op in ("add", "mul"):
            connected += [i for i in node.inputs if nodes[i].shape[axis] > 1]  # one of extent 1 is for all channels
        elif len(node.inputs) == 1 and passes_parts(node, nodes[node.inputs[0]], axis):
            connected += node.inputs
        else:
            return None
        for reader in readers.get(index, ()):
            if mixes_parts(nodes[reader], node, axis):
                continue
            if nodes[reader].op != "concat":
                connected.append(reader)
                continue
            # A block of a concatenation that may be reordered itself, apart from any other, may be in any order.
            outer = _grown(nodes, readers, outputs, reader) if nodes[reader].attrs[0] == axis else None
            if outer is None or len(outer.concats) > 1:
                return None
        for i in connected:
            if i not in members:
                members.add(i)
                todo.append(i)
    concats = tuple(sorted(i for i in members if nodes[i].op == "concat"))
    return Region(axis, concats, frozenset(members - set(concats)), sizes)


class _Writer:
    def __init__(self, graph: Graph, rng: random.Random, rules: Collection[str], used: Counter[str]) -> None:
        self.graph, self.nodes, self.rng, self.rules, self.used = graph, graph.nodes, rng, rules, used
        self.b = Builder()
        self.writings: dict[int, list[Tensor]] = {}  # the ways in which a node has been written
        self.ends = {i for _, i in graph.outputs}
        self.readers: dict[int, list[int]] = {}
        for index, node in enumerate(self.nodes):
            for i in node.inputs:
                self.readers.setdefault(i, []).append(index)
        self.blocks: dict[int, list[int]] = {}  # concat -> its operands, in the order in which they are written
        self.padded: dict[int, list[tuple[int, int]]] = {}  # concat -> zero blocks: (position, width)
        self.own_order: set[int] = set()  # concats of which each reader may have its own writing
        self._plan_concats()

    def chance(self, rule: str, likely: float = 0.5) -> bool:
        return rule in self.rules and self.rng.random() < likely

    # -- concatenations ----------------------------------------------------------------------------------------

    def _plan_concats(self) -> None:
        for index, node in enumerate(self.nodes):
            if node.op == "concat":
                self.blocks[index] = list(node.inputs)
        for region in regions(self.nodes, self.ends):
            first = region.concats[0]
            rule = "concat-order" if len(region.concats) == 1 else "concat-joint"
            if len(region.concats) == 1:
                self.blocks[first] = self._unnested(first)
            if self.chance(rule, 0.8):
                order = self._shuffled(range(len(self.blocks[first])))
                for c in region.concats:
                    self.blocks[c] = [self.blocks[c][k] for k in order]
                self.used[rule] += order != sorted(order)
                if not region.carriers and len(region.concats) == 1:
                    self.own_order.add(first)
            readers = {i for member in (first, *region.carriers) for i in self.readers[member]}
            if len(region.concats) > 1 or any(self.nodes[i].op == "concat" for i in readers):
                continue
            through = region.carriers or any(self.nodes[i].op == "linear" for i in readers)
            rule = "concat-zeros-through" if through else "concat-zeros"
            if all(self._keeps_zero(self.nodes[i]) for i in region.carriers) and self.chance(rule):
                self.padded[first] = [
                    (self.rng.randrange(len(self.blocks[first]) + 1), self.rng.randint(1, 3))
                    for _ in range(self.rng.randint(1, 2))
                ]
                self.used[rule] += 1
        for index in self.blocks:
            if index not in self.padded and index not in self.own_order and self.chance("concat-nesting"):
                self.blocks[index] = self._unnested(index)

    def _unnested(self, index: int) -> list[int]:
        """The operands of a concatenation, at times those of one that is concatenated again instead of it."""
        blocks: list[int] = []
        for i in self.blocks[index]:
            if self.nodes[i][:2] == self.nodes[index][:2] and self.chance("concat-nesting"):
                blocks += self._unnested(i)
                self.used["concat-nesting"] += 1
            else:
                blocks.append(i)
        return blocks

    def _keeps_zero(self, node: Node) -> bool:
        """Zero channels stay zero and add nothing that could be trained."""
        if len(node.inputs) != 1:
            return False
        operand = self.nodes[node.inputs[0]]
        return response(node, operand, 0).keeps_zero

    def _concat(self, index: int, blocks_in_order: Sequence[int] = ()) -> Tensor:
        (axis,) = self.nodes[index].attrs
        blocks = [self.operand(i) for i in blocks_in_order or self.blocks[index]]
        for position, width in self.padded.get(index, ()):
            shape = list(blocks[0].shape)
            shape[axis] = width
            blocks.insert(position, self.b.zero(shape))
        while len(blocks) > 2 and self.chance("concat-nesting", 0.4):
            start = self.rng.randrange(len(blocks) - 1)
            stop = self.rng.randint(start + 2, len(blocks))
            if stop - start == len(blocks):
                break
            blocks[start:stop] = [self.b.concat(blocks[start:stop], axis)]
            self.used["concat-nesting"] += 1
        if self.chance("spelling"):
            axis -= len(blocks[0].shape)
        return self.b.concat(blocks, axis)

    # -- sums ----------------------------------------------------------------------------------------------------

    def _terms(self, index: int) -> list[int]:
        terms = list(self.nodes[index].inputs)
        for i in list(terms):
            if self.nodes[i].op == "add" and self.chance("sum-sharing"):
                terms.remove(i)
                terms += self._terms(i)
                self.used["sum-sharing"] += 1
        return terms

    def _add(self, index: int) -> Tensor:
        terms = self._terms(index)
        others = [i for i in self.writings if self.nodes[i].op == "add" and i != index]
        self.rng.shuffle(others)
        for i in others:
            partial = Counter(self.nodes[i].inputs)
            if len(partial) < len(terms) and partial <= Counter(terms) and self.chance("sum-sharing"):
                terms = [*(Counter(terms) - partial).elements(), i]
                self.used["sum-sharing"] += 1
        if "sum-order" in self.rules:
            before = list(terms)
            self.rng.shuffle(terms)
            self.used["sum-order"] += terms != before
        tensors = [self.operand(i) for i in terms]
        while self.chance("zeros", 0.3):
            tensors.insert(self.rng.randrange(len(tensors) + 1), self.zero(self.nodes[index].shape))
        while len(tensors) > 2 and self.chance("sum-nesting"):
            inner = [tensors.pop(self.rng.randrange(len(tensors))) for _ in range(self.rng.randint(2, len(tensors)))]
            tensors.append(self.b.add(*inner))
            self.used["sum-nesting"] += 1
        return self.b.add(*tensors)

    def zero(self, shape: tuple[int, ...]) -> Tensor:
        """A tensor of zeros, and a long way to it."""
        b, rng = self.b, self.rng
        self.used["zeros"] += 1
        zero = b.zero(shape)
        alike = [t for ways in self.writings.values() for t in ways if t.shape == shape]
        ways: list[Callable[[], Tensor]] = [
            lambda: zero,
            lambda: b.act(zero, "hswish"),
            lambda: b.scale(b.add(zero, zero), 3.0),
            lambda: b.linear(zero, shape[-1]),
            lambda: b.slice(b.concat([zero, zero], len(shape) - 1), len(shape) - 1, 0, shape[-1]),
            lambda: b.norm(zero, "layer", axis=-1),
        ]
        if 2 <= len(shape) <= 4:
            ways += [lambda: b.conv(zero, shape[0], 3, bias=True), lambda: b.norm(zero), lambda: b.pool(zero, "avg", 3)]
        if alike:
            x = rng.choice(alike)
            ways += [lambda: b.scale(x, 0.0), lambda: b.mul(x, zero), lambda: b.mul(zero, x)]
        return rng.choice(ways)()

    # -- everything else -----------------------------------------------------------------------------------------

    def _shuffled(self, items: Sequence[Any]) -> list[Any]:
        items = list(items)
        self.rng.shuffle(items)
        return items

    def operand(self, index: int) -> Tensor:
        """A node's value, one of its writings, perhaps behind an operation that changes nothing."""
        x = self.rng.choice(self.writings[index])
        return self.unchanged(x) if self.chance("identity", 0.15) else x

    def unchanged(self, x: Tensor) -> Tensor:
        b, rng = self.b, self.rng
        self.used["identity"] += 1
        rank = len(x.shape)
        axis = rng.randrange(rank)
        ways: list[Callable[[], Tensor]] = [
            lambda: b.scale(x, 1),
            lambda: b.act(x, "identity"),
            lambda: b.reshape(x, x.shape),
            lambda: b.permute(x, range(rank)),
            lambda: b.slice(x, axis, 0, x.shape[axis]),
            lambda: b.concat([x], axis),
            lambda: b.add(x),
        ]
        if x.node.op != "reshape":  # a reshape of a reshape is one, so the way back would end elsewhere
            ways.append(lambda: b.reshape(b.reshape(x, (prod(x.shape),)), x.shape))
        if 2 <= rank <= 4:
            ways += [
                lambda: b.pool(x, rng.choice(("max", "avg")), 1, count_padding=rng.random() < 0.5),
                lambda: b.resize(x, x.shape[1:]),
            ]
            if prod(x.shape[1:]) == 1:
                ways.append(lambda: b.global_pool(x, rng.choice(("max", "avg"))))
        return rng.choice(ways)()

    def _conv(self, node: Node, x: Tensor) -> Tensor:
        out_channels, kernel, stride, padding, dilation, groups, bias = node.attrs
        if 1 in kernel and self.chance("kernel-1"):
            dilation = tuple(self.rng.randint(1, 4) if k == 1 else d for k, d in zip(kernel, dilation, strict=True))
            self.used["kernel-1"] += 1
        options: dict[str, Any] = {"dilation": dilation, "padding": padding, "bias": bias}
        if self.chance("spelling"):
            self.used["spelling"] += 1
            for name, numbers in (("kernel", kernel), ("stride", stride)):
                options[name] = numbers[0] if len(set(numbers)) == 1 else list(numbers)
            extents = zip(x.shape[1:], kernel, stride, node.attr("dilation"), strict=True)
            if tuple(same_padding(*extent) for extent in extents) == padding:
                options["padding"] = "same"
            elif len({side for pair in padding for side in pair}) == 1:
                options["padding"] = padding[0][0]
            if groups == out_channels == x.channels:
                return self.b.depthwise(x, **options)
        else:
            options.update(kernel=kernel, stride=stride)
        return self.b.conv(x, out_channels, groups=groups, **options)

    def _act(self, fn: str, x: Tensor) -> Tensor:
        b = self.b
        ways: dict[str, list[Callable[[], Tensor]]] = {
            "relu": [lambda: b.act(b.act(x, "relu"), "relu")],
            "relu6": [
                lambda: b.act(b.act(x, "relu6"), "relu6"),
                lambda: b.act(b.act(x, "relu"), "relu6"),
                lambda: b.act(b.act(x, "relu6"), "relu"),
            ],
        }
        if fn in ways and self.chance("folds"):
            self.used["folds"] += 1
            return self.rng.choice(ways[fn])()
        return b.act(x, fn)

    def write(self, index: int) -> Tensor:
        node = self.nodes[index]
        if node.op == "concat":
            return self._concat(index)
        if node.op == "add":
            return self._add(index)
        if node.op == "zero":
            return self.zero(node.shape) if self.chance("zeros") else self.b.zero(node.shape)
        if node.op == "input":
            return self.b.input(node.shape)
        operands = [self.operand(i) for i in node.inputs]
        if node.op in ("conv", "linear") and node.inputs[0] in self.own_order and self.chance("concat-order"):
            operands = [self._concat(node.inputs[0], self._shuffled(self.blocks[node.inputs[0]]))]
        if node.op == "conv":
            return self._conv(node, operands[0])
        if node.op == "act":
            return self._act(node.attrs[0], operands[0])
        if node.op == "mul" and self.chance("mul-order"):
            operands.reverse()
            self.used["mul-order"] += 1
        tensor: Tensor = getattr(self.b, node.op)(*operands, **dict(zip(OPS[node.op].attrs, node.attrs, strict=True)))
        return tensor

    def dead(self) -> None:
        """Something that nobody reads."""
        b, rng = self.b, self.rng
        x = rng.choice(rng.choice(list(self.writings.values())))
        self.used["dead"] += 1
        ways: list[Callable[[], Tensor]] = [
            lambda: b.linear(x, rng.randint(1, 5)),
            lambda: b.act(b.linear(b.act(x, "relu"), x.shape[-1]), "relu"),
            lambda: b.act(b.add(x, x), rng.choice(("relu", "relu6", "tanh"))),
            lambda: b.concat([x, x], rng.randrange(len(x.shape))),
            lambda: b.norm(x, "layer", axis=-1),
            lambda: b.scale(x, 0.5),
        ]
        if 2 <= len(x.shape) <= 4:
            ways += [lambda: b.norm(b.conv(x, rng.randint(1, 5), rng.choice((1, 3)))), lambda: b.pool(x, "max", 3)]
        rng.choice(ways)()

    def graph_again(self) -> Graph:
        waiting = {index: len(set(node.inputs)) for index, node in enumerate(self.nodes)}
        inputs = [index for index, node in enumerate(self.nodes) if node.op == "input"]
        for before, after in pairwise(inputs):  # inputs are identified by their order
            waiting[after] += 1
            self.readers[before] = [*self.readers.get(before, ()), after]
        ready = [index for index, count in waiting.items() if not count]
        written: list[int] = []
        while ready:
            index = ready.pop(self.rng.randrange(len(ready))) if "order" in self.rules else min(ready)
            if index in ready:
                ready.remove(index)
            written.append(index)
            node = self.nodes[index]
            self.writings[index] = [self.write(index)]
            if OPS[node.op].parameters is None and node.op != "input" and self.chance("twice", 0.3):
                self.writings[index].append(self.write(index))
                self.used["twice"] += 1
            if self.chance("dead", 0.1):
                self.dead()
            for reader in set(self.readers.get(index, ())):
                waiting[reader] -= 1
                if not waiting[reader]:
                    ready.append(reader)
        self.used["order"] += written != sorted(written)
        outputs = list(self.graph.outputs)
        if "outputs" in self.rules:
            self.rng.shuffle(outputs)
            self.used["outputs"] += outputs != list(self.graph.outputs)
        return self.b.build({name: self.operand(i) for name, i in outputs})


def reencode(
    graph: Graph, rng: random.Random, rules: Collection[str] = tuple(RULES), used: Counter[str] | None = None
) -> Graph:
    """Another writing of the same trainable network, by the given rules; ``used`` counts where each did something."""
    return _Writer(graph, rng, rules, Counter() if used is None else used).graph_again()


def reencode_mobiledet(genotype: Mapping[str, DecisionValue], rng: random.Random, width: float = 1.0) -> Genotype:
    """Another genotype of the same MobileDet.

    Skipped layers behind a block's first may stand anywhere among them; a fused layer of the first block is its
    projection alone, so its kernel says nothing; ratios of a Tucker convolution that round to one rank are one.
    """

    def scaled(name: str) -> int:
        value: Any = genotype[name]
        return int(value) if width == 1 else round_to_8(value * width)

    decisions = dict(genotype)
    channels = scaled("stem.width")
    for number, (_, layers) in enumerate(MACRO, start=1):
        names = [f"block{number}.layer{layer}" for layer in range(layers)]
        out_channels = scaled(f"block{number}.width")
        later = [genotype[name] for name in names[1:]]
        kept_ops = iter([op for op in later if op != SKIP])
        is_kept = [op != SKIP for op in later]
        rng.shuffle(is_kept)
        ops = [genotype[names[0]], *(next(kept_ops) if kept else SKIP for kept in is_kept)]
        for layer, op in enumerate(ops):
            kind, *fields = str(op).split("_")
            if kind == "fused" and fields[1] == "e1":
                ops[layer] = rng.choice(("fused_k3_e1", "fused_k5_e1"))
            elif kind == "tucker":
                sizes = (channels if layer == 0 else out_channels, out_channels)
                ratios = [
                    rng.choice([r for r in (0.25, 0.75) if round_to_8(r * size) == round_to_8(float(field[1:]) * size)])
                    for field, size in zip(fields[1:], sizes, strict=True)
                ]
                ops[layer] = f"tucker_k3_i{ratios[0]}_o{ratios[1]}"
        decisions.update(zip(names, ops, strict=True))
        channels = out_channels
    return Genotype(decisions)
