"""Fit devices of which few latencies are published, and state the error on networks and families left out.

    python -m hardware_models.linear.fit_sparse_devices pixel1_cpu pixel4_dsp --data ../shared/data --write

Without names, all of ``SPARSE_DEVICES``. A plan says where the prior of a device comes from: a class of processors, or
a device that is like it. Held out is each network alone, and each family of networks together.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from hardware_models.device_file.writer import DEVICE_FOLDER, shipped_file, write_device
from hardware_models.linear.device_priors import SPARSE_DEVICES
from hardware_models.linear.sparse_device import fit_sparse_device, rows_of, sparse_device


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m hardware_models.linear.fit_sparse_devices", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("devices", nargs="*", help="names of SPARSE_DEVICES; default: all")
    parser.add_argument("--data", type=Path, required=True, help="folder that holds published_tables and data sets")
    parser.add_argument("--write", action="store_true", help="write the device files")
    parser.add_argument("--rows", action="store_true", help="print every row with its predictions")
    options = parser.parse_args(arguments)
    for name in options.devices or SPARSE_DEVICES:
        fitted = fit_sparse_device(name, options.data)
        print(name, fitted.errors, flush=True)
        if options.rows:
            for network, *figures in rows_of(fitted):
                print("  ", network, *(f"{x:.4g}" for x in figures))
        if options.write:
            write_device(shipped_file(DEVICE_FOLDER, name), *sparse_device(name, fitted))


if __name__ == "__main__":
    main()
