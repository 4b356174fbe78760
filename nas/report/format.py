"""Values and headings of metrics as tables print them."""

from __future__ import annotations

from nas.candidates.metrics import METRICS, MetricTable, metric_row
from nas.candidates.untrained_metrics import DEVICE_LATENCY


def format_metric(metric: str, value: float | None, metrics: MetricTable = METRICS) -> str:
    """A metric's value as people read it, in the unit of its heading; ``-`` where there is none."""
    if value is None:
        return "-"
    if metric.partition("@")[0] in ("latency_ms", DEVICE_LATENCY):
        return f"{value:.2f}" if value >= 1 else f"{value:.3g}"
    if metric.partition("@")[0] in ("fallback_ops", "guessed_ops"):
        return f"{value:.0f}"
    if metric == "cut_bytes":
        return f"{value / 1024:.1f} KiB"
    if metric in ("macs", "params", "variables"):
        return f"{value / 1e9:.2f} G" if value >= 1e9 else f"{value / 1e6:.2f} M"
    if metric == "peak_activation_bytes":
        return f"{value / 2**20:.2f} MiB"
    if metric_row(metric, metrics).unit == "KiB":
        return f"{value:.0f}"
    return f"{value:.3f}" if abs(value) < 1000 else f"{value:.4g}"


def metric_heading(metric: str, metrics: MetricTable = METRICS) -> str:
    """A metric's column heading, with its device and its unit."""
    if metric == DEVICE_LATENCY:
        return "on the device (ms)"
    row, device = metric_row(metric, metrics), metric.partition("@")[2]
    label = f"{row.label} {device}".rstrip()
    return f"{label} ({row.unit})" if row.unit and row.unit != "B" else label
