"""``nas hw``: the hardware models, what they predict, how good they are, and one of one's own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from nas.cli.options import JsonOption, console, parse_network

hw_app = typer.Typer(help="List the hardware models, look at one, predict, calibrate, check.", no_args_is_help=False)

_ERROR_COLUMNS = {
    "rows": "networks",
    "spearman": "Spearman",
    "mape_percent": "MAPE %",
    "within_10_percent": "within 10 %",
}


@hw_app.callback(invoke_without_command=True)
def hw(ctx: typer.Context, as_json: JsonOption = False) -> None:
    """List the hardware models."""
    if not ctx.invoked_subcommand:
        hw_list(as_json)


@hw_app.command("list")
def hw_list(as_json: JsonOption = False) -> None:
    """List the hardware models, with their errors on networks that were left out of the fit."""
    from rich.table import Table

    from hardware_models.catalog import hardware
    from hardware_models.device_facts import device_facts
    from hardware_models.device_file.number_format import NUMBER_FORMAT_KEY

    rows = {name: device_facts(name) for name in hardware()}
    if as_json:
        typer.echo(json.dumps({name: {**facts, "what": hardware()[name].summary} for name, facts in rows.items()}))
        return
    table = Table("hardware", "what it is", "kind", "numbers", *_ERROR_COLUMNS.values(), "energy")
    for name, facts in rows.items():
        error = facts["error"]
        figures = [f"{error[key]:g}" if key in error else "" for key in _ERROR_COLUMNS]
        energy = "yes" if "energy_error" in facts else ""
        table.add_row(name, hardware()[name].summary, facts["kind"], facts[NUMBER_FORMAT_KEY], *figures, energy)
    screen = console()
    screen.print(table)
    screen.print("Errors are those on networks left out of the fit. Your own: nas hw calibrate", highlight=False)


@hw_app.command("show")
def hw_show(
    name: Annotated[str, typer.Argument(help="A hardware model's name, or its TOML file.")], as_json: JsonOption = False
) -> None:
    """Show what a hardware model rests on and how far it is off."""
    from rich.table import Table

    from hardware_models.device_facts import device_facts

    facts = device_facts(name)
    if as_json:
        typer.echo(json.dumps(facts))
        return
    table = Table(title=name, title_justify="left", show_header=False)
    for key, value in facts.items():
        text = ", ".join(f"{k} {v:g}" for k, v in value.items()) if isinstance(value, dict) else str(value)
        table.add_row(key.replace("_", " "), text)
    console().print(table, highlight=False, markup=False)


@hw_app.command("predict")
def hw_predict(
    network: Annotated[str, typer.Argument(help="A published network, a graph's JSON file, or SPACE=ARCHITECTURE.")],
    hw: Annotated[str, typer.Option(help="A hardware model's name, or its TOML file.")] = "edgetpu",
    layers: Annotated[bool, typer.Option(help="Every operation, not the total alone.")] = False,
    plot: Annotated[Path | None, typer.Option(help="Draw the time of every operation into this PNG or SVG.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Predict what a network costs on a device."""
    from hardware_models.catalog import load_hardware
    from hardware_models.device_file.number_format import number_format_of

    model = load_hardware(hw)
    cost, number_format = model.estimate(parse_network(network)), number_format_of(model)
    if plot is not None:
        from nas.report.plots import plot_layers

        plot_layers(cost, f"{network} on {hw}", plot)
    if as_json:
        document: dict[str, Any] = {"network": network, "source": cost.source, "number_format": number_format}
        document |= cost.metrics()
        document |= {"latency_interval_ms": [cost.latency_low_ms, cost.latency_high_ms], "coverage": cost.coverage}
        document |= {"guessed_ops": list(cost.guessed_ops), "fallback_ops": list(cost.fallback_ops)}
        document |= {"unsupported_ops": list(cost.unsupported_ops)}
        rows = [r._asdict() for r in cost.breakdown()] if layers else None
        typer.echo(json.dumps(document | ({"layers": rows} if layers else {})))
        return
    screen = console()
    if layers:
        screen.print(_layers_table(cost))
    screen.print(_cost_line(network, hw, cost, number_format), highlight=False, markup=False)
    remarks = (
        ("Run on the host's CPU", cost.fallback_ops),
        ("Priced by a guess", cost.guessed_ops),
        ("Cannot run there", cost.unsupported_ops),
    )
    for line, kinds in remarks:
        if kinds:
            screen.print(f"{line}: {', '.join(kinds)}", highlight=False, markup=False)
    if plot is not None:
        screen.print(f"Picture: {plot}", highlight=False, markup=False)


def _cost_line(network: str, hw: str, cost: Any, number_format: str | None) -> str:
    interval = ""
    if cost.latency_low_ms is not None:
        interval = f" ({cost.latency_low_ms:.2f} to {cost.latency_high_ms:.2f}, {cost.coverage:.0%} of networks)"
    energy = f", {cost.energy_mj:.2f} mJ" if cost.energy_mj is not None else ""
    numbers = f", {number_format}" if number_format else ""
    return f"{network} on {hw}: {cost.latency_ms:.2f} ms{interval}{energy}{numbers}, {cost.source}"


def _layers_table(cost: Any) -> Any:
    from rich.table import Table

    table = Table("node", "operation", "shape", "MACs", "latency (ms)", "bound by")
    for r in cost.breakdown():
        index = "" if r.index is None else str(r.index)
        table.add_row(index, r.op, "x".join(map(str, r.shape)), f"{r.macs:,}", f"{r.latency_ms:.4f}", r.bound)
    return table


def _parse_number_format(text: str | None) -> str | None:
    from hardware_models.device_file.number_format import check_number_format

    return None if text is None else check_number_format(text)


@hw_app.command("calibrate")
def hw_calibrate(
    measurements: Annotated[
        Path | None, typer.Argument(help="CSV: space,architecture,latency_ms or network,latency_ms.")
    ] = None,
    out: Annotated[Path, typer.Option(help="The device file to write, for --hw.")] = Path("mine.toml"),
    suggest_networks: Annotated[
        Path | None, typer.Option(help="Write the networks to measure into this CSV instead.")
    ] = None,
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
    seed: Annotated[int, typer.Option(help="Of the networks that are drawn.")] = 0,
    force: Annotated[bool, typer.Option("--force", help="Write over a file that is there.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Make a device file from a few measurements; --suggest says which networks tell most, --device measures them.

    What the known devices have in common is transferred, so that ten measurements go a long way.
    """
    target = suggest_networks or out
    if target.exists() and not force:
        raise ValueError(
            f"{str(target)!r} is there already; name another with --{'suggest' if suggest_networks else 'out'}, or say --force"
        )
    if operations:
        if suggest_networks is not None:
            raise ValueError("--suggest is for whole networks; --operations --device ADDRESS --space SPACE measures")
        _calibrate_operations(measurements, out, space, device, number_format, samples or 150, about, seed, as_json)
        return
    if suggest_networks is not None:
        _write_suggestion(suggest_networks, space, samples or 30, seed, as_json)
        return
    if device is not None:
        if space is None or measurements is not None:
            raise ValueError("--device needs --space, whose networks it measures, and no CSV")
        measurements, number_format = _measure_networks(
            out.with_suffix(".csv"), space, device, number_format, samples or 30, seed
        )
    if measurements is None:
        raise ValueError(
            "say what was measured: a CSV file; which networks to measure, --suggest FILE --space SPACE tells;"
            " --device ADDRESS --space SPACE measures them"
        )
    from hardware_models.calibrate import calibrate
    from hardware_models.device_file.number_format import DEFAULT_NUMBER_FORMAT
    from hardware_models.measured.latency_csv import read_measured_networks

    entries = read_measured_networks(measurements, [space] if space else [])
    calibrated = calibrate(
        entries, out.stem, about=about, number_format=number_format or DEFAULT_NUMBER_FORMAT, seed=seed
    )
    _write_text(out, calibrated.text)
    if as_json:
        typer.echo(
            json.dumps(
                {"file": str(out), "kind": calibrated.kind, "measured": calibrated.measured, "error": calibrated.errors}
            )
        )
        return
    e = calibrated.errors
    ranks = f"Spearman {e['spearman']:.3f}, " if "spearman" in e else ""
    typer.echo(
        f"{out}: {calibrated.kind}, {int(e['rows'])} networks, {calibrated.measured}. Each left out of the fit: {ranks}MAPE"
        f" {e['mape_percent']:.1f} %, {e['within_10_percent']:.0%} within 10 %."
    )
    spaces = [e.space.name for e in entries if e.space is not None]
    typer.echo(f"Next: nas search --space {space or (spaces or ['mobiledet'])[0]} --hw {_hw_argument(out)}")


def _calibrate_operations(
    measurements: Path | None,
    out: Path,
    space: str | None,
    device: str | None,
    number_format: str | None,
    samples: int,
    about: str,
    seed: int,
    as_json: bool,
) -> None:
    """A table of operations: measured now, gone on with, or read from a CSV file."""
    from hardware_models.operation_table.fit import calibrate_operation_table
    from hardware_models.operation_table.operation_csv import read_measured_operations

    if device is not None:
        if space is None or measurements is not None:
            raise ValueError("--device needs --space, whose operations it measures, and no CSV")
        measurements = _measure_operations(
            out.with_suffix(".operations.csv"), space, device, number_format, samples, seed
        )
    if measurements is None:
        raise ValueError(
            "say what was measured: a CSV file of operations; --operations --device ADDRESS --space SPACE measures them"
        )
    measured = read_measured_operations(measurements, [space] if space else [])
    if number_format is not None and number_format != measured.number_format:
        raise ValueError(f"{str(measurements)!r} was measured in {measured.number_format}, not in {number_format}")
    calibrated = calibrate_operation_table(measured, out.stem, about=about)
    _write_text(out, calibrated.text)
    if as_json:
        typer.echo(
            json.dumps(
                {"file": str(out), "kind": calibrated.kind, "measured": calibrated.measured, "error": calibrated.errors}
            )
        )
        return
    line = f"{out}: table, {len(measured.operations)} operations"
    if calibrated.errors:
        e = calibrated.errors
        line += (
            f", {int(e['rows'])} whole networks. Each left out of the fit: MAPE {e['mape_percent']:.1f} %,"
            f" {e['within_10_percent']:.0%} within 10 %"
        )
    typer.echo(line + ".")
    typer.echo(f"Next: nas search --space {space or (*measured.spaces, 'mobiledet')[0]} --hw {_hw_argument(out)}")


def _measure_operations(to: Path, space: str, device: str, number_format: str | None, samples: int, seed: int) -> Path:
    """The operations, measured now; what an earlier run left is gone on with."""
    from evaluators.devices.device import DeviceError
    from hardware_models.device_file.number_format import check_number_format
    from nas.measurement.device_in_format import open_in_format
    from nas.measurement.operations import measure_operations

    opened_device = open_in_format(device, number_format and check_number_format(number_format))
    try:
        measure_operations(space, opened_device, samples, to, seed=seed, report=lambda text: typer.echo(text, err=True))
    except DeviceError as error:
        raise ValueError(str(error)) from None
    except OSError as error:
        raise ValueError(f"cannot write {str(to)!r}: {error.strerror}") from None
    return to


def _measure_networks(
    to: Path, space: str, device: str, number_format: str | None, samples: int, seed: int
) -> tuple[Path, str | None]:
    """The measurements, made now, and their number format; a file that an earlier run left is not written over."""
    from evaluators.devices.device import DeviceError
    from hardware_models.device_file.number_format import BYTES_PER_ELEMENT
    from nas.measurement.device_in_format import open_in_format
    from nas.measurement.networks import measure_samples

    if to.exists():
        raise ValueError(
            f"{str(to)!r} is there already: calibrate from it (nas hw calibrate {to}, with --number-format as"
            " measured), or move it away"
        )
    opened_device = open_in_format(device, number_format)
    try:
        measure_samples(space, opened_device, samples, to, seed=seed, report=lambda text: typer.echo(text, err=True))
    except DeviceError as error:
        raise ValueError(str(error)) from None
    except OSError as error:
        raise ValueError(f"cannot write {str(to)!r}: {error.strerror}") from None
    return to, number_format or (opened_device.precision if opened_device.precision in BYTES_PER_ELEMENT else None)


@hw_app.command("measure")
def hw_measure(
    network: Annotated[str, typer.Argument(help="A published network, a graph's JSON file, or SPACE=ARCHITECTURE.")],
    device: Annotated[str, typer.Option(help="onnxruntime?threads=1, litert, ethos-u55-128, adb://..., ssh://...")],
    hw: Annotated[
        str | None, typer.Option(help="The hardware model to compare with; the device runs its number format.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Measure a network on a real device, or ask a vendor's compiler for its estimate."""
    from dataclasses import asdict

    from evaluators.devices.device import DeviceError
    from hardware_models.catalog import load_hardware
    from hardware_models.device_file.number_format import number_format_of
    from nas.measurement.device_in_format import open_in_format
    from nas.measurement.networks import measure_network

    graph = parse_network(network)
    model = None if hw is None else load_hardware(hw)
    opened_device = open_in_format(device, number_format_of(model), "" if model is None else model.name)
    try:
        result = measure_network(graph, opened_device)
    except DeviceError as error:
        raise ValueError(str(error)) from None
    predicted = None if model is None else model.estimate(graph)
    if as_json:
        document = {"network": network, "number_format": opened_device.precision, **asdict(result)}
        if predicted is not None:
            document |= {"predicted_ms": predicted.latency_ms, "predicted_by": predicted.source}
        typer.echo(json.dumps(document, default=str))
        return
    spread = f" (5 % to 95 %: {result.low_ms:.3g} to {result.high_ms:.3g})" if result.repeats > 1 else ""
    typer.echo(f"{network}: {result.latency_ms:.3g} ms{spread}, {opened_device.precision}, {result.source}")
    if predicted is not None:
        percent = 100 * (predicted.latency_ms / result.latency_ms - 1)
        typer.echo(f"  predicted: {predicted.latency_ms:.3g} ms, {percent:+.1f} %, {predicted.source}")
    for name, value in result.extra.items():
        typer.echo(f"  {name.replace('_', ' ')}: {value:g}")
    for line in (*[f"left to a processor: {op}" for op in result.fallback_ops], *result.warnings):
        typer.echo(f"  {line}")


def _write_suggestion(to: Path, space: str | None, samples: int, seed: int, as_json: bool) -> None:
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
    _write_text(to, text.getvalue())
    if as_json:
        typer.echo(json.dumps({"file": str(to), "architectures": architectures}))
    else:
        typer.echo(
            f"{to}: {len(architectures)} networks; fill in latency_ms, then: nas hw calibrate {to} --out mine.toml"
        )


def _hw_argument(out: Path) -> str:
    return str(out) if out.parent != Path() else f"./{out}"


def _write_text(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ValueError(f"cannot write {str(path)!r}: {error.strerror}") from None


@hw_app.command("check")
def hw_check(
    device: Annotated[str, typer.Argument(help="A hardware model's name, or its TOML file.")],
    against: Annotated[Path, typer.Option(help="CSV: space,architecture,latency_ms or network,latency_ms.")],
    space: Annotated[str | None, typer.Option(help="A FILE.py:NAME that the CSV may name as a space.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Compare a hardware model with measurements: rank correlations, errors, how many its intervals hold."""
    from rich.table import Table

    from hardware_models.calibrate import check_model
    from hardware_models.catalog import load_hardware
    from hardware_models.measured.latency_csv import read_measured_networks

    result = check_model(load_hardware(device), read_measured_networks(against, [space] if space else []))
    if as_json:
        typer.echo(json.dumps({"device": device, "against": str(against), **result}))
        return
    table = Table(title=f"{device} against {against}", title_justify="left", show_header=False)
    for name, value in result.items():
        table.add_row(name.replace("_", " "), f"{value:g}")
    console().print(table, highlight=False, markup=False)
