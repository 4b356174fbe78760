"""``nas cache``: what the evaluation cache holds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nas.cli.options import CacheOption, DirectoryOption, JsonOption, console

if TYPE_CHECKING:
    from nas.cache import EvaluationCache

cache_app = typer.Typer(help="The evaluation cache: what searches have trained, kept for later ones.")


def _open_cache(cache: str, directory: Path) -> EvaluationCache:
    """The cache that ``--cache`` and ``--directory`` name. Raises ``ValueError`` where there is none yet."""
    from nas.cache import EvaluationCache
    from nas.execution.cached_training import default_cache

    location = cache or str(default_cache(directory))
    if "://" not in location and not Path(location).is_file():
        raise ValueError(f"no evaluation cache at {location!r} yet; searches make it, or say --cache")
    return EvaluationCache(location)


@cache_app.command("show")
def cache_show(
    cache: CacheOption = "", directory: DirectoryOption = Path("nas-runs"), as_json: JsonOption = False
) -> None:
    """Show what the evaluation cache holds."""
    from dataclasses import asdict

    from rich.table import Table

    with _open_cache(cache, directory) as evaluation_cache:
        summary = evaluation_cache.summary()
    if as_json:
        typer.echo(json.dumps(asdict(summary)))
        return
    table = Table("evaluator", "data", "fidelity", "seeds", "networks", "trainings", "seconds", title=summary.where)
    for row in summary.questions:
        table.add_row(
            row.evaluator,
            row.data[:12],
            row.fidelity,
            row.seeds,
            str(row.networks),
            str(row.observations),
            f"{row.seconds:.0f}",
        )
    screen = console()
    screen.print(table, highlight=False, markup=False)
    size = "" if summary.bytes is None else f", {summary.bytes / 1024:.0f} KiB"
    screen.print(
        f"{summary.networks} networks, {summary.observations} trainings of {summary.seconds:.0f} s in all,"
        f" {summary.in_flight} in flight, {summary.collisions} keys that met{size}",
        highlight=False,
        markup=False,
    )


@cache_app.command("clear")
def cache_clear(
    evaluator: Annotated[str | None, typer.Option(help="Only what this evaluator trained.")] = None,
    older_than_days: Annotated[float | None, typer.Option(min=0, help="Only what is older.")] = None,
    cache: CacheOption = "",
    directory: DirectoryOption = Path("nas-runs"),
) -> None:
    """Remove trainings from the evaluation cache: all, or those of an evaluator or an age."""
    age_s = None if older_than_days is None else older_than_days * 86400
    with _open_cache(cache, directory) as evaluation_cache:
        removed = evaluation_cache.clear(evaluator=evaluator, older_than_s=age_s)
    typer.echo(f"{removed} trainings removed")


@cache_app.command("export")
def cache_export(
    to: Annotated[Path, typer.Argument(help="The CSV file to write.")],
    cache: CacheOption = "",
    directory: DirectoryOption = Path("nas-runs"),
) -> None:
    """Write the evaluation cache as a CSV file, one row a training."""
    with _open_cache(cache, directory) as evaluation_cache:
        frame = evaluation_cache.export()
    frame.to_csv(to, index=False)
    typer.echo(f"{len(frame)} trainings written to {to}")
