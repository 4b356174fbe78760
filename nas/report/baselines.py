"""The published networks that do what a search's networks do, predicted on its hardware: to stand beside its front."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from math import inf
from typing import TYPE_CHECKING, Any

from nas.report.format import format_metric

if TYPE_CHECKING:
    import pandas as pd
    from rich.table import Table

_LATENCY_RANGE_FACTOR = 1.5  # so much faster or slower than the front's ends
_MAX_ROWS = 24
_MAX_LABELS = 14
_MIN_LABEL_GAP = 1 / 40  # of the axis, between two names


def baselines_near_front(rows: Sequence[Mapping[str, Any]], latencies_ms: Sequence[float]) -> Table:
    """A table of those networks that are predicted to take about as long as a front, by its latencies; at most 24."""
    import pandas as pd
    from rich.text import Text

    low = min(latencies_ms, default=0.0) / _LATENCY_RANGE_FACTOR
    high = max(latencies_ms, default=inf) * _LATENCY_RANGE_FACTOR
    near = [row for row in rows if _has_number(row, "latency_ms") and low <= row["latency_ms"] <= high]
    if len(near) > _MAX_ROWS:
        near = [near[round(i * (len(near) - 1) / (_MAX_ROWS - 1))] for i in range(_MAX_ROWS)]
    frame = pd.DataFrame(near, columns=list(rows[0]))
    table = baselines_table(frame)
    omitted_count = len(rows) - len(near)
    notes = [str(table.caption)] if str(table.caption) else []
    notes += [f"{omitted_count} faster, slower or in between: result.json"] if omitted_count else []
    table.caption = Text("\n".join(notes))
    return table


def draw_baselines(
    axes: Any, rows: Sequence[Mapping[str, Any]], x: str, y: str, names_in_picture: Collection[str]
) -> None:
    """The published networks in a picture of a front: points where both axes are predicted or counted, else ticks.

    A tick at the upper edge tells the first axis alone: what was published of a network's quality was measured on other
    data, after another training. Networks of ``names_in_picture`` are in the picture already. Of those within the view
    some are named, evenly along the axis; all are in the table.
    """
    (low, high), (bottom, top) = sorted(axes.get_xlim()), sorted(axes.get_ylim())
    visible = [
        (row[x], row.get(y), row["network"])
        for row in rows
        if row["network"] not in names_in_picture and _has_number(row, x)
    ]
    visible = sorted((position, height, name) for position, height, name in visible if low <= position <= high)
    if visible and all(isinstance(height, int | float) for _, height, _ in visible):
        visible = [point for point in visible if bottom <= point[1] <= top]
        label = "published networks, predicted"
        axes.scatter(
            [p for p, _, _ in visible], [h for _, h, _ in visible], s=9, color="#888888", zorder=1, label=label
        )
        for position, height, name in _thin_out(visible, 0.0):
            inward = (-3, "right") if position > low + 0.85 * (high - low) else (3, "left")
            style = {"textcoords": "offset points", "fontsize": 5.5, "color": "#777777", "ha": inward[1]}
            axes.annotate(name, (position, height), (inward[0], 3), **style)
        axes.set_xlim(low, high)
        axes.set_ylim(bottom, top)
        return
    labelled = _thin_out(visible, _MIN_LABEL_GAP * (high - low))
    if labelled:
        edge = axes.secondary_xaxis("top")
        names = [name for _, _, name in labelled]
        edge.set_xticks([p for p, _, _ in labelled], names, rotation=50, ha="left", fontsize=5.5, color="#777777")
        edge.tick_params(color="#999999", length=4, pad=1)
        edge.set_xlabel("published networks as predicted; their quality is not comparable", fontsize=6, color="#777777")


def _has_number(row: Mapping[str, Any], metric: str) -> bool:
    return isinstance(row.get(metric), int | float)


def _thin_out(points: Sequence[tuple[Any, ...]], step: float) -> list[tuple[Any, ...]]:
    """At most ``_MAX_LABELS`` of the points, no two nearer than ``step``."""
    spaced: list[tuple[Any, ...]] = []
    for point in points:
        if not spaced or point[0] - spaced[-1][0] >= step:
            spaced.append(point)
    if len(spaced) > _MAX_LABELS:
        spaced = [spaced[round(i * (len(spaced) - 1) / (_MAX_LABELS - 1))] for i in range(_MAX_LABELS)]
    return spaced


def baselines_table(frame: pd.DataFrame) -> Table:
    """The frame of ``baselines`` for a terminal: sources by number, and they and what failed below the table."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    hardware = next(iter(frame["hardware"].dropna()), None)
    title = "Published networks" + (f" on {hardware}" if hardware else "")
    table = Table(title=title, title_justify="left", header_style="bold", box=box.SIMPLE, show_edge=False)
    table.add_column("network", no_wrap=True)
    for heading in ("input", "MACs", "parameters", "latency (ms)", "range"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("published (%)")
    notes = []
    sources: dict[str, int] = {}
    has_guesses = False
    for row in frame.astype(object).where(frame.notna(), None).to_dict("records"):
        mark = "*" if row["guessed_ops"] or row["fallback_ops"] else ""
        has_guesses = has_guesses or bool(mark)
        low, high = row["latency_low_ms"], row["latency_high_ms"]
        published_figure = ""
        if row["published_metric"] is not None:
            number = sources.setdefault(row["published_source"], len(sources) + 1)
            size = row["published_resolution"]
            at = "" if size in (None, row["resolution"]) else f" at {size}"
            published_figure = f"{row['published_value']:.1f} {row['published_metric']}{at} [{number}]"
        table.add_row(
            row["network"],
            "-" if row["resolution"] is None else str(row["resolution"]),
            format_metric("macs", row["macs"]),
            format_metric("params", row["params"]),
            format_metric("latency_ms", row["latency_ms"]) + mark,
            "-" if low is None or high is None else f"{low:.1f}-{high:.1f}",
            Text(published_figure),
        )
        if row["reason"]:
            notes.append(f"{row['network']}: {row['reason']}")
    if has_guesses:
        notes.append("* in part on the host's processor, or priced by a guess; nas hw predict names the operations")
    notes += [f"[{number}] {source}" for source, number in sources.items()]
    table.caption, table.caption_justify = Text("\n".join(notes)), "left"
    return table
