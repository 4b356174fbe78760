"""Pareto fronts and layers as pictures."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from hardware_models.cost import Cost
from nas.candidates.candidate import Candidate
from nas.candidates.metrics import MetricTable, metric_row
from nas.candidates.objectives import Objective
from nas.engine.result import SearchResult
from nas.report.baselines import draw_baselines
from nas.report.format import format_metric, metric_heading
from nas.report.verification import draw_measured


def plot_front(result: SearchResult, path: Path) -> None:
    """A PNG of the first two objectives: candidates, front, limits, what was measured, and the published networks."""
    from matplotlib.figure import Figure

    x, y = (result.objectives * 2)[:2]
    finished = "trained" if result.proxy else "scored"
    figure = Figure(figsize=(8, 5), dpi=150, layout="constrained")
    axes = figure.subplots()
    infeasible = _points([c for c in result.candidates if c.status == "infeasible"], x, y)
    if infeasible[0]:
        axes.scatter(*infeasible, s=8, color="#cccccc", label="over a limit")
    others = [c for c in result.candidates if c.status == finished]
    size = 18 if result.proxy else 8
    axes.scatter(*_points(others, x, y), s=size, color="#8fb8de", label=f"{finished} candidates")
    line_style = "-o" if len(result.objectives) <= 2 else "o"  # of three objectives two make no line
    front_style: dict[str, Any] = {"color": "#c0392b", "markersize": 5, "linewidth": 1.5, "label": "Pareto front"}
    axes.plot(*_points(result.front, x, y), line_style, **front_style)
    for reference, marker in zip(result.references, "^sDvP*X<>", strict=False):
        position = _points([reference], x, y)
        if position[0]:
            reference_style: dict[str, Any] = {
                "facecolors": "none",
                "edgecolors": "#333333",
                "label": reference.reference,
            }
            axes.scatter(*position, s=60, marker=marker, **reference_style)
    for limit in result.limits:
        if limit.metric in (x.metric, y.metric):
            line = axes.axvline if limit.metric == x.metric else axes.axhline
            line(limit.bound, color="#e67e22", linestyle="--", linewidth=1.2, label=f"limit: {limit}")
    draw_measured(axes, result, x.metric, y.metric)
    hw = str(result.settings.get("hw") or "")
    axes.set_xlabel(_axis_label(x.metric, hw, result.metrics))
    axes.set_ylabel(_axis_label(y.metric, hw, result.metrics))
    _keep_in_view(axes, _points([*others, *result.front], x, y)[0], result, x)
    reference_names = [reference.reference for reference in result.references]
    draw_baselines(axes, result.baselines, x.metric, y.metric, reference_names)
    caption = "\n".join(textwrap.wrap(result.proxy, 110))
    axes.set_title(result.study + (f"\n{caption}" if caption else ""), fontsize=8)
    axes.grid(alpha=0.25)
    axes.legend(fontsize=7, loc="best")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)


def _points(candidates: Iterable[Candidate], x: Objective, y: Objective) -> tuple[list[float], list[float]]:
    """Both coordinates of the candidates that have both metrics."""
    rows = [c.metrics for c in candidates if x.metric in c.metrics and y.metric in c.metrics]
    return [row[x.metric] for row in rows], [row[y.metric] for row in rows]


def plot_layers(cost: Cost, title: str, path: Path) -> None:
    """A picture of what every operation of a network takes, in order, coloured by what bounds it."""
    from matplotlib.figure import Figure

    rows = [row for row in cost.breakdown() if row.latency_ms > 0]
    bounds = dict.fromkeys(row.bound for row in rows)
    figure = Figure(figsize=(9, max(2.5, 0.16 * len(rows) + 1)), dpi=120, layout="constrained")
    axes = figure.subplots()
    for bound in bounds:
        rows_of_bound = [i for i, row in enumerate(rows) if row.bound == bound]
        axes.barh(rows_of_bound, [rows[i].latency_ms for i in rows_of_bound], label=bound)
    names = [f"{row.op} {'x'.join(map(str, row.shape))}" for row in rows]
    axes.set_yticks(range(len(rows)), names, fontsize=6)
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.set_xlabel("predicted latency (ms)")
    axes.set_title(f"{title}: {cost.latency_ms:.2f} ms, {cost.source}", fontsize=9)
    if rows:
        axes.legend(fontsize=7, loc="lower right")
    axes.grid(axis="x", alpha=0.25)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)


def _keep_in_view(axes: Any, xs: Sequence[float], result: SearchResult, x: Objective) -> None:
    """Cut off what lies far beyond the candidates, such as a network with a fallback, and say so in the picture."""
    if not xs:
        return
    bounds = [limit.bound for limit in result.limits if limit.metric == x.metric]
    right_edge = 1.5 * max([*xs, *bounds])
    beyond = [c for c in result.references if c.metrics.get(x.metric, 0.0) > right_edge]
    if beyond:
        axes.set_xlim(right=right_edge)
        names = ", ".join(
            f"{c.reference} at {format_metric(x.metric, c.metrics[x.metric], result.metrics)}" for c in beyond
        )
        axes.text(0.99, 0.01, f"beyond: {names}", transform=axes.transAxes, ha="right", va="bottom", fontsize=7)


def _axis_label(metric: str, hw: str, metrics: MetricTable) -> str:
    origin = metric_row(metric, metrics).origin
    if origin == "hardware":
        worst = "worst of " if "," in hw else ""
        devices = "" if "@" in metric else f"{worst}{hw.replace(',', ', ')} "
        return f"predicted {devices}{metric_heading(metric, metrics)}".strip()
    return ("proxy " if origin == "quality" else "") + metric_heading(metric, metrics)
