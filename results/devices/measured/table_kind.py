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
from pathlib import Path

from evaluators.devices.catalog import open_device
from hardware_models.calibrate import calibrate, check_model
from hardware_models.catalog import model_from_text
from hardware_models.measured.latency_csv import MeasuredNetwork
from hardware_models.operation_table.fit import calibrate_operation_table
from hardware_models.operation_table.operation_csv import COLUMNS, MeasuredOperations, read_measured_operations
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
            found = device.measure(space.graph(space.parse(text)))
            figures = (f"{found.latency_ms:.5g}", device.precision, f"{found.std_ms:.3g}", found.source, RANDOM)
            writer.writerow(("", name, text, *figures))
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


def split(out: Path) -> tuple[MeasuredOperations, list[MeasuredNetwork]]:
    """Operations with the networks that calibrate the table, and the random networks."""
    measured = read_measured_operations(out)
    with out.open(newline="", encoding="utf-8") as file:
        drawn = {line["architecture"] for line in csv.DictReader(file) if line["remark"] == RANDOM}
    texts = [e.space.format(e.genotype) for e in measured.networks if e.space and e.genotype]
    others = [e for e, text in zip(measured.networks, texts, strict=True) if text in drawn]
    own = tuple(e for e, text in zip(measured.networks, texts, strict=True) if text not in drawn)
    return MeasuredOperations(measured.operations, own, measured.number_format, measured.source), others


def check_all(out: Path) -> None:
    measured, drawn = split(out)
    order = random.Random(0).sample(range(len(drawn)), len(drawn))
    few = min(FITTED, len(drawn) // 2)
    fitted, held = [drawn[i] for i in order[:few]], [drawn[i] for i in order[few:]]
    print(f"{len(measured.operations)} operations, {len(measured.networks)} networks with them, {len(held)} to check")
    made = {
        "table": calibrate_operation_table(measured, "table"),
        f"of {few} networks": calibrate(fitted, "few"),
        "of the table's networks": calibrate(list(measured.networks), "same"),
    }
    for told, calibrated in made.items():
        model = model_from_text(calibrated.text, "mine", told)
        guessed = sum(bool(model.estimate(entry.graph).guessed_ops) for entry in held) / len(held)
        print(told, calibrated.kind, check_model(model, held), f"guessed in {guessed:.0%} of networks")


if __name__ == "__main__":
    if sys.argv[1] == "check":
        check_all(file_of(sys.argv[2]))
    else:
        measure(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4])
        check_all(file_of(sys.argv[3]))
