"""Fit analytic device files together to published latencies, and state the error on networks left out.

    python -m hardware_models.analytic.fit_published_devices
    hardware_models/devices/edgetpu/{coral_usb,coral_devboard,pixel4_edgetpu}.toml --data
    ../shared/data/published_tables --write

``fit`` says how; a device file's ``[fit]`` table what is free in it.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from hardware_models.analytic.fit import (
    LatencyPrediction,
    error_metrics,
    fit_and_cross_validate,
    fitted_model,
    read_fit_problem,
    spearman,
)
from hardware_models.device_file.toml_table import read_device_file
from hardware_models.device_file.writer import update_device
from hardware_models.measured.published_latencies import published_latencies


def predictions_markdown(predictions: Sequence[LatencyPrediction]) -> str:
    """The predictions as a table in Markdown, by device and measured latency, with the errors below."""
    lines = [
        "| device | network | published ms | predicted ms | error | held out ms | error |",
        "|---|---|--:|--:|--:|--:|--:|",
    ]
    devices = list(dict.fromkeys(p.device for p in predictions))
    for p in sorted(predictions, key=lambda p: (devices.index(p.device), p.row.latency_ms)):
        measured = p.row.latency_ms
        cells = (f"{x:.2f} | {x / measured - 1:+.1%}" for x in (p.predicted_ms, p.held_out_ms))
        lines.append(f"| {p.device} | {p.row.name} | {measured:g} | {' | '.join(cells)} |")
    lines += [
        "",
        "| device | rows | MAPE in sample | MAPE held out | Spearman in sample | Spearman held out |",
        "|---|--:|--:|--:|--:|--:|",
    ]
    for device in devices:
        own = [p for p in predictions if p.device == device]
        figures = error_metrics(predictions, device)
        held_out = spearman([p.held_out_ms for p in own], [p.row.latency_ms for p in own])
        lines.append(
            f"| {device} | {len(own)} | {figures['mape_percent']:.1f} % | {figures['held_out_mape_percent']:.1f} %"
            f" | {figures['spearman']:.3f} | {held_out:.3f} |"
        )
    return "\n".join(lines) + "\n"


def predictions_csv(predictions: Sequence[LatencyPrediction]) -> str:
    """The predictions as CSV."""
    lines = ["device,network,published_ms,predicted_ms,held_out_ms,source"]
    for p in predictions:
        cells = (p.device, p.row.name, f"{p.row.latency_ms:g}", f"{p.predicted_ms:.4f}", f"{p.held_out_ms:.4f}")
        lines.append(",".join((*cells, f'"{p.row.source}"')))
    return "\n".join(lines) + "\n"


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m hardware_models.analytic.fit_published_devices", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("devices", nargs="+", type=Path, help=".toml files of devices, fitted together")
    parser.add_argument("--data", type=Path, required=True, help="folder that holds published_latency.csv")
    parser.add_argument("--write", action="store_true", help="write numbers and errors into the device files")
    parser.add_argument("--csv", type=Path, help="write the predictions to this file")
    options = parser.parse_args(arguments)
    table = options.data / "published_latency.csv"
    subjects = [
        read_fit_problem(read_device_file(path), path.stem, str(path), published_latencies(table, path.stem))
        for path in options.devices
    ]
    fitted, predictions = fit_and_cross_validate(subjects)
    print(predictions_markdown(predictions))
    for path, subject, numbers in zip(options.devices, subjects, fitted, strict=True):
        print(f"{subject.name}: " + ", ".join(f"{name} {value:g}" for name, value in numbers.items()))
        if options.write:
            update_device(path, fitted_model(subject, numbers, predictions))
    if options.csv:
        options.csv.write_text(predictions_csv(predictions), encoding="utf-8")


if __name__ == "__main__":
    main()
