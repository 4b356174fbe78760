"""Predicted against measured, as people read it: a table, a few sentences, and points with whiskers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nas.candidates.verified import VerifiedCandidate, verification_scores

if TYPE_CHECKING:
    from rich.table import Table

    from nas.engine.result import SearchResult


def verification_table(verified: Sequence[VerifiedCandidate]) -> Table:
    """A row a candidate, in the order they were measured: what was predicted before, and what the device said."""
    from rich.table import Table

    sources = Counter(v.source for v in verified if v.measured_ms is not None)
    source_kind = "measured" if all(source.startswith("measured:") for source in sources) else "device"
    source_text = f" ({', '.join(sources)})" if sources else ""
    table = Table(title=f"Predicted against {source_kind}{source_text}", title_justify="left", header_style="bold")
    table.add_column("candidate", no_wrap=True)
    for heading in ("predicted (ms)", "interval", f"{source_kind} (ms)", "+-", "error"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("remarks")
    for v in verified:
        interval = "-" if v.low_ms is None or v.high_ms is None else f"{v.low_ms:.3g}-{v.high_ms:.3g}"
        outside = " !" if v.held is False else ""
        more = f" (and {len(v.warnings) - 1} more)" if len(v.warnings) > 1 else ""
        remarks = [v.failure, *[warning + more for warning in v.warnings[:1]]]
        remarks += [f"on the host: {', '.join(v.fallback_ops)}"] if v.fallback_ops else []
        table.add_row(
            f"#{v.number}",
            f"{v.predicted_ms:.3g}",
            interval + outside,
            "-" if v.measured_ms is None else f"{v.measured_ms:.3g}",
            "-" if v.std_ms is None else f"{v.std_ms:.2g}",
            "-" if v.error_percent is None else f"{v.error_percent:+.1f} %",
            "; ".join(r for r in remarks if r),
        )
    return table


def verification_lines(verified: Sequence[VerifiedCandidate]) -> list[str]:
    """How far predictions and measurements agree, and what failed."""
    if not verified:
        return []
    failed = [v for v in verified if v.measured_ms is None]
    if len(failed) == len(verified):
        return [
            f"None of {len(verified)} measurements succeeded ({failed[0].failure}): every latency here is a prediction."
        ]
    scores = verification_scores(verified)
    ranks = f"Spearman {scores['spearman']:.2f}, " if "spearman" in scores else ""
    coverage = f", {scores['interval_coverage']:.0%} inside the interval" if "interval_coverage" in scores else ""
    line = (
        f"{len(verified) - len(failed)} of {len(verified)} candidates measured. As predicted before each was measured:"
        f" {ranks}MAPE {scores['mape_percent']:.1f} %{coverage};"
        f" the model alone: MAPE {scores['model_mape_percent']:.1f} %."
    )
    note = "The front is that of predictions, corrected by what was measured."
    return [f"{line} {note}", *([f"Not measured: {_reasons(failed)}."] if failed else [])]


def _reasons(failed: Sequence[VerifiedCandidate]) -> str:
    return "; ".join(f"#{v.number} ({v.failure.rstrip('.')})" for v in failed)


def plot_verification(verified: Sequence[VerifiedCandidate], path: Path, hw: str) -> Path | None:
    """A picture of predicted against measured latencies, intervals and repeats as whiskers; ``None`` without any.

    Beside each prediction as it was before its network was measured, with the corrections of that moment, stands what
    the model said alone: ``hw``, or of several the one that was measured.
    """
    measured_candidates = [v for v in verified if v.measured_ms]
    if not measured_candidates:
        return None
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 5.5), dpi=130, layout="constrained")
    axes = figure.subplots()
    measured = [v.measured_ms or 0.0 for v in measured_candidates]
    axes.plot(measured, [v.model_ms for v in measured_candidates], "x", color="#999999", label="the model alone")
    for v, x in zip(measured_candidates, measured, strict=True):
        low, high = (v.predicted_ms if end is None else end for end in (v.low_ms, v.high_ms))
        axes.plot([x, x], [low, high], color="#1e8449", linewidth=0.9, alpha=0.7)
        axes.plot([x - (v.std_ms or 0), x + (v.std_ms or 0)], [v.predicted_ms] * 2, color="#1e8449", linewidth=0.9)
        axes.annotate(f"#{v.number}", (x, v.predicted_ms), (4, 3), textcoords="offset points", fontsize=6)
    axes.plot(
        measured,
        [v.predicted_ms for v in measured_candidates],
        "D",
        color="#1e8449",
        markersize=4.5,
        label="as predicted then",
    )
    axes.axline((measured[0], measured[0]), slope=1, color="#555555", linewidth=0.8, linestyle="--")
    source_kind = " and ".join(dict.fromkeys(v.source for v in measured_candidates))
    axes.set_xlabel(f"latency (ms), {source_kind}")
    model = measured_candidates[0].metric.partition("@")[2] or hw
    axes.set_ylabel(f"predicted latency (ms), {model}" if model else "predicted latency (ms)")
    scores = verification_scores(measured_candidates)
    ranks = f"Spearman {scores['spearman']:.2f}, " if "spearman" in scores else ""
    axes.set_title(f"{len(measured_candidates)} candidates: {ranks}MAPE {scores['mape_percent']:.1f} %", fontsize=9)
    axes.grid(alpha=0.25)
    axes.legend(fontsize=7, loc="best")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)
    return path


def draw_measured(axes: Any, result: SearchResult, x: str, y: str) -> None:
    """Measured points with their standard deviation, each tied to where it was predicted; nothing on other axes."""
    metrics_by_key = {c.key: c.metrics for c in result.candidates}
    label: str | None = None
    for v in result.verified:
        metrics = metrics_by_key.get(v.key, {})
        if v.measured_ms is None or v.metric not in (x, y) or x not in metrics or y not in metrics:
            continue
        predicted = {x: metrics[x], y: metrics[y]}
        measured = {**predicted, v.metric: v.measured_ms}
        axes.plot(
            [predicted[x], measured[x]], [predicted[y], measured[y]], ":", color="#1e8449", linewidth=1.2, zorder=3
        )
        whiskers = {("xerr" if v.metric == x else "yerr"): v.std_ms}
        label = v.source.partition("@")[0] if label is None else "_nolegend_"
        axes.errorbar(
            measured[x],
            measured[y],
            fmt="D",
            color="#1e8449",
            markersize=4.5,
            elinewidth=0.9,
            capsize=3,
            zorder=4,
            label=label,
            **whiskers,
        )
