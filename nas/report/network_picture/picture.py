"""A network as a picture: blocks as boxes, a row for every map size, skips and levels as lines, MACs as bars."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nas.report.network_picture.blocks import Block, inside, network_blocks
from nas.report.network_picture.layout import Layout, lay_out
from search_spaces.graph.graph import Graph

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FORMATS = (".png", ".svg", ".pdf")
# Colour and words of every kind, in the order of the legend
KINDS: dict[str, tuple[str, str]] = {
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
_LINES = ("#d62728", "#1f77b4", "#2ca02c", "#9467bd", "#8c564b", "#e377c2", "#17becf", "#bcbd22")
# Inches: a box, what lies between boxes and between lines of boxes, and room for the row's words
_WIDE, _HIGH, _GAP, _GUTTER, _MARGIN = 1.0, 0.74, 0.34, 0.46, 1.15


def draw_graph(graph: Graph, path: str | Path, title: str = "") -> Path:
    """Draw a network into a PNG, SVG or PDF file; equal graphs and titles give equal PNG and SVG files.

    Raises ``ValueError`` for another kind of file. The figures written are those of ``Graph``; bars and percentages
    are shares of its multiply-adds.
    """
    import matplotlib

    path = Path(path)
    if path.suffix.lower() not in FORMATS:
        raise ValueError(f"cannot draw {str(path)!r}: name a file that ends in {', '.join(FORMATS)}")
    blocks = network_blocks(graph)
    layout = lay_out(blocks)
    if layout.rows[0][0] == "":  # rows that are not of one map size: each box says its own
        blocks = tuple(replace(b, lines=(*b.lines[:-1], "x".join(map(str, b.shape)))) for b in blocks)
    with matplotlib.rc_context({"svg.hashsalt": "nas", "font.family": "DejaVu Sans", "text.parse_math": False}):
        figure = _picture(graph, blocks, layout, title)
        path.parent.mkdir(parents=True, exist_ok=True)
        kind = path.suffix.lower()[1:]
        unstamped = {"png": "Software", "svg": "Date", "pdf": "CreationDate"}[kind]
        longest = max(figure.get_size_inches())
        figure.savefig(path, format=kind, dpi=min(130.0, 12_000 / longest), metadata={unstamped: None})
    return path


# -- ink ---------------------------------------------------------------------------------------------------------------


def _picture(graph: Graph, blocks: Sequence[Block], layout: Layout, title: str) -> Figure:
    from matplotlib.figure import Figure

    cell = next((b for b in blocks if b.kind == "cell"), None)
    small = () if cell is None else inside(graph, cell)
    kinds = list(dict.fromkeys(k for k in KINDS if any(k == b.kind for b in (*blocks, *small))))
    wide = max(_MARGIN + layout.columns * (_WIDE + _GAP) + _GAP, 7.5)
    high = layout.lines * (_HIGH + _GUTTER)
    per_line = max(1, int((wide - 0.3) / 2.35))
    legend = 0.3 * ceil(len(kinds) / per_line) + 0.15
    detail = _Detail(small) if small else None
    below = legend + (detail.high if detail else 0.0)
    wide = max(wide, detail.wide if detail else 0.0)
    head = 0.75
    figure = Figure(figsize=(wide, high + below + head), facecolor="white")
    axes = figure.add_axes((0.0, 0.0, 1.0, 1.0))
    axes.set_xlim(0, wide)
    axes.set_ylim(-(high + below), head)
    axes.axis("off")
    shape = " + ".join("x".join(map(str, s)) for s in graph.input_shapes)
    axes.text(0.12, head - 0.27, _plain_text(title) or "network", fontsize=12, weight="bold", va="center")
    figures = (f"{_count(graph.macs)} MACs", f"{_count(graph.params)} parameters", f"{len(graph)} operations")
    told = "   ".join((f"input {shape}", *figures, "bars: MACs"))
    axes.text(0.12, head - 0.55, told, fontsize=8.5, va="center", color="#444444")
    _draw_rows(axes, graph, blocks, layout, wide)
    _draw_edges(axes, blocks, layout)
    for block, (column, line) in zip(blocks, layout.cells, strict=True):
        _draw_box(axes, block, *_corner(column, line), graph.macs, max(b.macs for b in blocks))
    if detail:
        detail.draw(axes, -high)
    for k, kind in enumerate(kinds):
        x, y = 0.15 + (k % per_line) * 2.35, -(high + below) + legend - 0.2 - 0.3 * (k // per_line)
        _rectangle(axes, x, y - 0.08, 0.22, 0.16, KINDS[kind][0])
        axes.text(x + 0.29, y, KINDS[kind][1], fontsize=7, va="center")
    return figure


def _corner(column: int, line: int) -> tuple[float, float]:
    """Lower left corner of a cell's box."""
    return _MARGIN + _GAP / 2 + column * (_WIDE + _GAP), -(line * (_HIGH + _GUTTER) + _GUTTER * 0.75 + _HIGH)


def _rectangle(axes: Axes, x: float, y: float, w: float, h: float, colour: str, edge: str = "#555555") -> None:
    from matplotlib.patches import FancyBboxPatch

    shape = "round,pad=0,rounding_size=0.05"
    axes.add_patch(FancyBboxPatch((x, y), w, h, boxstyle=shape, facecolor=colour, edgecolor=edge, lw=0.7, zorder=3))


def _draw_rows(axes: Axes, graph: Graph, blocks: Sequence[Block], layout: Layout, wide: float) -> None:
    from matplotlib.patches import Rectangle

    image = graph.input_shape[1:]
    for k, (name, first, lines) in enumerate(layout.rows):
        pitch = _HIGH + _GUTTER
        if k % 2 == 0:
            axes.add_patch(
                Rectangle((0, -(first + lines) * pitch), wide, lines * pitch, facecolor="#f4f6f8", lw=0, zorder=0)
            )
        within = [b for b, (_, line) in zip(blocks, layout.cells, strict=True) if first <= line < first + lines]
        share = sum(b.macs for b in within) / max(graph.macs, 1)
        y = -(first * pitch + _GUTTER * 0.75 + _HIGH / 2)
        axes.text(0.12, y + 0.13, name.replace("x", "\u00d7"), fontsize=9, weight="bold", va="center")
        own = [b.shape[1:] for b in within if "x".join(map(str, b.shape[1:])) == name]
        told = [f"1/{image[0] / own[0][0]:.3g}"] if own and own[0] and image else []
        axes.text(0.12, y - 0.12, "  ".join([*told, f"{share:.0%} MACs"]), fontsize=6.5, va="center", color="#444444")


def _draw_box(axes: Axes, block: Block, x: float, y: float, total: int, most: int) -> None:
    from matplotlib.patches import Arc, Rectangle

    _rectangle(axes, x, y, _WIDE, _HIGH, KINDS[block.kind][0])
    for k, line in enumerate(line for line in block.lines if line):
        weight = "bold" if k == 0 else "normal"
        place = (x + _WIDE / 2, y + _HIGH - 0.13 - 0.155 * k)
        axes.text(*place, _plain_text(line)[:20], fontsize=6.6, weight=weight, ha="center", va="center", zorder=4)
    if block.macs:
        start, bar = (x + 0.06, y + 0.07), _WIDE - 0.42
        axes.add_patch(Rectangle(start, bar, 0.07, facecolor="#ffffff", edgecolor="#888888", lw=0.4, zorder=4))
        axes.add_patch(Rectangle(start, bar * block.macs / most, 0.07, facecolor="#333333", lw=0, zorder=5))
        share = f"{block.macs / total:.1%}" if block.macs >= total / 1000 else "<0.1%"
        axes.text(x + _WIDE - 0.05, y + 0.105, share, fontsize=5.2, ha="right", va="center", zorder=4)
    if block.residual:
        middle = (x + _WIDE / 2, y + _HIGH)
        axes.add_patch(Arc(middle, _WIDE * 0.8, 0.2, theta1=0, theta2=180, color="#333333", lw=1.0, zorder=2))


def _draw_edges(axes: Axes, blocks: Sequence[Block], layout: Layout) -> None:
    routed = 0
    for place, block in enumerate(blocks):
        for source in block.inputs:
            (c0, l0), (c1, l1) = layout.cells[source], layout.cells[place]
            x0, y0 = _corner(c0, l0)
            x1, y1 = _corner(c1, l1)
            start, end = (x0 + _WIDE, y0 + _HIGH / 2), (x1, y1 + _HIGH / 2)
            if l0 == l1 and c1 == c0 + 1:
                _line(axes, [start, end], "#333333", 1.0)
                continue
            onward = source == max(block.inputs) and not any(source in b.inputs for b in blocks[source + 1 : place])
            spread = (routed % 5) / 5
            routed += 1
            out = start[0] + _GAP * (0.2 + 0.5 * spread)
            into = end[0] - _GAP * (0.75 - 0.45 * spread)
            across = y1 + _HIGH + _GUTTER * (0.34 + 0.5 * spread)
            colour = "#777777" if onward else _LINES[routed % len(_LINES)]
            _line(axes, [start, (out, start[1]), (out, across), (into, across), (into, end[1]), end], colour, 0.9)


def _line(axes: Axes, points: Sequence[tuple[float, float]], colour: str, width: float) -> None:
    axes.plot(*zip(*points[:-1], strict=True), color=colour, lw=width, zorder=1, solid_joinstyle="round")
    style: dict[str, Any] = {"arrowstyle": "-|>", "color": colour, "lw": width, "shrinkA": 0, "shrinkB": 0}
    axes.annotate("", points[-1], points[-2], arrowprops={**style, "mutation_scale": 7}, zorder=1)


class _Detail:
    """The first cell's inside: its operations by how far they are from its input."""

    def __init__(self, blocks: Sequence[Block]) -> None:
        self.blocks = blocks
        self.column: list[int] = []
        for block in blocks:
            self.column.append(1 + max([self.column[i] for i in block.inputs], default=-1))
        self.columns: dict[int, list[int]] = {}
        for place, column in enumerate(self.column):
            self.columns.setdefault(column, []).append(place)
        self.most = max(map(len, self.columns.values()))
        self.far = [(i, k) for k, b in enumerate(blocks) for i in b.inputs if self.column[k] - self.column[i] > 1]
        self.wide = _MARGIN + len(self.columns) * (_WIDE + 2 * _GAP)
        self.high = 0.55 + 0.12 * len(self.far) + self.most * (_HIGH + 0.2)

    def draw(self, axes: Axes, top: float) -> None:
        axes.text(0.12, top - 0.2, "the first cell", fontsize=9, weight="bold", va="center")
        roof = top - 0.4 - 0.12 * len(self.far)
        corners: dict[int, tuple[float, float]] = {}
        for column, places in self.columns.items():
            slack = (self.most - len(places)) / 2
            for k, place in enumerate(places):
                y = roof - (slack + k) * (_HIGH + 0.2) - _HIGH
                corners[place] = (_MARGIN + column * (_WIDE + 2 * _GAP), y)
        total = sum(block.macs for block in self.blocks)
        for place, block in enumerate(self.blocks):
            _draw_box(axes, block, *corners[place], total, total)
            for i in block.inputs:
                start = (corners[i][0] + _WIDE, corners[i][1] + _HIGH / 2)
                end = (corners[place][0], corners[place][1] + _HIGH / 2)
                if (i, place) not in self.far:
                    _line(axes, [start, end], "#333333", 0.9)
                    continue
                lane = self.far.index((i, place))
                away = _GAP * (0.25 + 1.5 * (lane + 0.5) / len(self.far))
                out, into, across = start[0] + away, end[0] - 2 * _GAP + away, top - 0.33 - 0.12 * lane
                points = [start, (out, start[1]), (out, across), (into, across), (into, end[1]), end]
                _line(axes, points, _LINES[lane % len(_LINES)], 0.9)


# -- words -------------------------------------------------------------------------------------------------------------


def _count(number: float) -> str:
    for unit, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if number >= size:
            return f"{number / size:.3g} {unit}"
    return f"{number:.0f}"


def _plain_text(text: str) -> str:
    """Without what the font has no sign for."""
    return "".join(c if c.isprintable() and ord(c) < 0x250 else "?" for c in text)
