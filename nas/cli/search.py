"""``nas search`` and ``nas resume``, and how their result is shown."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nas.cli.generated_options import command_from_options, settings_arguments
from nas.cli.options import (
    BaselinesOption,
    CacheOption,
    DirectoryOption,
    JsonOption,
    StorageOption,
    WorkersOption,
    console,
)
from nas.engine.settings import SearchSettings

if TYPE_CHECKING:
    from nas.engine.result import SearchResult

BackboneOption = Annotated[
    str | None, typer.Option(help="In place of --space: a space whose networks get the head of --task.")
]


def search_command(settings_type: type[SearchSettings]) -> Callable[..., None]:
    """The command whose options are the fields of ``settings_type``."""

    def search(*, backbone_from: str | None, as_json: bool, **values: Any) -> None:
        """Search a space for networks that are good and fit a chip.

        The same command again goes on where a stopped search was. Ends with exit code 1 where the limits leave nothing.
        """
        from nas.engine.search import run
        from nas.report.progress_bars import ProgressReporter

        if (values["space"] is None) == (backbone_from is None):
            raise ValueError("say what to search: --space mobiledet, or --backbone-from mobilenetv4 --task detect")
        if backbone_from is not None and not values["task"]:
            raise ValueError("--backbone-from needs --task: classify, detect or segment")
        arguments = {**settings_arguments(settings_type, values), "space": values["space"] or backbone_from}
        with ProgressReporter(console(stderr=True)) as reporter:
            result = run(settings_type(**arguments, reporter=reporter))
        print_result(result, values["storage"], as_json)

    return command_from_options(
        search,
        settings_type,
        own_types={"hw": (str, ...), "space": (str | None, None)},
        first="hw",
        extra={"backbone_from": (BackboneOption, None, "space"), "as_json": (JsonOption, False, "")},
    )


search = search_command(SearchSettings)


def print_result(result: SearchResult, storage: str | None, as_json: bool) -> None:
    """Write pictures, table and document into the study's folder, and print the result.

    Ends with exit code 1 where the limits leave nothing on the front.
    """
    from nas.report.plots import plot_front
    from nas.report.tables import nearest_miss_text
    from nas.report.verification import plot_verification

    result.directory.mkdir(parents=True, exist_ok=True)
    picture = result.directory / "front.png"
    table = result.directory / "candidates.csv"
    if result.front or result.references:
        plot_front(result, picture)
    measured = plot_verification(result.verified, result.directory / "verification.png", str(result.settings["hw"]))
    result.to_frame().to_csv(table, index=False)
    document = result.to_document()
    (result.directory / "result.json").write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    if as_json:
        typer.echo(json.dumps(document))
    else:
        _print_tables(result, storage, f"{picture}, {measured}" if measured else str(picture), table)
    if result.nearest_miss is not None:
        if as_json:
            typer.echo(f"nas: {nearest_miss_text(result.nearest_miss, result.limits)}", err=True)
        raise typer.Exit(1)


def _print_tables(result: SearchResult, storage: str | None, pictures: str, table: Path) -> None:
    from nas.report.tables import architecture_lines, front_table, summary_lines, supplementary_tables

    screen = console()
    for part in (front_table(result), *supplementary_tables(result)):
        screen.print(part)
    for line in (*architecture_lines(result.front), "", *summary_lines(result)):
        screen.print(line, highlight=False, markup=False)
    screen.print(f"Picture: {pictures}   table: {table}", highlight=False, markup=False)
    option = f" --storage {storage}" if storage else ""
    screen.print(f"Next: nas dashboard {result.study}{option}", style="bold", highlight=False, markup=False)


def resume(
    study: Annotated[str, typer.Argument(help="The study's name, or its folder.")],
    storage: StorageOption = None,
    cache: CacheOption = "",
    directory: DirectoryOption = Path("nas-runs"),
    workers: WorkersOption = None,
    baselines: BaselinesOption = False,
    as_json: JsonOption = False,
) -> None:
    """Go on with a search that was stopped; of a finished one, show the result again."""
    from nas.engine.search import run
    from nas.report.progress_bars import ProgressReporter
    from nas.study.load import load_document, stored_study

    location, study_name = stored_study(study, directory, storage)
    name, document = load_document(location, study_name)
    with ProgressReporter(console(stderr=True)) as reporter:
        settings = replace(
            SearchSettings.from_document(document),
            study=name,
            storage=location,
            cache=cache,
            directory=location.parent.parent if isinstance(location, Path) else directory,
            workers=workers,
            baselines=baselines,
            reporter=reporter,
        )
        result = run(settings)
    print_result(result, storage, as_json)
