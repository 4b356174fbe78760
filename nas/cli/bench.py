"""``nas bench``: search algorithms against each other on tables of measured networks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nas.cli.options import JsonOption, console

if TYPE_CHECKING:
    from nas.bench.tables.table import BenchTable

bench_app = typer.Typer(help="Search algorithms against each other, on networks that are measured already.")

QUICK_SEEDS, QUICK_EVALUATIONS = 3, 100


@bench_app.callback()
def bench() -> None:
    """Search algorithms against each other, on networks that are measured already."""


@bench_app.command()
def searchers(
    tables: Annotated[
        str, typer.Option(help="Joined by commas: nb201_c100, nb201_c10@pixel3, accel@zcu102, ...; default: all.")
    ] = "",
    searchers: Annotated[
        str, typer.Option(help="Joined by commas: evolution, optuna:TPESampler, pymoo-nsga2, ...; default: all.")
    ] = "",
    seeds: Annotated[int | None, typer.Option(min=1, help="Runs of each; default: 100, or 3 with --quick.")] = None,
    evaluations: Annotated[
        int | None, typer.Option(min=1, help="Distinct networks that a run may evaluate; default: 500, or 100.")
    ] = None,
    workers: Annotated[int, typer.Option(min=0, help="Processes; 0: one a core.")] = 0,
    data: Annotated[Path, typer.Option(help="Folder of the measurements.", envvar="NAS_BENCH_DATA")] = Path(
        "../shared/data"
    ),
    out: Annotated[Path, typer.Option(help="Folder for what is written; the same command again resumes.")] = Path(
        "nas-bench"
    ),
    table: Annotated[str, typer.Option(help="In place of --tables: a CSV file of one's own.")] = "",
    space: Annotated[str, typer.Option(help="With --table: the space that its architectures are of.")] = "",
    column: Annotated[
        list[str], typer.Option(help="With --table: an objective, such as acc or latency_ms:min, or train_s:seconds.")
    ] = [],  # noqa: B006
    architecture_column: Annotated[str, typer.Option(help="With --table: where the architectures are.")] = (
        "architecture"
    ),
    against: Annotated[str, typer.Option(help="The searcher that the others are compared with.")] = "auto",
    in_flight: Annotated[
        int, typer.Option(min=1, help="Searchers run with so many evaluations in flight too; 1: no.")
    ] = 8,
    asks_each: Annotated[
        int, typer.Option(min=1, help="A run asks at most so many times as often as it may evaluate.")
    ] = 5,
    report_only: Annotated[
        bool, typer.Option("--report-only", help="Run nothing; report on the runs that --out holds.")
    ] = False,
    quick: Annotated[bool, typer.Option("--quick", help="Three tables, few seeds, few evaluations.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Run every searcher on every table, and write who won: runs.csv, figures, a page and pictures."""
    from nas.bench.compare import bench_searchers
    from nas.bench.contenders import default_names

    screen = console(stderr=True)
    bench_tables = _open_tables(_split_names(tables), data, quick, (table, space, column, architecture_column))
    result = bench_searchers(
        bench_tables,
        _split_names(searchers) or default_names(),
        out,
        seeds=seeds or (QUICK_SEEDS if quick else 100),
        evaluations=evaluations or (QUICK_EVALUATIONS if quick else 500),
        workers=workers,
        against=against,
        in_flight=in_flight,
        asks_each=asks_each,
        report_only=report_only,
        source=f"--table {table} --space {space} --column {' --column '.join(column)}" if table else "",
        print_line=lambda text: screen.print(text, highlight=False, markup=False),
    )
    if as_json:
        typer.echo(json.dumps(result.to_document()))
        return
    console().print(result.page, highlight=False, markup=False)
    console().print(f"Written: {', '.join(map(str, result.files))}", highlight=False, markup=False)
    if result.failures:
        raise typer.Exit(1)


def _split_names(text: str) -> list[str]:
    return list(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))


def _open_tables(
    names: list[str], data: Path, quick: bool, csv_options: tuple[str, str, list[str], str]
) -> dict[str, BenchTable]:
    """The tables by name. One that is asked for by name must be there; of the others, those whose files are."""
    from nas.bench.tables.own_csv import own_table
    from nas.bench.tables.table import DEFAULT_TABLES, QUICK_TABLES, BenchError, open_table

    path, space, columns, architectures = csv_options
    if path:
        if names or not space or not columns:
            raise ValueError("--table needs --space and --column, and no --tables")
        csv_table = own_table(path, space, columns, architectures)
        return {csv_table.name: csv_table}
    if space or columns:
        raise ValueError("--space and --column are of --table FILE.csv; name that too")
    bench_tables: dict[str, BenchTable] = {}
    left_out = []
    for name in names or (QUICK_TABLES if quick else DEFAULT_TABLES):
        try:
            bench_tables[name] = open_table(name, data)
        except BenchError as error:
            if names:
                raise
            left_out.append(f"{name} is left out: {error}")
    if not bench_tables:
        raise ValueError(f"no table can be opened: {left_out[0]}")
    for line in left_out:
        typer.echo(f"nas: {line}", err=True)
    return bench_tables
