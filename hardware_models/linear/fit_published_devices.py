"""Learn the devices of ``datasets.DEVICE_SOURCES`` from published measurements, and state the error on networks left
out.

    python -m hardware_models.linear.fit_published_devices zcu102 a100 --data ../shared/data --write

Without names, all of them. A device file says which rows it rests on and how far they were off when left out.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path

from hardware_models.device_file.writer import DEVICE_FOLDER, shipped_file, write_device
from hardware_models.linear.published_device import MAX_NETWORKS, fit_published_device, published_device
from hardware_models.measured.datasets import DEVICE_SOURCES
from search_spaces.registry import named_row


def errors_markdown(errors: Mapping[tuple[str, str], Mapping[str, float]]) -> str:
    """Held-out errors as a table in Markdown."""
    names = list(next(iter(errors.values())))
    lines = ["| device | figure | " + " | ".join(names) + " |", "|---|---|" + "--:|" * len(names)]
    for (device, figure), row in errors.items():
        lines.append(f"| {device} | {figure} | " + " | ".join(f"{row[n]:g}" for n in names) + " |")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m hardware_models.linear.fit_published_devices", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("devices", nargs="*", help="names of datasets.DEVICE_SOURCES; default: all")
    parser.add_argument("--data", type=Path, required=True, help="folder that holds the data sets")
    parser.add_argument("--rows", type=int, default=MAX_NETWORKS, help="most networks of each data set")
    parser.add_argument("--write", action="store_true", help="write the device files")
    parser.add_argument("--csv", type=Path, help="write the held-out errors to this file")
    options = parser.parse_args(arguments)
    errors: dict[tuple[str, str], dict[str, float]] = {}
    for name in options.devices or DEVICE_SOURCES:
        source = named_row("learned device", name, DEVICE_SOURCES)
        rates = fit_published_device(source, options.data, options.rows)
        for figure, fitted in rates.items():
            errors[name, figure] = {**fitted.errors, "interval_factor": round(fitted.factor or 1.0, 3)}
            print(name, figure, errors[name, figure], flush=True)
        if options.write:
            write_device(shipped_file(DEVICE_FOLDER, name), *published_device(name, source, rates))
    print(errors_markdown(errors))
    if options.csv:
        names = list(next(iter(errors.values())))
        lines = [",".join(("device", "figure", *names))]
        lines += [",".join((*key, *(f"{row[n]:g}" for n in names))) for key, row in errors.items()]
        options.csv.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
