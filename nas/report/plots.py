"""Pareto fronts and layers as pictures."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from hardware_models.cost import Cost
from nas.candidates.candidate import Candidate
from nas.candidates.metrics import metric_row
from nas.candidates.objectives import Objective
from nas.engine.result import SearchResult
from nas.report.baselines import draw_baselines
from nas.report.format import figure, metric_heading
from nas.report.verification import draw_measured


def plot_front(result: SearchResult, path: Path) -> None:
    """A PNG of the first two objectives: candidates, front, limits, what was measured, and the published networks."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    x, y = (result.objectives * 2)[:2]
    finished = "trained" if result.proxy else "scored"

    def points(candidates: Iterable[Candidate]) -> tuple[list[float], list[float]]:
        available = [c.metrics for c in candidates if x.metric in c.metrics and y.metric in c.metrics]
        return [m[x.metric] for m in available], [m[y.metric] for m in available]

    figure_, axes = pyplot.subplots(figsize=(8, 5), dpi=150, layout="constrained")
    infeasible = [c for c in result.candidates if c.status == "infeasible"]
    others = [c for c in result.candidates if c.status == finished]
    if infeasible and points(infeasible)[0]:
        axes.scatter(*points(infeasible), s=8, color="#cccccc", label="over a limit")
    axes.scatter(*points(others), s=18 if result.proxy else 8, color="#8fb8de", label=f"{finished} candidates")
    xs, ys = points(result.front)
    line_style = "-o" if len(result.objectives) <= 2 else "o"  # of three objectives two make no line
    axes.plot(xs, ys, line_style, color="#c0392b", markersize=5, linewidth=1.5, label="Pareto front")
    for reference, marker in zip(result.references, "^sDvP*X<>", strict=False):
        rx, ry = points([reference])
        if rx:
            axes.scatter(
                rx, ry, s=60, marker=marker, facecolors="none", edgecolors="#333333", label=reference.reference
            )
    for limit in result.limits:
        if limit.metric in (x.metric, y.metric):
            line = axes.axvline if limit.metric == x.metric else axes.axhline
            line(limit.bound, color="#e67e22", linestyle="--", linewidth=1.2, label=f"limit: {limit}")
    draw_measured(axes, result, x.metric, y.metric)
    hw = str(result.settings.get("hw") or "")
    axes.set_xlabel(_axis_label(x.metric, hw))
    axes.set_ylabel(_axis_label(y.metric, hw))
    _keep_in_view(axes, points([*others, *result.front])[0], result, x)
    reference_names = [reference.reference for reference in result.references]
    draw_baselines(axes, result.baselines, x.metric, y.metric, reference_names)
    caption = "\n".join(textwrap.wrap(result.proxy, 110))
    axes.set_title(result.study + (f"\n{caption}" if caption else ""), fontsize=8)
    axes.grid(alpha=0.25)
    axes.legend(fontsize=7, loc="best")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure_.savefig(path)
    pyplot.close(figure_)


def plot_layers(cost: Cost, title: str, path: Path) -> None:
    """A picture of what every operation of a network takes, in order, coloured by what bounds it."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    rows = [row for row in cost.breakdown() if row.latency_ms > 0]
    bounds = dict.fromkeys(row.bound for row in rows)
    figure_, axes = pyplot.subplots(figsize=(9, max(2.5, 0.16 * len(rows) + 1)), dpi=120, layout="constrained")
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
    figure_.savefig(path)
    pyplot.close(figure_)


def _keep_in_view(axes: Any, xs: Sequence[float], result: SearchResult, x: Objective) -> None:
    """Cut off what lies far beyond the candidates, such as a network with a fallback, and say so in the picture."""
    bounds = [limit.bound for limit in result.limits if limit.metric == x.metric]
    if not xs:
        return
    right_edge = 1.5 * max([*xs, *bounds])
    beyond = [c for c in result.references if c.metrics.get(x.metric, 0.0) > right_edge]
    if beyond:
        axes.set_xlim(right=right_edge)
        status_text = ", ".join(f"{c.reference} at {figure(x.metric, c.metrics[x.metric])}" for c in beyond)
        axes.text(0.99, 0.01, f"beyond: {status_text}", transform=axes.transAxes, ha="right", va="bottom", fontsize=7)


def _axis_label(metric: str, hw: str) -> str:
    origin = metric_row(metric).origin
    if origin == "hardware":
        worst = "worst of " if "," in hw and "@" not in metric else ""
        return (
            f"predicted {'' if '@' in metric else worst + hw.replace(',', ', ') + ' '}{metric_heading(metric)}".strip()
        )
    return ("proxy " if origin == "quality" else "") + metric_heading(metric)
