"""The command line: texts in, texts out. Everything heavy is imported by the command that needs it."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from nas.bench_commands import bench_app
from nas.cli_parts import Json, console, network_of
from nas.hardware_commands import hw_app

if TYPE_CHECKING:
    from nas.result import SearchResult

app = typer.Typer(
    name="nas",
    help="Hardware-aware neural architecture search: a chip, a data set, an evening, a Pareto front.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
spaces_app = typer.Typer(help="List the search spaces, or look at one.", no_args_is_help=False)
cache_app = typer.Typer(help="The evaluation cache: what searches have trained, kept for later ones.")
app.add_typer(cache_app, name="cache", no_args_is_help=True)
app.add_typer(spaces_app, name="spaces", invoke_without_command=True)
app.add_typer(hw_app, name="hw", invoke_without_command=True)
app.add_typer(bench_app, name="bench", no_args_is_help=True)

Directory = Annotated[Path, typer.Option(help="Folder of the studies.", envvar="NAS_RUNS")]
Storage = Annotated[str | None, typer.Option(help="Optuna storage URL; default: a journal file under --directory.")]
Cache = Annotated[
    str,
    typer.Option(
        help="Evaluation cache: a file, an SQLAlchemy URL, or off; default: a file under --directory.",
        envvar="NAS_CACHE",
    ),
]
Baselines = Annotated[
    bool, typer.Option("--baselines", help="Put the published networks of the task beside the front, as predicted.")
]
Workers = Annotated[int | None, typer.Option(min=0, help="Training processes; default: one a core; 0: none.")]


def _option_values(pairs: list[str], flag: str) -> dict[str, Any]:
    """``name=value`` texts; values are read as YAML scalars or lists."""
    import yaml

    values = {}
    for pair in pairs:
        name, equals, text = pair.partition("=")
        if not equals or not name:
            raise ValueError(f"{flag} {pair!r} is not of the form name=value")
        try:
            value = yaml.safe_load(text)
        except yaml.YAMLError:
            raise ValueError(f"{flag} {pair!r}: the value is not readable; quote it") from None
        values[name] = tuple(value) if isinstance(value, list) else value
    return values


@app.command()
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
        list[str], typer.Option(help="Hard limit, such as latency<=7ms or latency@pixel3_cpu<=60ms; repeatable.")
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
            help="auto, evolution, nsga2, gp, predictor, local, sobol, random, optuna:SAMPLER, halving:ANOTHER."
        ),
    ] = "auto",
    warm_start: Annotated[
        str, typer.Option(help="An earlier study (name or folder): its best go first, and what it learnt is used.")
    ] = "",
    repair: Annotated[
        bool, typer.Option(help="Lead candidates over a limit back to within it before they count.")
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
    baselines: Baselines = False,
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
        float, typer.Option(min=0, max=1, help="With --score none: chance that a network met again is trained anew.")
    ] = 0.0,
    study: Annotated[str | None, typer.Option(help="Name of the study; default: from the settings.")] = None,
    storage: Storage = None,
    cache: Cache = "",
    directory: Directory = Path("nas-runs"),
    workers: Workers = None,
    as_json: Json = False,
) -> None:
    """Search a space for networks that are good and fit a chip.

    The same command again goes on where a stopped search was.
    """
    from nas.engine import search as run_search
    from nas.report import ProgressReporter

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
            evaluator=_option_values(training, "--training"),
            score=score,
            searcher=searcher,
            warm_start=warm_start,
            repair=repair,
            in_flight=in_flight,
            searcher_options=_option_values(searching, "--searching"),
            rules=rules,
            evaluations=evaluations,
            forget=forget,
            references=references,
            seed=seed,
            verify=verify,
            device=device,
            baselines=baselines,
            space_options=_option_values(option, "--set"),
            study=study,
            storage=storage,
            cache=cache,
            directory=directory,
            workers=workers,
            reporter=reporter,
        )
    _present(result, storage, as_json)


def _present(result: SearchResult, storage: str | None, as_json: bool) -> None:
    from nas.report import architecture_lines, front_table, plot_front, summary_lines, tables_beside
    from nas.verification_report import plot_verification

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
    for part in (front_table(result), *tables_beside(result)):
        screen.print(part)
    for line in (*architecture_lines(result.front), "", *summary_lines(result)):
        screen.print(line, highlight=False, markup=False)
    pictures = f"{picture}, {measured}" if measured else str(picture)
    screen.print(f"Picture: {pictures}   table: {table}", highlight=False, markup=False)
    where = f" --storage {storage}" if storage else ""
    screen.print(f"Next: nas dashboard {result.study}{where}", style="bold", highlight=False, markup=False)


@app.command()
def resume(
    study: Annotated[str, typer.Argument(help="The study's name, or its folder.")],
    storage: Storage = None,
    cache: Cache = "",
    directory: Directory = Path("nas-runs"),
    workers: Workers = None,
    baselines: Baselines = False,
    as_json: Json = False,
) -> None:
    """Go on with a search that was stopped; of a finished one, show the result again."""
    from nas.engine import run
    from nas.report import ProgressReporter
    from nas.settings import Settings
    from nas.store import load_document, stored_study

    where, guess = stored_study(study, directory, storage)
    name, document = load_document(where, guess)
    with ProgressReporter(console(stderr=True)) as reporter:
        result = run(
            Settings.from_document(document),
            study=name,
            storage=where,
            cache=cache,
            directory=where.parent.parent if isinstance(where, Path) else directory,
            workers=workers,
            baselines=baselines,
            reporter=reporter,
        )
    _present(result, storage, as_json)


@app.command()
def show(
    name: Annotated[
        str, typer.Argument(help="A study (name or folder), or a published network such as mobiledet_cpu.")
    ],
    hw: Annotated[str | None, typer.Option(help="Predict a network's cost on this hardware.")] = None,
    storage: Storage = None,
    directory: Directory = Path("nas-runs"),
    as_json: Json = False,
) -> None:
    """Show what a study has found so far, without going on with it; or a published network."""
    from search_spaces.catalog import networks

    if name in networks():
        _show_network(name, hw, as_json)
        return
    from nas.report import study_tables
    from nas.store import load_candidates, stored_study
    from nas.verification import load_verified, verification_scores

    where, guess = stored_study(name, directory, storage)
    study, candidates, document = load_candidates(where, guess)
    verified = load_verified(where, study)
    if as_json:
        shown = {"study": study, "settings": document, "candidates": [c.to_document() for c in candidates]}
        shown |= {"verified": [v.to_document() for v in verified], "verification": verification_scores(verified)}
        typer.echo(json.dumps(shown))
        return
    screen = console()
    for part in study_tables(study, candidates, document, verified):
        screen.print(part, highlight=False, markup=False)


def _show_network(name: str, hw: str | None, as_json: bool) -> None:
    from rich.table import Table

    from nas.hashing import functional_hash
    from nas.objectives import METRICS
    from nas.report import figure, heading
    from search_spaces.catalog import load_network, networks

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
        table.add_row(heading(metric), figure(metric, float(value)))
    table.add_row("key", functional_hash(graph))
    console().print(table, highlight=False, markup=False)


@spaces_app.callback(invoke_without_command=True)
def spaces(ctx: typer.Context, as_json: Json = False) -> None:
    """List the search spaces and the published networks."""
    if ctx.invoked_subcommand:
        return
    from rich.table import Table

    from search_spaces.catalog import networks
    from search_spaces.catalog import spaces as known

    if as_json:
        typer.echo(json.dumps({"spaces": {n: r.summary for n, r in known().items()}, "networks": list(networks())}))
        return
    table = Table("space", "what it is", "published networks", title_justify="left")
    listed: list[str] = []
    for name, row in known().items():
        members = [n for n, r in networks().items() if r.space == name]
        listed += members
        table.add_row(name, row.summary, ", ".join(members))
    screen = console()
    screen.print(table)
    others = [n for n in networks() if n not in listed]
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
    as_json: Json = False,
) -> None:
    """Show a space's choices by stage, how many networks there are, and how far their figures reach."""
    from time import perf_counter

    from hardware_models.catalog import load_hardware
    from nas import space_tables, space_view
    from search_spaces.catalog import load_space

    begin = perf_counter()
    loaded = load_space(space, **_option_values(option, "--set"))
    model = None if hw is None else load_hardware(hw)
    if picture is None and network:
        raise ValueError("--network says what --picture draws: name a file too, such as --picture network.png")
    if picture is not None:
        from nas.drawing import draw_graph

        title, graph = space_view.chosen_network(loaded, network, seed)
        draw_graph(graph, picture, title)
    found = space_view.ranges(loaded, model, samples=samples, seed=seed) if samples else None
    published = space_view.references(loaded, model)
    device = None if model is None else model.name
    if as_json:
        shown = space_tables.document(loaded, found, published, device)
        typer.echo(json.dumps(shown | {"picture": picture and str(picture)}, default=str))
        return
    screen = console()
    screen.print(space_tables.stages_table(loaded, found), highlight=False, markup=False)
    if found is not None:
        screen.print(space_tables.ranges_table(found, published, device), highlight=False, markup=False)
    elif published:
        screen.print("Published networks: " + ", ".join(r.name for r in published), highlight=False, markup=False)
    told = f"Nothing was trained; {perf_counter() - begin:.1f} s." + (f" Picture: {picture}" if picture else "")
    screen.print(told, highlight=False, markup=False)


@app.command("hash")
def hash_(
    networks: Annotated[
        list[str],
        typer.Argument(help="One or two: a published network, a graph's JSON file, or SPACE=ARCHITECTURE."),
    ],
    rules: Annotated[str, typer.Option(help="What counts as the same, such as exact, or pool-linear+bn-scale.")] = (
        "exact"
    ),
    as_json: Json = False,
) -> None:
    """Print a network's functional key; of two, whether they are the same network, and if not, where they differ.

    Ends with exit code 1 where two differ.
    """
    from nas.hashing import functional_hash
    from nas.hashing.rules import rule_set
    from nas.hashing.same import difference

    if len(networks) > 2:
        raise ValueError(f"nas hash takes one or two networks, not {len(networks)}")
    graphs = [network_of(text) for text in networks]
    keys = [functional_hash(graph, rules=rules) for graph in graphs]
    differs = difference(graphs[0], graphs[1], rule_set(rules)) if len(graphs) == 2 else ""
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
    as_json: Json = False,
) -> None:
    """List the published networks: size, predicted latency, and the accuracy that was published, with its source."""
    from nas.baselines import baselines as listed
    from nas.baselines import baselines_table

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
    as_json: Json = False,
) -> None:
    """Scale a network to a budget by the tiny formula (Model Rubik's Cube, arXiv 2010.14819).

    What is evaluated here is a zero-cost score; with a training of your own, call nas.scaling.scale from Python.
    """
    from nas.objectives import Limit
    from nas.scaling import scale as scaled
    from search_spaces.catalog import import_object

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


def _open_cache(cache: str, directory: Path) -> Any:
    from nas.cache import EvaluationCache
    from nas.evaluations import default_cache

    where = cache or str(default_cache(directory))
    if "://" not in where and not Path(where).is_file():
        raise ValueError(f"no evaluation cache at {where!r} yet; searches make it, or say --cache")
    return EvaluationCache(where)


@cache_app.command("show")
def cache_show(cache: Cache = "", directory: Directory = Path("nas-runs"), as_json: Json = False) -> None:
    """Show what the evaluation cache holds."""
    from dataclasses import asdict

    from rich.table import Table

    with _open_cache(cache, directory) as opened:
        summary = opened.summary()
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
    cache: Cache = "",
    directory: Directory = Path("nas-runs"),
) -> None:
    """Remove trainings from the evaluation cache: all, or those of an evaluator or an age."""
    seconds = None if older_than_days is None else older_than_days * 86400
    with _open_cache(cache, directory) as opened:
        removed = opened.clear(evaluator=evaluator, older_than_s=seconds)
    typer.echo(f"{removed} trainings removed")


@cache_app.command("export")
def cache_export(
    to: Annotated[Path, typer.Argument(help="The CSV file to write.")],
    cache: Cache = "",
    directory: Directory = Path("nas-runs"),
) -> None:
    """Write the evaluation cache as a CSV file, one row a training."""
    with _open_cache(cache, directory) as opened:
        frame = opened.export()
    frame.to_csv(to, index=False)
    typer.echo(f"{len(frame)} trainings written to {to}")


@app.command()
def dashboard(
    study: Annotated[str, typer.Argument(help="The study's name, or its folder.")],
    storage: Storage = None,
    directory: Directory = Path("nas-runs"),
    port: Annotated[int, typer.Option(min=1, max=65535)] = 8080,
) -> None:
    """Open optuna-dashboard on a study, on this machine only."""
    from nas.store import open_storage, stored_study

    where, _ = stored_study(study, directory, storage)
    try:
        from optuna_dashboard import run_server
    except ImportError:
        raise ValueError("the dashboard is an extra: pip install 'nas[dashboard]'") from None
    opened = open_storage(where)
    typer.echo(f"http://127.0.0.1:{port}/  (Ctrl-C ends it)")
    run_server(opened, host="127.0.0.1", port=port)


@app.command()
def doctor(as_json: Json = False) -> None:
    """Check this installation: Python, libraries, cores, memory, and what is missing."""
    from nas.doctor import report

    checks = report()
    if as_json:
        typer.echo(json.dumps([c._asdict() for c in checks]))
    else:
        screen = console()
        for check in checks:
            mark = {"ok": "[green]ok[/]", "note": "[yellow]note[/]", "bad": "[red]bad[/]"}[check.state]
            screen.print(f"{mark:<14} {check.what}: {check.text}", highlight=False)
    if any(c.state == "bad" for c in checks):
        raise typer.Exit(1)


def _fail(text: str, code: int = 2) -> NoReturn:
    typer.echo(f"nas: {text}", err=True)
    raise SystemExit(code)


def main(arguments: list[str] | None = None) -> None:
    """Entry point of ``nas``: one clear line and exit code 2 for what the user can mend, 130 for Ctrl-C."""
    try:
        code = app(args=arguments, standalone_mode=False)
    except (KeyboardInterrupt, typer.Abort):
        code = 130
    except ValueError as error:
        ours = type(error).__module__.partition(".")[0] in ("nas", "search_spaces", "hardware_models", "evaluators")
        if not ours and type(error) is not ValueError:
            raise
        _fail(" ".join(str(error).split()))
    except Exception as error:
        message = getattr(error, "format_message", None)  # the command line itself: an unknown option, a bad number
        if message is None:
            raise
        _fail(f"{message()} (nas --help)")
    if code == 130:
        _fail("stopped; the same command goes on from here", 130)
    sys.exit(code if isinstance(code, int) else 0)


if __name__ == "__main__":
    main()
