"""``nas hash``, ``nas baselines`` and ``nas scale``: single networks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from nas.cli.options import JsonOption, console, parse_network


def show_network(name: str, hw: str | None, as_json: bool) -> None:
    """Print a published network: where it comes from, its size, its predicted cost on ``hw``, and its key."""
    from rich.table import Table

    from nas.candidates.metrics import METRICS
    from nas.hashing import functional_hash
    from nas.report.format import format_metric, metric_heading
    from search_spaces.catalog import load_network
    from search_spaces.published.networks import networks

    graph = load_network(name)
    row = networks()[name]
    figures: dict[str, Any] = {n: getattr(graph, n) for n in ("macs", "params", "variables", "peak_activation_bytes")}
    if hw is not None:
        from hardware_models.catalog import load_hardware

        figures.update({n: v for n, v in load_hardware(hw).estimate(graph).metrics().items() if n in METRICS})
    if as_json:
        document = {
            "network": name,
            "space": row.space,
            "architecture": row.architecture,
            "source": row.source,
            "key": functional_hash(graph),
            "input_shape": graph.input_shape,
            "output_shapes": graph.output_shapes,
            **figures,
        }
        typer.echo(json.dumps(document))
        return
    table = Table(title=name, title_justify="left", show_header=False)
    table.add_row("space", row.space)
    table.add_row("architecture", row.architecture)
    table.add_row("source", row.source)
    table.add_row("input", "x".join(map(str, graph.input_shape)))
    table.add_row("operations", str(len(graph)))
    for metric, value in figures.items():
        table.add_row(metric_heading(metric), format_metric(metric, float(value)))
    table.add_row("key", functional_hash(graph))
    console().print(table, highlight=False, markup=False)


def hash_networks(
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
    from nas.hashing.equivalence import parse_equivalence
    from nas.hashing.isomorphism import first_difference

    if len(networks) > 2:
        raise ValueError(f"nas hash takes one or two networks, not {len(networks)}")
    graphs = [parse_network(text) for text in networks]
    keys = [functional_hash(graph, rules=rules) for graph in graphs]
    difference = first_difference(graphs[0], graphs[1], parse_equivalence(rules)) if len(graphs) == 2 else ""
    if as_json:
        document: dict[str, Any] = {"networks": networks, "keys": keys}
        if len(graphs) == 2:
            document |= {"same": not difference, "difference": difference}
        typer.echo(json.dumps(document))
    else:
        for text, key in zip(networks, keys, strict=True):
            typer.echo(f"{key}  {text}")
        if len(graphs) == 2:
            typer.echo(f"different: {difference}" if difference else "the same network")
    if difference:
        raise typer.Exit(1)


def baselines(
    names: Annotated[list[str] | None, typer.Argument(help="Published networks; default: all.")] = None,
    hw: Annotated[str | None, typer.Option(help="Predict their cost on this hardware.")] = None,
    space: Annotated[str | None, typer.Option(help="Only the networks of this space.")] = None,
    as_json: JsonOption = False,
) -> None:
    """List the published networks: size, predicted latency, and the accuracy that was published, with its source."""
    from nas.candidates.published_baselines import baselines as baselines_frame
    from nas.report.baselines import baselines_table

    frame = baselines_frame(hw, names or None, space)
    if as_json:
        typer.echo(frame.to_json(orient="records"))
    else:
        console().print(baselines_table(frame), highlight=False)


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

    What is evaluated here is a zero-cost score; with a training of your own, call nas.compound_scaling.scale from
    Python.
    """
    from nas.candidates.constraints import Limit
    from nas.compound_scaling import scale as scale_network
    from search_spaces.registry import import_object

    base_network = import_object(base) if ":" in base else base
    budget_macs = Limit.parse(f"macs<={flops}").bound
    scaled = scale_network(base_network, budget_macs, samples=samples, evaluator=score, seed=seed)
    if out is not None:
        out.write_text(scaled.graph.to_json(), encoding="utf-8")
    if as_json:
        typer.echo(json.dumps(scaled.to_document()))
        return
    typer.echo(
        f"{scaled.base} at {scaled.target_macs / 1e6:.1f} M MACs: resolution x{scaled.resolution:g}"
        f" (+-{scaled.resolution_std:.2f}), depth x{scaled.depth:g} (+-{scaled.depth_std:.2f}),"
        f" width x{scaled.width:g}: {scaled.macs / 1e6:.1f} M MACs, {scaled.graph.params / 1e6:.2f} M parameters,"
        f" input {'x'.join(map(str, scaled.graph.input_shape))}"
    )
