"""``nas search`` and ``nas resume``, and how their result is shown."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nas.cli.options import (
    BaselinesOption,
    CacheOption,
    DirectoryOption,
    JsonOption,
    StorageOption,
    WorkersOption,
    console,
    parse_assignments,
)

if TYPE_CHECKING:
    from nas.engine.result import SearchResult


def search(
    hw: Annotated[
        str, typer.Option(help="A hardware model's name, or its TOML file; several joined by commas: their worst case.")
    ],
    space: Annotated[
        str | None, typer.Option(help="A name, package.module:function, ./file.py:function, or a YAML file.")
    ] = None,
    backbone_from: Annotated[
        str | None, typer.Option(help="In place of --space: a space whose networks get the head of --task.")
    ] = None,
    task: Annotated[
        str, typer.Option(help="classify, detect or segment; default: the space's own, if the data can train it.")
    ] = "",
    limit: Annotated[
        list[str], typer.Option(help="Hard constraint, such as latency<=7ms or latency@pixel3_cpu<=60ms; repeatable.")
    ] = [],  # noqa: B006
    objective: Annotated[
        list[str],
        typer.Option(
            help="Metric, such as latency, accuracy, map, miou, macs:min; repeatable."
            " Default: latency, and the quality of the task."
        ),
    ] = [],  # noqa: B006
    data: Annotated[
        str,
        typer.Option(
            help="To classify: digits (built in), folder:PATH; to detect: digits, voc:PATH, coco:PATH; to segment:"
            " digits, voc:PATH; looked up: table:CSV."
        ),
    ] = "digits",
    trials: Annotated[int, typer.Option(min=1, help="Distinct candidates to cost and score.")] = 1000,
    train: Annotated[int, typer.Option(min=0, help="How many of them to train; 0: none.")] = 12,
    score: Annotated[
        str, typer.Option(help="Zero-cost score: entropy, log_macs, synflow; none: train all.")
    ] = "entropy",
    searcher: Annotated[
        str,
        typer.Option(
            help="auto, evolution, nsga2, gp, predictor, local, sobol, random, optuna:SAMPLER, or halving:SEARCHER,"
            " which trains at lower fidelities first."
        ),
    ] = "auto",
    warm_start: Annotated[
        str, typer.Option(help="An earlier study (name or folder): its best go first, and what it learnt is used.")
    ] = "",
    repair: Annotated[
        bool,
        typer.Option(help="Constraint repair: mutate what is over a limit until it is within it, before it counts."),
    ] = True,
    in_flight: Annotated[
        int, typer.Option(min=1, help="With --score none: candidates in training when the next is asked for.")
    ] = 4,
    seed: Annotated[int, typer.Option(help="One seed, one result.")] = 0,
    verify: Annotated[
        int | None,
        typer.Option(min=0, help="How many of the best candidates to measure on --device; default: 8 with it, else 0."),
    ] = None,
    device: Annotated[
        str | None,
        typer.Option(help="Real device, such as onnxruntime?threads=1; of several --hw, NAME=DEVICE says which it is."),
    ] = None,
    baselines: BaselinesOption = False,
    references: Annotated[bool, typer.Option(help="Train the space's published networks beside the search.")] = True,
    option: Annotated[
        list[str], typer.Option("--set", help="Option of the space, such as image_size=256; repeatable.")
    ] = [],  # noqa: B006
    training: Annotated[
        list[str], typer.Option("--training", help="Setting of the training, such as steps=300; repeatable.")
    ] = [],  # noqa: B006
    searching: Annotated[
        list[str],
        typer.Option("--searching", help="Setting of the searcher, such as population=100, resample=10; repeatable."),
    ] = [],  # noqa: B006
    rules: Annotated[
        str, typer.Option(help="Which candidates are one network: exact, pool-linear, bn-scale, ... joined by +.")
    ] = "exact",
    evaluations: Annotated[int, typer.Option(min=1, help="Trainings of one network, whose mean is its quality.")] = 1,
    forget: Annotated[
        float, typer.Option(min=0, max=1, help="With --score none: chance that a network met again is trained again.")
    ] = 0.0,
    study: Annotated[str | None, typer.Option(help="Name of the study; default: from the settings.")] = None,
    storage: StorageOption = None,
    cache: CacheOption = "",
    directory: DirectoryOption = Path("nas-runs"),
    workers: WorkersOption = None,
    as_json: JsonOption = False,
) -> None:
    """Search a space for networks that are good and fit a chip.

    The same command again goes on where a stopped search was.
    """
    from nas.engine.search import search as run_search
    from nas.report.progress_bars import ProgressReporter

    if (space is None) == (backbone_from is None):
        raise ValueError("say what to search: --space mobiledet, or --backbone-from mobilenetv4 --task detect")
    if backbone_from is not None and not task:
        raise ValueError("--backbone-from needs --task: classify, detect or segment")
    with ProgressReporter(console(stderr=True)) as reporter:
        result = run_search(
            space or backbone_from or "",
            hw,
            task=task,
            limits=limit,
            objectives=objective,
            trials=trials,
            train=train,
            data=data,
            evaluator=parse_assignments(training, "--training"),
            score=score,
            searcher=searcher,
            warm_start=warm_start,
            repair=repair,
            in_flight=in_flight,
            searcher_options=parse_assignments(searching, "--searching"),
            rules=rules,
            evaluations=evaluations,
            forget=forget,
            references=references,
            seed=seed,
            verify=verify,
            device=device,
            baselines=baselines,
            space_options=parse_assignments(option, "--set"),
            study=study,
            storage=storage,
            cache=cache,
            directory=directory,
            workers=workers,
            reporter=reporter,
        )
    print_result(result, storage, as_json)


def print_result(result: SearchResult, storage: str | None, as_json: bool) -> None:
    """Write pictures, table and document into the study's folder, and print the result."""
    from nas.report.plots import plot_front
    from nas.report.tables import architecture_lines, front_table, summary_lines, supplementary_tables
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
        return
    screen = console()
    for part in (front_table(result), *supplementary_tables(result)):
        screen.print(part)
    for line in (*architecture_lines(result.front), "", *summary_lines(result)):
        screen.print(line, highlight=False, markup=False)
    pictures = f"{picture}, {measured}" if measured else str(picture)
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
    from nas.engine.settings import SearchSettings
    from nas.report.progress_bars import ProgressReporter
    from nas.study.load import load_document, stored_study

    location, study_name = stored_study(study, directory, storage)
    name, document = load_document(location, study_name)
    with ProgressReporter(console(stderr=True)) as reporter:
        result = run(
            SearchSettings.from_document(document),
            study=name,
            storage=location,
            cache=cache,
            directory=location.parent.parent if isinstance(location, Path) else directory,
            workers=workers,
            baselines=baselines,
            reporter=reporter,
        )
    print_result(result, storage, as_json)
