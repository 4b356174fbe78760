"""``nas show`` and ``nas dashboard``: what a study holds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from nas.cli.networks import show_network
from nas.cli.options import DirectoryOption, JsonOption, StorageOption, console


def show(
    name: Annotated[
        str, typer.Argument(help="A study (name or folder), or a published network such as mobiledet_cpu.")
    ],
    hw: Annotated[str | None, typer.Option(help="Predict a network's cost on this hardware.")] = None,
    storage: StorageOption = None,
    directory: DirectoryOption = Path("nas-runs"),
    as_json: JsonOption = False,
) -> None:
    """Show what a study has found so far, without going on with it; or a published network."""
    from search_spaces.published.networks import networks

    if name in networks():
        show_network(name, hw, as_json)
        return
    from nas.candidates.verified import verification_scores
    from nas.engine.result import stored_metrics
    from nas.engine.verification import load_verified
    from nas.report.tables import study_tables
    from nas.study.load import load_study, stored_study

    study = load_study(*stored_study(name, directory, storage))
    candidates, verified = study.candidates(), load_verified(study)
    if as_json:
        result = {"study": study.name, "settings": study.document, "candidates": [c.to_document() for c in candidates]}
        result |= {"verified": [v.to_document() for v in verified], "verification": verification_scores(verified)}
        typer.echo(json.dumps(result))
        return
    screen = console()
    for part in study_tables(study.name, candidates, study.document, verified, stored_metrics(study)):
        screen.print(part, highlight=False, markup=False)


def dashboard(
    study: Annotated[str, typer.Argument(help="The study's name, or its folder.")],
    storage: StorageOption = None,
    directory: DirectoryOption = Path("nas-runs"),
    port: Annotated[int, typer.Option(min=1, max=65535)] = 8080,
) -> None:
    """Open optuna-dashboard on a study, on this machine only."""
    from nas.study.load import stored_study
    from nas.study.storage import open_storage

    location, _ = stored_study(study, directory, storage)
    try:
        from optuna_dashboard import run_server
    except ImportError:
        raise ValueError("the dashboard is an extra: pip install 'nas[dashboard]'") from None
    optuna_storage = open_storage(location)
    typer.echo(f"http://127.0.0.1:{port}/  (Ctrl-C ends it)")
    run_server(optuna_storage, host="127.0.0.1", port=port)
