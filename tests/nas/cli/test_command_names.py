"""The names of all commands and options, in the order of the help: what scripts of users rely on."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import typer

from nas.cli.main import app

# Arguments are written without dashes
COMMANDS = {
    "search": (
        "--hw --space --backbone-from --task --limit --objective --data --trials --train --score --searcher "
        "--strategy --warm-start --repair --no-repair --in-flight --seed --verify --device --baselines "
        "--train-published --references --no-train-published --no-references --set --evaluator --training "
        "--searching --rules --repeats --evaluations --revisit-probability --forget --keep-weights-mib "
        "--study --storage --cache --directory --workers --executor --json"
    ),
    "resume": "study --storage --cache --directory --workers --baselines --json",
    "show": "name --hw --storage --directory --json",
    "hash": "networks --rules --json",
    "baselines": "names --hw --space --json",
    "scale": "--base --flops --samples --score --seed --out --json",
    "dashboard": "study --storage --directory --port",
    "doctor": "--json",
    "cache show": "--cache --directory --json",
    "cache clear": "--evaluator --older-than-days --cache --directory",
    "cache export": "to --cache --directory",
    "spaces": "--json",
    "spaces list": "--json",
    "spaces show": "space --set --hw --samples --seed --picture --network --json",
    "hw": "--json",
    "hw list": "--json",
    "hw show": "name --json",
    "hw predict": "network --hw --layers --no-layers --plot --json",
    "hw calibrate": (
        "measurements --out --suggest --space --device --samples --operations --about --number-format --seed "
        "--force --json"
    ),
    "hw measure": "network --device --hw --json",
    "hw check": "device --against --space --json",
    "bench searchers": (
        "--tables --searchers --seeds --evaluations --workers --data --out --table --space --column "
        "--architecture-column --against --in-flight --asks-each --report-only --quick --json"
    ),
}


def commands_of(group: Any, path: str = "") -> Iterator[tuple[str, str]]:
    for name, command in group.commands.items():
        options = " ".join(o for p in command.params for o in (*p.opts, *p.secondary_opts))
        if options or not hasattr(command, "commands"):
            yield f"{path}{name}", options
        if hasattr(command, "commands"):
            yield from commands_of(command, f"{path}{name} ")


def test_commands_and_options_keep_their_names_and_their_order() -> None:
    assert list(commands_of(typer.main.get_command(app))) == list(COMMANDS.items())
