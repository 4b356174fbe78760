"""The application that commands join."""

from __future__ import annotations

import typer

app = typer.Typer(
    name="nas",
    help="Hardware-aware neural architecture search: a chip, a data set, an evening, a Pareto front.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
