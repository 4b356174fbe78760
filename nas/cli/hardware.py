"""``nas hw``: the hardware models, what they predict and how good they are; networks on real devices."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nas.cli.calibrate import calibrate_device
from nas.cli.options import JsonOption, console, parse_network

if TYPE_CHECKING:
    from rich.table import Table

    from hardware_models.cost import Cost

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
        list_models(as_json)


def list_models(as_json: JsonOption = False) -> None:
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


def show_model(
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


def predict_cost(
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
    graph = parse_network(network)
    cost, number_format = model.estimate(graph), number_format_of(model)
    if plot is not None:
        from nas.report.plots import plot_layers

        plot_layers(cost, f"{network} on {hw}", plot)
    if as_json:
        typer.echo(json.dumps(_cost_document(network, cost, number_format, layers)))
        return
    screen = console()
    if layers:
        screen.print(_layers_table(cost, graph.names))
    screen.print(_cost_line(network, hw, cost, number_format), highlight=False, markup=False)
    remarks = (
        ("Run on the host's CPU", cost.fallback_ops),
        ("Priced by a guess", cost.guessed_ops),
        ("Cannot run there", cost.unsupported_ops),
    )
    for remark, kinds in remarks:
        if kinds:
            screen.print(f"{remark}: {', '.join(kinds)}", highlight=False, markup=False)
    if plot is not None:
        screen.print(f"Picture: {plot}", highlight=False, markup=False)


def _cost_document(network: str, cost: Cost, number_format: str | None, layers: bool) -> dict[str, Any]:
    document: dict[str, Any] = {"network": network, "source": cost.source, "number_format": number_format}
    document |= cost.metrics()
    document |= {"latency_interval_ms": [cost.latency_low_ms, cost.latency_high_ms], "coverage": cost.coverage}
    document |= {"guessed_ops": list(cost.guessed_ops), "fallback_ops": list(cost.fallback_ops)}
    document |= {"unsupported_ops": list(cost.unsupported_ops)}
    if layers:
        document["layers"] = [row._asdict() for row in cost.breakdown()]
    return document


def _cost_line(network: str, hw: str, cost: Cost, number_format: str | None) -> str:
    interval = ""
    if cost.latency_low_ms is not None:
        interval = f" ({cost.latency_low_ms:.2f} to {cost.latency_high_ms:.2f}, {cost.coverage:.0%} of networks)"
    energy = f", {cost.energy_mj:.2f} mJ" if cost.energy_mj is not None else ""
    numbers = f", {number_format}" if number_format else ""
    return f"{network} on {hw}: {cost.latency_ms:.2f} ms{interval}{energy}{numbers}, {cost.source}"


def _layers_table(cost: Cost, names: Sequence[str]) -> Table:
    from rich.table import Table

    table = Table("node", "operation", "shape", "MACs", "latency (ms)", "bound by")
    for row in cost.breakdown():
        name, shape = "" if row.index is None else names[row.index], "x".join(map(str, row.shape))
        table.add_row(name, row.op, shape, f"{row.macs:,}", f"{row.latency_ms:.4f}", row.bound)
    return table


def measure_on_device(
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
    from evaluators.devices.device_in_format import open_in_format
    from hardware_models.catalog import load_hardware
    from hardware_models.device_file.number_format import number_format_of
    from nas.measurement.networks import measure_network

    graph = parse_network(network)
    model = None if hw is None else load_hardware(hw)
    real_device = open_in_format(device, number_format_of(model), "" if model is None else model.name)
    try:
        result = measure_network(graph, real_device)
    except DeviceError as error:
        raise ValueError(str(error)) from None
    predicted = None if model is None else model.estimate(graph)
    if as_json:
        document = {"network": network, "number_format": real_device.precision, **asdict(result)}
        if predicted is not None:
            document |= {"predicted_ms": predicted.latency_ms, "predicted_by": predicted.source}
        typer.echo(json.dumps(document, default=str))
        return
    spread = f" (5 % to 95 %: {result.low_ms:.3g} to {result.high_ms:.3g})" if result.repeats > 1 else ""
    typer.echo(f"{network}: {result.latency_ms:.3g} ms{spread}, {real_device.precision}, {result.source}")
    if predicted is not None:
        percent = 100 * (predicted.latency_ms / result.latency_ms - 1)
        typer.echo(f"  predicted: {predicted.latency_ms:.3g} ms, {percent:+.1f} %, {predicted.source}")
    for name, value in result.extra.items():
        typer.echo(f"  {name.replace('_', ' ')}: {value:g}")
    for line in (*[f"left to a processor: {op}" for op in result.fallback_ops], *result.warnings):
        typer.echo(f"  {line}")


def check_against_measurements(
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


hw_app.command("list")(list_models)
hw_app.command("show")(show_model)
hw_app.command("predict")(predict_cost)
hw_app.command("calibrate")(calibrate_device)
hw_app.command("measure")(measure_on_device)
hw_app.command("check")(check_against_measurements)
