"""Random networks of all kinds, and small MobileDets."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence

from search_spaces.catalog import load_space
from search_spaces.graph.builder import Builder, Tensor
from search_spaces.graph.graph import Graph
from search_spaces.graph.operations import OPS
from search_spaces.space.space import Space
from tests.support.random_programs import IMAGE, KINDS, Program, run


def random_program(rng: random.Random, kinds: Sequence[str] = KINDS) -> Program:
    """As ``random_programs.programs`` without calls, and a hundred times as fast."""
    steps = tuple(
        (rng.choice(kinds), rng.randrange(12), rng.randrange(12), rng.randrange(12)) for _ in range(rng.randint(2, 16))
    )
    return steps, tuple(rng.randrange(12) for _ in range(rng.randint(1, 3)))


def random_concatenations(rng: random.Random) -> Graph:
    """Concatenated branches, normalised, convolved channel by channel, added to others, and read by layers."""
    b = Builder()
    x = b.input(IMAGE)
    widths = [rng.choice((2, 2, 3)) for _ in range(rng.randint(2, 4))]
    pieces = {w: [b.conv(x, w, rng.choice((1, 1, 3))) for _ in range(3)] for w in sorted(set(widths))}
    wide = [b.concat([rng.choice(pieces[w]) for w in widths]) for _ in range(rng.randint(1, 3))]
    results: list[Tensor] = []
    for _ in range(rng.randint(2, 6)):
        y = rng.choice(wide)
        kind = rng.choice(("norm", "act", "depthwise", "pool", "add", "mul", "gate", "outer", "scale"))
        if kind == "norm":
            y = b.norm(y)
        elif kind == "act":
            y = b.act(y, rng.choice(("relu", "relu6", "sigmoid")))
        elif kind == "depthwise":
            y = b.depthwise(y, rng.choice((1, 3)), bias=rng.random() < 0.5)
        elif kind == "pool":
            y = b.pool(y, rng.choice(("max", "avg")), 3)
        elif kind in ("add", "mul"):
            y = b.add(y, rng.choice(wide)) if kind == "add" else b.mul(y, rng.choice(wide))
        elif kind == "gate":
            y = b.mul(y, b.act(b.conv(y, 1), "sigmoid"))
        elif kind == "outer":
            narrow = rng.choice(pieces[widths[0]])
            results.append(b.conv(b.concat([y, narrow] if rng.random() < 0.5 else [narrow, y]), 2))
        else:
            y = b.scale(y, 0.5)
        wide.append(y)
    for y in wide:
        kind = rng.choice(("dense", "dense", "dense", "grouped", "linear", "none", "none"))
        if kind == "dense":
            results.append(b.conv(y, 2, rng.choice((1, 3))))
        elif kind == "grouped" and rng.random() < 0.3:
            results.append(b.conv(y, y.channels * 2, groups=y.channels))
        elif kind == "linear":
            pooled = b.concat([b.reshape(b.global_pool(t), (t.channels,)) for t in rng.sample(wide, 2)])
            results.append(b.linear(pooled, 2))
    results = results or [b.conv(wide[-1], 2)]
    same = [t for t in results if t.shape == results[0].shape]
    return b.build({"sum": b.add(*same), "last": results[-1]})


TINY = {"image_size": 64, "num_classes": 3}


def small_mobiledets() -> list[Space]:
    """Small ones with the published choices; and thin ones, where ratios and widths often round to the same."""
    space = load_space("mobiledet")
    return [
        space.with_options(**TINY),
        space.with_options(**TINY, target="cpu"),
        space.with_options(**TINY, width=0.2, task="classify"),
    ]


_SUMS = ["conv1", "act", "add", "add", "add", "add3", "add3", "mul", "concat", "zero", "norm", "conv_any"]


def random_graph(number: int, rng: random.Random) -> Graph:
    """All kinds of networks in turn."""
    if number % 3 == 0:
        return run(random_program(rng))
    return run(random_program(rng, _SUMS)) if number % 3 == 1 else random_concatenations(rng)


def parameter_shapes(graph: Graph) -> Counter[tuple[str, tuple[int, ...]]]:
    """How many parameters of each operation and shape a network has."""
    shapes: Counter[tuple[str, tuple[int, ...]]] = Counter()
    for node in graph.nodes:
        rule = OPS[node.op].parameters
        if rule:
            shapes.update(
                (node.op, shape) for _, shape in rule(tuple(graph.nodes[i].shape for i in node.inputs), node.attrs)
            )
    return shapes
