"""A table of measured operations against whole MobileDets, beside models made of whole networks.

    cd results/devices/measured
    python table_kind.py 150 70 'onnxruntime?threads=1&max_s=1' mobiledet   # on this processor
    python table_kind.py 130 60 ethos-u55-128 table_kind.yaml               # by Arm's compiler
    python table_kind.py check onnxruntime                                  # what was measured before

Measures into table_kind_DEVICE.csv beside this file: operations of the space and 8 whole networks, as ``nas hw
calibrate --operations`` does, and NETWORKS random ones, half of them before and half after. The table and a model of
whole networks are checked on the random networks that are not among the 30 (half, where there are fewer than 60) from
which the latter is made. The table has seen none of them.
"""

from __future__ import annotations

import csv
import random
import sys
from dataclasses import replace
from pathlib import Path

from evaluators.devices.catalog import open_device
from hardware_models.calibrate import calibrate, check_model
from hardware_models.measured.network import MeasuredNetwork
from hardware_models.operation_table.operation_csv import (
    COLUMNS,
    MeasuredOperation,
    network_row,
    read_measured_operations,
)
from nas.measurement.networks import measured_network
from nas.measurement.operations import measure_operations
from search_spaces.catalog import load_space

HERE = Path(__file__).parent
FITTED = 30
RANDOM = "random"


def file_of(address: str) -> Path:
    return HERE / f"table_kind_{address.partition('?')[0].replace('-', '_')}.csv"


def measure_networks(texts: list[str], address: str, name: str) -> None:
    space, device = load_space(name), open_device(address)
    with file_of(address).open("a", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        if not file.tell():
            writer.writerow(COLUMNS)
        for text in texts:
            found = replace(measured_network(space, space.parse(text), device, 0), remark=RANDOM)
            writer.writerow(network_row(found, name, text, device.precision))
            file.flush()
    device.close()


def measure(operations: int, networks: int, address: str, name: str) -> None:
    out = file_of(address)
    if out.exists():
        raise SystemExit(f"{out} is there already: move it away, or check it")
    space, rng = load_space(name), random.Random(100)
    texts = list(dict.fromkeys(space.format(space.sample(rng)) for _ in range(networks + 5)))[:networks]
    measure_networks(texts[: networks // 2], address, name)
    measure_operations(name, address, operations, out, report=lambda text: print(text, flush=True))
    measure_networks(texts[networks // 2 :], address, name)


def check_all(out: Path) -> None:
    rows = read_measured_operations(out)
    operations = [row for row in rows if isinstance(row, MeasuredOperation)]
    networks = [row for row in rows if isinstance(row, MeasuredNetwork)]
    names = {network.name for network in networks if network.remark == RANDOM}
    drawn = [network for network in networks if network.name in names]
    own = [network for network in networks if network.name not in names]
    order = random.Random(0).sample(range(len(drawn)), len(drawn))
    few = min(FITTED, len(drawn) // 2)
    fitted, held = [drawn[i] for i in order[:few]], [drawn[i] for i in order[few:]]
    print(f"{len(operations)} operations, {len(own)} networks with them, {len(held)} to check")
    made = {
        "table": calibrate([*operations, *own], "table"),
        f"of {few} networks": calibrate(fitted, "few"),
        "of the table's networks": calibrate(own, "same"),
    }
    for told, calibrated in made.items():
        model = calibrated.model
        guessed = sum(bool(model.estimate(entry.graph).guessed_ops) for entry in held) / len(held)
        print(told, calibrated.kind, check_model(model, held), f"guessed in {guessed:.0%} of networks")


if __name__ == "__main__":
    if sys.argv[1] == "check":
        check_all(file_of(sys.argv[2]))
    else:
        measure(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4])
        check_all(file_of(sys.argv[3]))
