"""nas hash, nas baselines, nas scale: single networks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from nas.cli.app import app
from nas.cli.options import JsonOption, console, parse_network


def show_network(name: str, hw: str | None, as_json: bool) -> None:
    from rich.table import Table

    from nas.candidates.metrics import METRICS
    from nas.hashing import functional_hash
    from nas.report.format import figure, metric_heading
    from search_spaces.catalog import load_network
    from search_spaces.published.networks import networks

    graph = load_network(name)
    row = networks()[name]
    figures: dict[str, Any] = {n: getattr(graph, n) for n in ("macs", "params", "variables", "peak_activation_bytes")}
    if hw is not None:
        from hardware_models.catalog import load_hardware

        figures.update({n: v for n, v in load_hardware(hw).estimate(graph).metrics().items() if n in METRICS})
    if as_json:
        typer.echo(
            json.dumps(
                {
                    "network": name,
                    "space": row.space,
                    "architecture": row.architecture,
                    "source": row.source,
                    "key": functional_hash(graph),
                    "input_shape": graph.input_shape,
                    "output_shapes": graph.output_shapes,
                    **figures,
                }
            )
        )
        return
    table = Table(title=name, title_justify="left", show_header=False)
    table.add_row("space", row.space)
    table.add_row("architecture", row.architecture)
    table.add_row("source", row.source)
    table.add_row("input", "x".join(map(str, graph.input_shape)))
    table.add_row("operations", str(len(graph)))
    for metric, value in figures.items():
        table.add_row(metric_heading(metric), figure(metric, float(value)))
    table.add_row("key", functional_hash(graph))
    console().print(table, highlight=False, markup=False)


@app.command("hash")
def hash_(
    networks: Annotated[
        list[str],
        typer.Argument(help="One or two: a published network, a graph's JSON file, or SPACE=ARCHITECTURE."),
    ],
    rules: Annotated[str, typer.Option(help="What counts as the same, such as exact, or pool-linear+bn-scale.")] = (
        "exact"
    ),
    as_json: JsonOption = False,
) -> None:
    """Print a network's functional key; of two, whether they are the same network, and if not, where they differ.

    Ends with exit code 1 where two differ.
    """
    from nas.hashing import functional_hash
    from nas.hashing.isomorphism import first_difference
    from nas.hashing.rules import parse_equivalence

    if len(networks) > 2:
        raise ValueError(f"nas hash takes one or two networks, not {len(networks)}")
    graphs = [parse_network(text) for text in networks]
    keys = [functional_hash(graph, rules=rules) for graph in graphs]
    differs = first_difference(graphs[0], graphs[1], parse_equivalence(rules)) if len(graphs) == 2 else ""
    if as_json:
        document: dict[str, Any] = {"networks": networks, "keys": keys}
        if len(graphs) == 2:
            document |= {"same": not differs, "difference": differs}
        typer.echo(json.dumps(document))
    else:
        for text, key in zip(networks, keys, strict=True):
            typer.echo(f"{key}  {text}")
        if len(graphs) == 2:
            typer.echo(f"different: {differs}" if differs else "the same network")
    if differs:
        raise typer.Exit(1)


@app.command()
def baselines(
    names: Annotated[list[str] | None, typer.Argument(help="Published networks; default: all.")] = None,
    hw: Annotated[str | None, typer.Option(help="Predict their cost on this hardware.")] = None,
    space: Annotated[str | None, typer.Option(help="Only the networks of this space.")] = None,
    as_json: JsonOption = False,
) -> None:
    """List the published networks: size, predicted latency, and the accuracy that was published, with its source."""
    from nas.measurement.published_baselines import baselines as listed
    from nas.report.baselines import baselines_table

    frame = listed(hw, names or None, space)
    if as_json:
        typer.echo(frame.to_json(orient="records"))
    else:
        console().print(baselines_table(frame), highlight=False)


@app.command()
def scale(
    base: Annotated[str, typer.Option(help="What to scale: efficientnet_b0, tinynet, or package.module:function.")],
    flops: Annotated[str, typer.Option(help="Multiply-adds to spend, such as 100M.")],
    samples: Annotated[int, typer.Option(min=4, help="Random networks to evaluate.")] = 100,
    score: Annotated[str, typer.Option(help="Zero-cost score that stands for quality.")] = "entropy",
    seed: Annotated[int, typer.Option(help="One seed, one result.")] = 0,
    out: Annotated[Path | None, typer.Option(help="Write the network's graph to this JSON file.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Scale a network to a budget by the tiny formula (Model Rubik's Cube, arXiv 2010.14819).

    What is evaluated here is a zero-cost score; with a training of your own, call nas.scaling.scale from Python.
    """
    from nas.candidates.objectives import Limit
    from nas.scaling import scale as scaled
    from search_spaces.registry import import_object

    named = import_object(base) if ":" in base else base
    found = scaled(named, Limit.parse(f"macs<={flops}").bound, samples=samples, evaluator=score, seed=seed)
    if out is not None:
        out.write_text(found.graph.to_json(), encoding="utf-8")
    if as_json:
        typer.echo(json.dumps(found.to_document()))
        return
    typer.echo(
        f"{found.base} at {found.target_macs / 1e6:.1f} M MACs: resolution x{found.resolution:g}"
        f" (+-{found.resolution_std:.2f}), depth x{found.depth:g} (+-{found.depth_std:.2f}), width x{found.width:g}:"
        f" {found.macs / 1e6:.1f} M MACs, {found.graph.params / 1e6:.2f} M parameters,"
        f" input {'x'.join(map(str, found.graph.input_shape))}"
    )
