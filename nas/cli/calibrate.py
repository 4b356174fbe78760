"""``nas hw calibrate``: a device file from measurements, which may be made on the spot."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nas.cli.options import JsonOption

if TYPE_CHECKING:
    from hardware_models.calibrate import Calibration
    from hardware_models.operation_table.operation_csv import Measurement


@dataclass(frozen=True)
class _Subject:
    """What is measured: the words for it, how many by default, where measurements go, and what makes them."""

    noun: str
    samples: int
    suffix: str
    measure: str
    completes_files: bool
    how_to: str


_NETWORKS = _Subject(
    "networks",
    30,
    ".csv",
    "nas.measurement.networks:measure_samples",
    False,
    "a CSV file; which networks to measure, --suggest FILE --space SPACE tells;"
    " --device ADDRESS --space SPACE measures them",
)
_OPERATIONS = _Subject(
    "operations",
    150,
    ".operations.csv",
    "nas.measurement.operations:measure_operations",
    True,
    "a CSV file of operations; --operations --device ADDRESS --space SPACE measures them",
)


def _parse_number_format(text: str | None) -> str | None:
    from hardware_models.device_file.number_format import check_number_format

    return None if text is None else check_number_format(text)


def calibrate_device(
    measurements: Annotated[
        Path | None, typer.Argument(help="CSV: space,architecture,latency_ms or network,latency_ms.")
    ] = None,
    out: Annotated[Path, typer.Option(help="The device file to write, for --hw.")] = Path("mine.toml"),
    suggest: Annotated[Path | None, typer.Option(help="Write the networks to measure into this CSV instead.")] = None,
    space: Annotated[
        str | None,
        typer.Option(help="The space whose networks are measured. With a CSV: a FILE.py:NAME that it may name."),
    ] = None,
    device: Annotated[
        str | None, typer.Option(help="Measure them now, on this device: onnxruntime?threads=1, adb://..., ssh://...")
    ] = None,
    samples: Annotated[
        int | None,
        typer.Option(min=4, help="With --suggest or --device: how many; 30, with --operations 150."),
    ] = None,
    operations: Annotated[
        bool,
        typer.Option("--operations", help="Measure single operations and make a table of them; the CSV holds these."),
    ] = False,
    about: Annotated[str, typer.Option(help="What the device is, in a line.")] = "",
    number_format: Annotated[
        str | None,
        typer.Option(
            help="float32, float16, bfloat16 or int8; default: what --device runs, else float32.",
            callback=_parse_number_format,
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the random networks.")] = 0,
    force: Annotated[bool, typer.Option("--force", help="Write over a file that is there.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Make a device file from a few measurements; --suggest says which networks tell most, --device measures them.

    What the known devices have in common is transferred, so that ten measurements go a long way.
    """
    target, option = (out, "out") if suggest is None else (suggest, "suggest")
    if target.exists() and not force:
        raise ValueError(f"{str(target)!r} is there already; name another with --{option}, or say --force")
    if operations and suggest is not None:
        raise ValueError("--suggest is for whole networks; --operations --device ADDRESS --space SPACE measures")
    if suggest is not None:
        _write_suggestion(suggest, space, samples or _NETWORKS.samples, seed, as_json)
        return
    from hardware_models.calibrate import calibrate, read_measurements
    from hardware_models.catalog import save_hardware

    subject = _OPERATIONS if operations else _NETWORKS
    if device is not None:
        if space is None or measurements is not None:
            raise ValueError(f"--device needs --space, whose {subject.noun} it measures, and no CSV")
        measurements = out.with_suffix(subject.suffix)
        number_format = _measure(subject, device, space, samples or subject.samples, measurements, number_format, seed)
    if measurements is None:
        raise ValueError(f"say what was measured: {subject.how_to}")
    rows = read_measurements(measurements, [space] if space else [], operations=operations)
    made = calibrate(rows, out.stem, about=about, number_format=number_format, seed=seed)
    save_hardware(out, made.header, made.model)
    if as_json:
        document = {"file": str(out), "kind": made.kind, "measured": made.executed_graph, "error": dict(made.errors)}
        typer.echo(json.dumps(document))
        return
    typer.echo(f"{out}: {_summary(made, rows)}")
    typer.echo(
        f"Next: nas search --space {space or _space_of(rows)} --hw {out if out.parent != Path() else f'./{out}'}"
    )


def _measure(
    subject: _Subject, address: str, space: str, samples: int, path: Path, number_format: str | None, seed: int
) -> str | None:
    """Measure into a file; the number format of what was measured, where the device has one that models know."""
    from evaluators.devices.device_in_format import open_in_format
    from hardware_models.device_file.number_format import BYTES_PER_ELEMENT
    from search_spaces.registry import import_object

    if path.exists() and not subject.completes_files:
        raise ValueError(
            f"{str(path)!r} is there already: calibrate from it (nas hw calibrate {path}, with --number-format as"
            " measured), or move it away"
        )
    device = open_in_format(address, number_format)
    with _device_and_file_errors(path):
        import_object(subject.measure)(space, device, samples, path, seed=seed, report=_print_progress)
    return number_format or (device.precision if device.precision in BYTES_PER_ELEMENT else None)


def _summary(made: Calibration, rows: Sequence[Measurement]) -> str:
    """What was made, of how many measurements, and how good it is on networks left out."""
    from hardware_models.operation_table.operation_csv import MeasuredOperation

    errors = made.errors
    operations = len({row.operation for row in rows if isinstance(row, MeasuredOperation)})
    parts = [made.kind, f"{operations} operations" if operations else ""]
    parts.append(f"{int(errors['rows'])} {'whole ' if operations else ''}networks" if errors else "")
    parts.append("" if operations else made.executed_graph)
    summary = ", ".join(filter(None, parts)) + "."
    if not errors:
        return summary
    ranks = f"Spearman {errors['spearman']:.3f}, " if "spearman" in errors and not operations else ""
    return (
        f"{summary} Each left out of the fit: {ranks}MAPE {errors['mape_percent']:.1f} %,"
        f" {errors['within_10_percent']:.0%} within 10 %."
    )


def _space_of(rows: Sequence[Measurement]) -> str:
    """A space that measured networks are of, as their file names it, for the search that may come next."""
    from hardware_models.measured.network import MeasuredNetwork

    networks = [row for row in rows if isinstance(row, MeasuredNetwork)]
    spaces = [network.name.partition("=")[0] for network in networks if network.space is not None]
    return (spaces or ["mobiledet"])[0]


def _write_suggestion(path: Path, space: str | None, samples: int, seed: int, as_json: bool) -> None:
    """A CSV file of the networks that tell most of a device, its latencies to be filled in."""
    import csv
    import io

    from hardware_models.calibrate import suggest_networks
    from search_spaces.catalog import load_space

    if space is None:
        raise ValueError("--suggest needs --space: the space whose networks will be measured")
    loaded = load_space(space)
    architectures = [loaded.format(genotype) for genotype in suggest_networks(loaded, samples, seed=seed)]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["space", "architecture", "latency_ms"])
    writer.writerows([space, architecture, ""] for architecture in architectures)
    _write_text(path, text.getvalue())
    if as_json:
        typer.echo(json.dumps({"file": str(path), "architectures": architectures}))
        return
    typer.echo(
        f"{path}: {len(architectures)} networks; fill in latency_ms, then: nas hw calibrate {path} --out mine.toml"
    )


def _write_text(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ValueError(f"cannot write {str(path)!r}: {error.strerror}") from None


@contextmanager
def _device_and_file_errors(path: Path) -> Iterator[None]:
    """A device that fails, or a file that cannot be written, is the user's to mend."""
    from evaluators.devices.device import DeviceError

    try:
        yield
    except DeviceError as error:
        raise ValueError(str(error)) from None
    except OSError as error:
        raise ValueError(f"cannot write {str(path)!r}: {error.strerror}") from None


def _print_progress(line: str) -> None:
    typer.echo(line, err=True)
