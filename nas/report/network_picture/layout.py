"""Where a picture's boxes stand: a row for every map size, so that a pyramid of features looks like one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import ceil, prod

from nas.report.network_picture.blocks import Block

_LONGEST_LINE = 10  # boxes in a line of a chain
_MOST_PASSES = 6  # more turns between map sizes than a pyramid has are drawn as plain lines


@dataclass(frozen=True)
class Layout:
    """Where the boxes are: ``cells`` are (column, line) of every block, ``rows`` (map size, first line, lines)."""

    cells: tuple[tuple[int, int], ...]
    rows: tuple[tuple[str, int, int], ...]

    @property
    def columns(self) -> int:
        return 1 + max(column for column, _ in self.cells)

    @property
    def lines(self) -> int:
        return sum(lines for _, _, lines in self.rows)


def lay_out(blocks: Sequence[Block]) -> Layout:
    """A row for every map size, largest first; ways down and up the sizes side by side, long rows in several lines."""
    sizes = _sizes(blocks)
    order = [place for place, block in enumerate(blocks) if block.kind not in ("head", "input")]
    passes = _passes(blocks, order, sizes)
    if max(passes.values(), default=0) >= _MOST_PASSES:
        sizes, passes = ["" for _ in blocks], dict.fromkeys(passes, 0)
    for place, block in enumerate(blocks):
        if place not in passes:  # inputs, and heads behind what they read
            passes[place] = max([passes[i] for i in block.inputs], default=0)
    segments: dict[tuple[str, int], list[int]] = {}
    for place in sorted(passes):
        segments.setdefault((sizes[place], passes[place]), []).append(place)
    turns = 1 + max(passes.values())
    longest = 7 if turns > 1 else _LONGEST_LINE
    if len(blocks) > 200:
        longest = 2 * longest
    names = sorted(dict.fromkeys(sizes), key=lambda name: -_area(name))
    widths = [
        max([min(len(s), longest) for (_, p), s in segments.items() if p == turn], default=0) for turn in range(turns)
    ]
    starts = _starts(segments, widths)
    cells: dict[int, tuple[int, int]] = {}
    rows = []
    line = 0
    for name in names:
        here = {turn: members for (size, turn), members in segments.items() if size == name}
        deep = max(ceil(len(members) / widths[turn]) for turn, members in here.items())
        for turn, members in here.items():
            for k, place in enumerate(members):
                cells[place] = (starts[turn] + k % widths[turn], line + k // widths[turn])
        rows.append((name, line, deep))
        line += deep
    return Layout(tuple(cells[place] for place in range(len(blocks))), tuple(rows))


def _starts(segments: dict[tuple[str, int], list[int]], widths: Sequence[int]) -> list[int]:
    """The first column of every pass: right of the earlier passes in its own rows."""
    starts = [0]
    for turn in range(1, len(widths)):
        own = {size for size, other in segments if other == turn}
        ends = [
            starts[other] + min(len(members), widths[other])
            for (size, other), members in segments.items()
            if other < turn and size in own
        ]
        starts.append(max([starts[-1] + 1, *ends]))
    return starts


def _sizes(blocks: Sequence[Block]) -> list[str]:
    """The map that every block is drawn beside: its own; a head's and an input's is that of the block next to it."""
    sizes = ["x".join(map(str, block.shape[1:])) or "vector" for block in blocks]
    for place in range(len(blocks) - 1, -1, -1):
        if blocks[place].kind == "input":
            readers = [k for k, block in enumerate(blocks) if place in block.inputs]
            sizes[place] = sizes[readers[0]] if readers else sizes[place]
    for place, block in enumerate(blocks):
        if block.kind == "head" and block.inputs:
            sizes[place] = sizes[block.inputs[-1]]
    return sizes


def _area(size: str) -> int:
    return prod(int(part) for part in size.split("x")) if size and size != "vector" else 0


def _passes(blocks: Sequence[Block], order: Sequence[int], sizes: Sequence[str]) -> dict[int, int]:
    """How often the way to every block turned between smaller and larger maps."""
    passes = dict.fromkeys(order[:1], 0)
    turn, rising = 0, False
    for before, place in pairwise(order):
        change = _area(sizes[place]) - _area(sizes[before])
        if change and (change > 0) != rising:
            turn, rising = turn + 1, not rising
        passes[place] = turn
    return passes
