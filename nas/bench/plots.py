"""The plots of a bench: a panel for each table, a line for each contender, quartiles around it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from nas.bench.campaign import checkpoints
from nas.bench.contenders import contender
from nas.bench.tables.table import BenchTable, Floats

PANEL_COLUMNS = 4
CURVE_POINTS = 60


def draw_plots(runs: pd.DataFrame, tables: Mapping[str, BenchTable], out: Path) -> list[Path]:
    """``evaluations.png``, ``seconds.png`` and both as SVG: regret or hypervolume's share, median and quartiles."""
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    sequential = runs[runs["in_flight"] == 1]
    colours = {
        searcher: mpl.colormaps["tab20"](index % 20)
        for index, searcher in enumerate(sorted(set(sequential["searcher"])))
    }
    paths = []
    with mpl.rc_context({"svg.hashsalt": "nas", "svg.fonttype": "none"}):
        for axis in ("evaluations", "seconds"):
            table_names = [
                name
                for name in tables
                if axis == "evaluations" or _has_seconds(sequential[sequential["table"] == name])
            ]
            if not table_names:
                continue
            rows = -(-len(table_names) // PANEL_COLUMNS)
            figure = Figure(
                figsize=(4.2 * min(PANEL_COLUMNS, len(table_names)), 3.2 * rows + 0.8), layout="constrained"
            )
            FigureCanvasAgg(figure)
            panels = figure.subplots(rows, min(PANEL_COLUMNS, len(table_names)), squeeze=False).flat
            for panel, name in zip(panels, table_names, strict=False):
                _draw_panel(panel, tables[name], sequential[sequential["table"] == name], axis, colours)
            for panel in figure.axes[len(table_names) :]:
                panel.set_axis_off()
            lines = {str(line.get_label()): line for panel in figure.axes for line in panel.get_lines()}
            figure.legend(list(lines.values()), list(lines), loc="outside lower center", ncols=6, fontsize=8)
            for ending in ("png", "svg"):
                path = out / f"{axis}.{ending}"
                figure.savefig(path, dpi=110, metadata={"Date": None} if ending == "svg" else None)
                paths.append(path)
    return paths


def _has_seconds(part: pd.DataFrame) -> bool:
    return not part.empty and all(np.isfinite(seconds).all() for seconds in part["seconds"])


def _draw_panel(panel: Any, table: BenchTable, part: pd.DataFrame, axis: str, colours: Mapping[str, Any]) -> None:
    single = len(table.objectives) == 1
    for searcher, runs in part.groupby("searcher"):
        values = np.stack(runs["value"].tolist())
        checkpoint_counts: Floats = np.array(checkpoints(int(runs["budget"].iloc[0])), float)
        if axis == "seconds":
            checkpoint_counts, values = values_over_time(np.stack(runs["seconds"].tolist()), values)
        low, middle, high = np.percentile(values, [25, 50, 75], axis=0)
        style = "--" if contender(str(searcher)).is_external else "-"
        panel.plot(checkpoint_counts, middle, style, color=colours[str(searcher)], label=searcher, linewidth=1.4)
        panel.fill_between(checkpoint_counts, low, high, color=colours[str(searcher)], alpha=0.1, linewidth=0)
    panel.set_title(table.title, fontsize=9)
    panel.set_xlabel("evaluations" if axis == "evaluations" else "simulated seconds of training", fontsize=8)
    panel.set_ylabel("regret" if single else "share of the front's hypervolume", fontsize=8)
    panel.tick_params(labelsize=7)
    if axis == "seconds":
        panel.set_xscale("log")
    if single:
        panel.set_yscale("symlog", linthresh=0.05)
        panel.set_ylim(bottom=0)


def values_over_time(seconds: Floats, values: Floats) -> tuple[Floats, Floats]:
    """Values (runs, checkpoints) at simulated times that all runs share: (moments), (runs, moments).

    A run has the value of the last checkpoint before the moment; before its first, that of the first.
    """
    moments = np.geomspace(max(float(seconds[:, 0].max()), 1e-9), max(float(seconds.max()), 2e-9), CURVE_POINTS)
    indices = [np.searchsorted(of_run, moments, side="right") - 1 for of_run in seconds]
    return moments, np.stack([of_run[np.maximum(index, 0)] for of_run, index in zip(values, indices, strict=True)])
