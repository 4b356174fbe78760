"""A network as a picture: blocks as boxes, a row for every map size, connections as lines, MACs as bars."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import replace
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nas.report.network_picture.blocks import PictureBlock, inner_blocks, network_blocks
from nas.report.network_picture.layout import PictureLayout, layout_blocks
from search_spaces.graph.graph import Graph

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PICTURE_FORMATS = (".png", ".svg", ".pdf")
# Colour and words of every kind, in the order of the legend
BLOCK_STYLES: dict[str, tuple[str, str]] = {
    "input": ("#ffffff", "input"),
    "stem": ("#d9d9d9", "stem"),
    "conv": ("#bdbdbd", "convolution"),
    "separable": ("#c7e9c0", "separable convolution"),
    "inverted": ("#9ecae1", "inverted bottleneck"),
    "ffn": ("#c6dbef", "1x1 pair"),
    "fused": ("#fdae6b", "fused bottleneck"),
    "bottleneck": ("#fdd0a2", "bottleneck (narrow inside, Tucker)"),
    "basic": ("#fee391", "residual block"),
    "attention": ("#bcbddc", "attention"),
    "cell": ("#a8ddb5", "cell with branches"),
    "dense": ("#ccebc5", "dense layer"),
    "pool": ("#e7e1ef", "pooling"),
    "join": ("#fde0dd", "join"),
    "head": ("#fa9fb5", "head"),
    "other": ("#f7f7f7", "other"),
}
_LINE_COLOURS = ("#d62728", "#1f77b4", "#2ca02c", "#9467bd", "#8c564b", "#e377c2", "#17becf", "#bcbd22")
# Inches: a box, what lies between boxes and between lines of boxes, and room for the row's words
_BOX_WIDTH, _BOX_HEIGHT, _COLUMN_GAP, _LINE_GAP, _MARGIN = 1.0, 0.74, 0.34, 0.46, 1.15
_TITLE_WIDTH = 18  # characters in a line of a box


def draw_graph(graph: Graph, path: str | Path, title: str = "") -> Path:
    """Draw a network into a PNG, SVG or PDF file; equal graphs and titles give equal PNG and SVG files.

    Raises ``ValueError`` for another kind of file. The figures written are those of ``Graph``; bars and percentages
    are fractions of its multiply-adds.
    """
    import matplotlib

    path = Path(path)
    if path.suffix.lower() not in PICTURE_FORMATS:
        raise ValueError(f"cannot draw {str(path)!r}: name a file that ends in {', '.join(PICTURE_FORMATS)}")
    blocks = network_blocks(graph)
    layout = layout_blocks(blocks)
    if layout.rows[0][0] == "":  # rows that are not of one map size: each box says its own
        blocks = tuple(replace(b, lines=(*b.lines[:-1], "x".join(map(str, b.shape)))) for b in blocks)
    with matplotlib.rc_context({"svg.hashsalt": "nas", "font.family": "DejaVu Sans", "text.parse_math": False}):
        figure = _draw_figure(graph, blocks, layout, title)
        path.parent.mkdir(parents=True, exist_ok=True)
        kind = path.suffix.lower()[1:]
        unstamped = {"png": "Software", "svg": "Date", "pdf": "CreationDate"}[kind]
        longest = max(figure.get_size_inches())
        figure.savefig(path, format=kind, dpi=min(130.0, 12_000 / longest), metadata={unstamped: None})
    return path


# -- drawing -----------------------------------------------------------------------------------------------------------


def _draw_figure(graph: Graph, blocks: Sequence[PictureBlock], layout: PictureLayout, title: str) -> Figure:
    from matplotlib.figure import Figure

    cell = next((b for b in blocks if b.kind == "cell"), None)
    cell_blocks = () if cell is None else inner_blocks(graph, cell)
    kinds = list(dict.fromkeys(k for k in BLOCK_STYLES if any(k == b.kind for b in (*blocks, *cell_blocks))))
    figure_width = max(_MARGIN + layout.columns * (_BOX_WIDTH + _COLUMN_GAP) + _COLUMN_GAP, 7.5)
    figure_height = layout.lines * (_BOX_HEIGHT + _LINE_GAP)
    per_line = max(1, int((figure_width - 0.3) / 2.35))
    legend = 0.3 * ceil(len(kinds) / per_line) + 0.15
    detail = _CellDetail(cell_blocks) if cell_blocks else None
    below = legend + (detail.figure_height if detail else 0.0)
    figure_width = max(figure_width, detail.figure_width if detail else 0.0)
    head = 0.75
    figure = Figure(figsize=(figure_width, figure_height + below + head), facecolor="white")
    axes = figure.add_axes((0.0, 0.0, 1.0, 1.0))
    axes.set_xlim(0, figure_width)
    axes.set_ylim(-(figure_height + below), head)
    axes.axis("off")
    shape = " + ".join("x".join(map(str, s)) for s in graph.input_shapes)
    axes.text(0.12, head - 0.27, _plain_text(title) or "network", fontsize=12, weight="bold", va="center")
    figures = (f"{_count(graph.macs)} MACs", f"{_count(graph.params)} parameters", f"{len(graph)} operations")
    caption = "   ".join((f"input {shape}", *figures, "bars: MACs"))
    axes.text(0.12, head - 0.55, caption, fontsize=8.5, va="center", color="#444444")
    _draw_rows(axes, graph, blocks, layout, figure_width)
    _draw_edges(axes, blocks, layout)
    for block, (column, line) in zip(blocks, layout.cells, strict=True):
        _draw_box(axes, block, *_corner(column, line), graph.macs, max(b.macs for b in blocks))
    if detail:
        detail.draw(axes, -figure_height)
    for k, kind in enumerate(kinds):
        x, y = 0.15 + (k % per_line) * 2.35, -(figure_height + below) + legend - 0.2 - 0.3 * (k // per_line)
        _rectangle(axes, x, y - 0.08, 0.22, 0.16, BLOCK_STYLES[kind][0])
        axes.text(x + 0.29, y, BLOCK_STYLES[kind][1], fontsize=7, va="center")
    return figure


def _corner(column: int, line: int) -> tuple[float, float]:
    """Lower left corner of a cell's box."""
    return _MARGIN + _COLUMN_GAP / 2 + column * (_BOX_WIDTH + _COLUMN_GAP), -(
        line * (_BOX_HEIGHT + _LINE_GAP) + _LINE_GAP * 0.75 + _BOX_HEIGHT
    )


def _rectangle(axes: Axes, x: float, y: float, w: float, h: float, colour: str, edge: str = "#555555") -> None:
    from matplotlib.patches import FancyBboxPatch

    shape = "round,pad=0,rounding_size=0.05"
    axes.add_patch(FancyBboxPatch((x, y), w, h, boxstyle=shape, facecolor=colour, edgecolor=edge, lw=0.7, zorder=3))


def _draw_rows(
    axes: Axes, graph: Graph, blocks: Sequence[PictureBlock], layout: PictureLayout, figure_width: float
) -> None:
    from matplotlib.patches import Rectangle

    image = graph.input_shape[1:]
    for k, (name, first, lines) in enumerate(layout.rows):
        pitch = _BOX_HEIGHT + _LINE_GAP
        if k % 2 == 0:
            axes.add_patch(
                Rectangle(
                    (0, -(first + lines) * pitch), figure_width, lines * pitch, facecolor="#f4f6f8", lw=0, zorder=0
                )
            )
        within = [b for b, (_, line) in zip(blocks, layout.cells, strict=True) if first <= line < first + lines]
        share = sum(b.macs for b in within) / max(graph.macs, 1)
        y = -(first * pitch + _LINE_GAP * 0.75 + _BOX_HEIGHT / 2)
        axes.text(0.12, y + 0.13, name.replace("x", "\u00d7"), fontsize=9, weight="bold", va="center")
        own = [b.shape[1:] for b in within if "x".join(map(str, b.shape[1:])) == name]
        caption = [f"1/{image[0] / own[0][0]:.3g}"] if own and own[0] and image else []
        axes.text(
            0.12, y - 0.12, "  ".join([*caption, f"{share:.0%} MACs"]), fontsize=6.5, va="center", color="#444444"
        )


def _draw_box(axes: Axes, block: PictureBlock, x: float, y: float, total: int, max_count: int) -> None:
    from matplotlib.patches import Arc, Rectangle

    _rectangle(axes, x, y, _BOX_WIDTH, _BOX_HEIGHT, BLOCK_STYLES[block.kind][0])
    title, *others = [line for line in block.lines if line]
    titles = textwrap.wrap(_plain_text(title), _TITLE_WIDTH)[:2]
    texts = [(line, "bold") for line in titles] + [(_plain_text(line)[:20], "normal") for line in others]
    pitch = 0.155 if len(texts) < 4 else 0.125
    for k, (line, weight) in enumerate(texts):
        centre = (x + _BOX_WIDTH / 2, y + _BOX_HEIGHT - 0.13 - pitch * k)
        axes.text(*centre, line, fontsize=6.6, weight=weight, ha="center", va="center", zorder=4)
    if block.macs:
        start, bar = (x + 0.06, y + 0.07), _BOX_WIDTH - 0.42
        axes.add_patch(Rectangle(start, bar, 0.07, facecolor="#ffffff", edgecolor="#888888", lw=0.4, zorder=4))
        axes.add_patch(Rectangle(start, bar * block.macs / max_count, 0.07, facecolor="#333333", lw=0, zorder=5))
        share = f"{block.macs / total:.1%}" if block.macs >= total / 1000 else "<0.1%"
        axes.text(x + _BOX_WIDTH - 0.05, y + 0.105, share, fontsize=5.2, ha="right", va="center", zorder=4)
    if block.residual:
        middle = (x + _BOX_WIDTH / 2, y + _BOX_HEIGHT)
        axes.add_patch(Arc(middle, _BOX_WIDTH * 0.8, 0.2, theta1=0, theta2=180, color="#333333", lw=1.0, zorder=2))


def _draw_edges(axes: Axes, blocks: Sequence[PictureBlock], layout: PictureLayout) -> None:
    routed = 0
    for index, block in enumerate(blocks):
        for source in block.inputs:
            (c0, l0), (c1, l1) = layout.cells[source], layout.cells[index]
            x0, y0 = _corner(c0, l0)
            x1, y1 = _corner(c1, l1)
            start, end = (x0 + _BOX_WIDTH, y0 + _BOX_HEIGHT / 2), (x1, y1 + _BOX_HEIGHT / 2)
            if l0 == l1 and c1 == c0 + 1:
                _line(axes, [start, end], "#333333", 1.0)
                continue
            onward = source == max(block.inputs) and not any(source in b.inputs for b in blocks[source + 1 : index])
            spread = (routed % 5) / 5
            routed += 1
            out = start[0] + _COLUMN_GAP * (0.2 + 0.5 * spread)
            into = end[0] - _COLUMN_GAP * (0.75 - 0.45 * spread)
            across = y1 + _BOX_HEIGHT + _LINE_GAP * (0.34 + 0.5 * spread)
            colour = "#777777" if onward else _LINE_COLOURS[routed % len(_LINE_COLOURS)]
            _line(axes, [start, (out, start[1]), (out, across), (into, across), (into, end[1]), end], colour, 0.9)


def _line(axes: Axes, points: Sequence[tuple[float, float]], colour: str, width: float) -> None:
    axes.plot(*zip(*points[:-1], strict=True), color=colour, lw=width, zorder=1, solid_joinstyle="round")
    style: dict[str, Any] = {"arrowstyle": "-|>", "color": colour, "lw": width, "shrinkA": 0, "shrinkB": 0}
    axes.annotate("", points[-1], points[-2], arrowprops={**style, "mutation_scale": 7}, zorder=1)


class _CellDetail:
    """The first cell's inside: its operations by how far they are from its input."""

    def __init__(self, blocks: Sequence[PictureBlock]) -> None:
        self.blocks = blocks
        self.column: list[int] = []
        for block in blocks:
            self.column.append(1 + max([self.column[i] for i in block.inputs], default=-1))
        self.columns: dict[int, list[int]] = {}
        for index, column in enumerate(self.column):
            self.columns.setdefault(column, []).append(index)
        self.max_count = max(map(len, self.columns.values()))
        self.long_edges = [
            (i, k) for k, b in enumerate(blocks) for i in b.inputs if self.column[k] - self.column[i] > 1
        ]
        self.figure_width = _MARGIN + len(self.columns) * (_BOX_WIDTH + 2 * _COLUMN_GAP)
        self.figure_height = 0.55 + 0.12 * len(self.long_edges) + self.max_count * (_BOX_HEIGHT + 0.2)

    def draw(self, axes: Axes, top: float) -> None:
        """Draw it downwards from the height ``top``."""
        axes.text(0.12, top - 0.2, "the first cell", fontsize=9, weight="bold", va="center")
        roof = top - 0.4 - 0.12 * len(self.long_edges)
        corners: dict[int, tuple[float, float]] = {}
        for column, indices in self.columns.items():
            slack = (self.max_count - len(indices)) / 2
            for k, index in enumerate(indices):
                y = roof - (slack + k) * (_BOX_HEIGHT + 0.2) - _BOX_HEIGHT
                corners[index] = (_MARGIN + column * (_BOX_WIDTH + 2 * _COLUMN_GAP), y)
        total = sum(block.macs for block in self.blocks)
        for index, block in enumerate(self.blocks):
            _draw_box(axes, block, *corners[index], total, total)
            for i in block.inputs:
                start = (corners[i][0] + _BOX_WIDTH, corners[i][1] + _BOX_HEIGHT / 2)
                end = (corners[index][0], corners[index][1] + _BOX_HEIGHT / 2)
                if (i, index) not in self.long_edges:
                    _line(axes, [start, end], "#333333", 0.9)
                    continue
                lane = self.long_edges.index((i, index))
                away = _COLUMN_GAP * (0.25 + 1.5 * (lane + 0.5) / len(self.long_edges))
                out, into, across = start[0] + away, end[0] - 2 * _COLUMN_GAP + away, top - 0.33 - 0.12 * lane
                points = [start, (out, start[1]), (out, across), (into, across), (into, end[1]), end]
                _line(axes, points, _LINE_COLOURS[lane % len(_LINE_COLOURS)], 0.9)


# -- text --------------------------------------------------------------------------------------------------------------


def _count(number: float) -> str:
    for unit, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if number >= size:
            return f"{number / size:.3g} {unit}"
    return f"{number:.0f}"


def _plain_text(text: str) -> str:
    """Without what the font has no sign for."""
    return "".join(c if c.isprintable() and ord(c) < 0x250 else "?" for c in text)
