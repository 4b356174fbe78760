"""Positions of a picture's boxes: a row for every map size, so that a feature pyramid looks like one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import ceil, prod

from nas.report.network_picture.blocks import PictureBlock

_MAX_BOXES_PER_LINE = 10  # boxes in a line of a chain
_MAX_PASSES = 6  # more turns between map sizes than a pyramid has are drawn as plain lines


@dataclass(frozen=True)
class PictureLayout:
    """A grid of boxes: ``cells`` are (column, line) of every block, ``rows`` (map size, first line, lines)."""

    cells: tuple[tuple[int, int], ...]
    rows: tuple[tuple[str, int, int], ...]

    @property
    def columns(self) -> int:
        return 1 + max(column for column, _ in self.cells)

    @property
    def lines(self) -> int:
        return sum(lines for _, _, lines in self.rows)


def layout_blocks(blocks: Sequence[PictureBlock]) -> PictureLayout:
    """A row for every map size, largest first; ways down and up the sizes side by side, long rows in several lines."""
    sizes = _sizes(blocks)
    order = [index for index, block in enumerate(blocks) if block.kind not in ("head", "input")]
    passes = _passes(blocks, order, sizes)
    if max(passes.values(), default=0) >= _MAX_PASSES:
        sizes, passes = ["" for _ in blocks], dict.fromkeys(passes, 0)
    for index, block in enumerate(blocks):
        if index not in passes:  # inputs, and heads behind what they read
            passes[index] = max([passes[i] for i in block.inputs], default=0)
    segments: dict[tuple[str, int], list[int]] = {}
    for index in sorted(passes):
        segments.setdefault((sizes[index], passes[index]), []).append(index)
    turns = 1 + max(passes.values())
    longest = 7 if turns > 1 else _MAX_BOXES_PER_LINE
    if len(blocks) > 200:
        longest = 2 * longest
    names = sorted(dict.fromkeys(sizes), key=lambda name: -_area(name))
    widths = [
        max([min(len(s), longest) for (_, p), s in segments.items() if p == turn], default=0) for turn in range(turns)
    ]
    starts = _first_columns(segments, widths)
    cells: dict[int, tuple[int, int]] = {}
    rows = []
    line = 0
    for name in names:
        row_segments = {turn: members for (size, turn), members in segments.items() if size == name}
        line_count = max(ceil(len(members) / widths[turn]) for turn, members in row_segments.items())
        for turn, members in row_segments.items():
            for k, index in enumerate(members):
                cells[index] = (starts[turn] + k % widths[turn], line + k // widths[turn])
        rows.append((name, line, line_count))
        line += line_count
    return PictureLayout(tuple(cells[index] for index in range(len(blocks))), tuple(rows))


def _first_columns(segments: dict[tuple[str, int], list[int]], widths: Sequence[int]) -> list[int]:
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


def _sizes(blocks: Sequence[PictureBlock]) -> list[str]:
    """The map that every block is drawn beside: its own; a head's and an input's is that of the block next to it."""
    sizes = ["x".join(map(str, block.shape[1:])) or "vector" for block in blocks]
    for index in range(len(blocks) - 1, -1, -1):
        if blocks[index].kind == "input":
            readers = [k for k, block in enumerate(blocks) if index in block.inputs]
            sizes[index] = sizes[readers[0]] if readers else sizes[index]
    for index, block in enumerate(blocks):
        if block.kind == "head" and block.inputs:
            sizes[index] = sizes[block.inputs[-1]]
    return sizes


def _area(size: str) -> int:
    return prod(int(part) for part in size.split("x")) if size and size != "vector" else 0


def _passes(blocks: Sequence[PictureBlock], order: Sequence[int], sizes: Sequence[str]) -> dict[int, int]:
    """How often the way to every block turned between smaller and larger maps."""
    passes = dict.fromkeys(order[:1], 0)
    turn, rising = 0, False
    for before, index in pairwise(order):
        change = _area(sizes[index]) - _area(sizes[before])
        if change and (change > 0) != rising:
            turn, rising = turn + 1, not rising
        passes[index] = turn
    return passes
