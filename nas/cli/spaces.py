"""``nas spaces``: the search spaces, and one of them in detail."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from nas.cli.options import JsonOption, console, parse_assignments

spaces_app = typer.Typer(help="List the search spaces, or look at one.", no_args_is_help=False)


@spaces_app.callback(invoke_without_command=True)
def spaces(ctx: typer.Context, as_json: JsonOption = False) -> None:
    """List the search spaces and the published networks."""
    if not ctx.invoked_subcommand:
        list_spaces(as_json)


@spaces_app.command("list")
def list_spaces(as_json: JsonOption = False) -> None:
    """List the search spaces and the published networks."""
    from rich.table import Table

    from search_spaces.catalog import spaces as space_rows
    from search_spaces.published.networks import networks

    if as_json:
        summaries = {name: row.summary for name, row in space_rows().items()}
        typer.echo(json.dumps({"spaces": summaries, "networks": list(networks())}))
        return
    table = Table("space", "what it is", "published networks", title_justify="left")
    with_space: set[str] = set()
    for name, row in space_rows().items():
        members = [n for n, r in networks().items() if r.space == name]
        with_space.update(members)
        table.add_row(name, row.summary, ", ".join(members))
    screen = console()
    screen.print(table)
    others = [n for n in networks() if n not in with_space]
    if others:
        screen.print("Other published networks: " + ", ".join(others), highlight=False, markup=False)
    screen.print("Your own: nas search --space ./my_space.py:my_space ...", highlight=False, markup=False)


@spaces_app.command("show")
def spaces_show(
    space: Annotated[str, typer.Argument(help="A space, in any form that --space takes.")],
    option: Annotated[list[str], typer.Option("--set", help="Option of the space; repeatable.")] = [],  # noqa: B006
    hw: Annotated[str | None, typer.Option(help="Predict latency too: a hardware model, or its TOML file.")] = None,
    samples: Annotated[int, typer.Option(min=0, help="Random networks to look at; 0: show the choices alone.")] = 200,
    seed: Annotated[int, typer.Option(help="Of the random networks and of the picture's.")] = 0,
    picture: Annotated[Path | None, typer.Option(help="Draw one network into this PNG, SVG or PDF file.")] = None,
    network: Annotated[
        str, typer.Option(help="What to draw: a published network or an architecture; default: a random one.")
    ] = "",
    as_json: JsonOption = False,
) -> None:
    """Show a space's choices by stage, how many networks there are, and how far their figures reach."""
    from time import perf_counter

    from hardware_models.catalog import load_hardware
    from nas.report import space_summary, space_tables
    from search_spaces.catalog import load_space

    start_s = perf_counter()
    loaded = load_space(space, **parse_assignments(option, "--set"))
    model = None if hw is None else load_hardware(hw)
    if picture is None and network:
        raise ValueError("--network says what --picture draws: name a file too, such as --picture network.png")
    if picture is not None:
        from nas.report.network_picture.picture import draw_graph

        title, graph = space_summary.select_network(loaded, network, seed)
        draw_graph(graph, picture, title)
    ranges = space_summary.metric_ranges(loaded, model, samples=samples, seed=seed) if samples else None
    published = space_summary.published_members(loaded, model)
    device = None if model is None else model.name
    if as_json:
        document = space_tables.space_document(loaded, ranges, published, device)
        typer.echo(json.dumps(document | {"picture": picture and str(picture)}, default=str))
        return
    screen = console()
    screen.print(space_tables.stages_table(loaded, ranges), highlight=False, markup=False)
    if ranges is not None:
        screen.print(space_tables.ranges_table(ranges, published, device), highlight=False, markup=False)
    elif published:
        screen.print("Published networks: " + ", ".join(r.name for r in published), highlight=False, markup=False)
    last_line = f"Nothing was trained; {perf_counter() - start_s:.1f} s." + (f" Picture: {picture}" if picture else "")
    screen.print(last_line, highlight=False, markup=False)
