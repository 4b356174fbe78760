"""``nas hw calibrate``: a device file from measurements, which may be made on the spot."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nas.cli.options import JsonOption

if TYPE_CHECKING:
    from hardware_models.device_file.writer import Calibration

_DEFAULT_NETWORKS, _DEFAULT_OPERATIONS = 30, 150


def _parse_number_format(text: str | None) -> str | None:
    from hardware_models.device_file.number_format import check_number_format

    return None if text is None else check_number_format(text)


@dataclass(frozen=True)
class _CalibrationRequest:
    """What the options of ``nas hw calibrate`` ask for, whichever way the measurements come."""

    measurements: Path | None
    out: Path
    space: str | None
    device: str | None
    number_format: str | None
    samples: int | None
    about: str
    seed: int
    as_json: bool


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
    request = _CalibrationRequest(
        measurements, out, space, device, number_format, samples, about=about, seed=seed, as_json=as_json
    )
    if operations and suggest is not None:
        raise ValueError("--suggest is for whole networks; --operations --device ADDRESS --space SPACE measures")
    if operations:
        _calibrate_from_operations(request)
    elif suggest is not None:
        _write_suggestion(suggest, request)
    else:
        _calibrate_from_networks(request)


# -- from whole networks ----------------------------------------------------------------------------------------------


def _calibrate_from_networks(request: _CalibrationRequest) -> None:
    """A model from whole networks: measured now, or read from a CSV file."""
    from hardware_models.calibrate import calibrate
    from hardware_models.device_file.number_format import DEFAULT_NUMBER_FORMAT
    from hardware_models.measured.latency_csv import read_measured_networks

    measurements, number_format = request.measurements, request.number_format
    if request.device is not None:
        if request.space is None or measurements is not None:
            raise ValueError("--device needs --space, whose networks it measures, and no CSV")
        measurements, number_format = _measure_networks(request, request.device, request.space)
    if measurements is None:
        raise ValueError(
            "say what was measured: a CSV file; which networks to measure, --suggest FILE --space SPACE tells;"
            " --device ADDRESS --space SPACE measures them"
        )
    networks = read_measured_networks(measurements, [request.space] if request.space else [])
    calibration = calibrate(
        networks,
        request.out.stem,
        about=request.about,
        number_format=number_format or DEFAULT_NUMBER_FORMAT,
        seed=request.seed,
    )
    errors = calibration.errors
    ranks = f"Spearman {errors['spearman']:.3f}, " if "spearman" in errors else ""
    summary = (
        f"{calibration.kind}, {int(errors['rows'])} networks, {calibration.measured}. Each left out of the fit: {ranks}"
        f"MAPE {errors['mape_percent']:.1f} %, {errors['within_10_percent']:.0%} within 10 %."
    )
    spaces = [network.space.name for network in networks if network.space is not None]
    _write_device_file(request, calibration, summary, request.space or (spaces or ["mobiledet"])[0])


def _measure_networks(request: _CalibrationRequest, address: str, space: str) -> tuple[Path, str | None]:
    """The measurements, made now, and their number format; a file that an earlier run left is not written over."""
    from evaluators.devices.device_in_format import open_in_format
    from hardware_models.device_file.number_format import BYTES_PER_ELEMENT
    from nas.measurement.networks import measure_samples

    path = request.out.with_suffix(".csv")
    if path.exists():
        raise ValueError(
            f"{str(path)!r} is there already: calibrate from it (nas hw calibrate {path}, with --number-format as"
            " measured), or move it away"
        )
    device = open_in_format(address, request.number_format)
    samples = request.samples or _DEFAULT_NETWORKS
    with _device_and_file_errors(path):
        measure_samples(space, device, samples, path, seed=request.seed, report=_print_progress)
    return path, request.number_format or (device.precision if device.precision in BYTES_PER_ELEMENT else None)


def _write_suggestion(path: Path, request: _CalibrationRequest) -> None:
    """A CSV file of the networks that tell most of a device, its latencies to be filled in."""
    import csv
    import io

    from hardware_models.calibrate import suggest_networks
    from search_spaces.catalog import load_space

    if request.space is None:
        raise ValueError("--suggest needs --space: the space whose networks will be measured")
    space = load_space(request.space)
    genotypes = suggest_networks(space, request.samples or _DEFAULT_NETWORKS, seed=request.seed)
    architectures = [space.format(genotype) for genotype in genotypes]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["space", "architecture", "latency_ms"])
    writer.writerows([request.space, architecture, ""] for architecture in architectures)
    _write_text(path, text.getvalue())
    if request.as_json:
        typer.echo(json.dumps({"file": str(path), "architectures": architectures}))
        return
    typer.echo(
        f"{path}: {len(architectures)} networks; fill in latency_ms, then: nas hw calibrate {path} --out mine.toml"
    )


# -- from single operations -------------------------------------------------------------------------------------------


def _calibrate_from_operations(request: _CalibrationRequest) -> None:
    """A table of operations: measured now, completed, or read from a CSV file."""
    from hardware_models.operation_table.fit import calibrate_operation_table
    from hardware_models.operation_table.operation_csv import read_measured_operations

    measurements = request.measurements
    if request.device is not None:
        if request.space is None or measurements is not None:
            raise ValueError("--device needs --space, whose operations it measures, and no CSV")
        measurements = _measure_operations(request, request.device, request.space)
    if measurements is None:
        raise ValueError(
            "say what was measured: a CSV file of operations; --operations --device ADDRESS --space SPACE measures them"
        )
    measured = read_measured_operations(measurements, [request.space] if request.space else [])
    if request.number_format is not None and request.number_format != measured.number_format:
        raise ValueError(
            f"{str(measurements)!r} was measured in {measured.number_format}, not in {request.number_format}"
        )
    calibration = calibrate_operation_table(measured, request.out.stem, about=request.about)
    summary = f"table, {len(measured.operations)} operations"
    if errors := calibration.errors:
        summary += (
            f", {int(errors['rows'])} whole networks. Each left out of the fit: MAPE {errors['mape_percent']:.1f} %,"
            f" {errors['within_10_percent']:.0%} within 10 %"
        )
    _write_device_file(request, calibration, summary + ".", request.space or (*measured.spaces, "mobiledet")[0])


def _measure_operations(request: _CalibrationRequest, address: str, space: str) -> Path:
    """The operations, measured now; a file that an earlier run left is completed."""
    from evaluators.devices.device_in_format import open_in_format
    from hardware_models.device_file.number_format import check_number_format
    from nas.measurement.operations import measure_operations

    path = request.out.with_suffix(".operations.csv")
    device = open_in_format(address, request.number_format and check_number_format(request.number_format))
    samples = request.samples or _DEFAULT_OPERATIONS
    with _device_and_file_errors(path):
        measure_operations(space, device, samples, path, seed=request.seed, report=_print_progress)
    return path


# -- files and words --------------------------------------------------------------------------------------------------


def _write_device_file(request: _CalibrationRequest, calibration: Calibration, summary: str, space: str) -> None:
    """Write the device file, and print what it is and the search on ``space`` that may come next."""
    out = request.out
    _write_text(out, calibration.text)
    if request.as_json:
        document = {
            "file": str(out),
            "kind": calibration.kind,
            "measured": calibration.measured,
            "error": calibration.errors,
        }
        typer.echo(json.dumps(document))
        return
    typer.echo(f"{out}: {summary}")
    hw = str(out) if out.parent != Path() else f"./{out}"
    typer.echo(f"Next: nas search --space {space} --hw {hw}")


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
