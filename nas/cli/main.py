"""``nas``: the commands in the order of the help, and what their errors turn into.

Texts in, texts out: a command translates strings, calls the library and prints. Everything heavy is imported by the
command that needs it, so that ``nas --help`` costs no more than typer does.
"""

from __future__ import annotations

import sys
from typing import Any, NoReturn

import typer

from nas.cli.bench import bench_app
from nas.cli.cache import cache_app
from nas.cli.doctor import doctor
from nas.cli.hardware import hw_app
from nas.cli.networks import baselines, hash_networks, scale
from nas.cli.search import resume, search
from nas.cli.spaces import spaces_app
from nas.cli.studies import dashboard, show

app = typer.Typer(
    name="nas",
    help="Hardware-aware neural architecture search: a chip, a data set, an evening, a Pareto front.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command()(search)
app.command()(resume)
app.command()(show)
app.command("hash")(hash_networks)
app.command()(baselines)
app.command()(scale)
app.command()(dashboard)
app.command()(doctor)
app.add_typer(cache_app, name="cache", no_args_is_help=True)
app.add_typer(spaces_app, name="spaces", invoke_without_command=True)
app.add_typer(hw_app, name="hw", invoke_without_command=True)
app.add_typer(bench_app, name="bench", no_args_is_help=True)

_PACKAGES = ("nas", "search_spaces", "hardware_models", "evaluators")

# The class of every mistake in a command line, such as an unknown option or a bad number. Some releases of typer take
# it from click, others bring their own, under another name: it is the first of BadParameter's bases that has a message.
_CommandLineError: Any = next(base for base in reversed(typer.BadParameter.__mro__) if hasattr(base, "format_message"))

_USER_MISTAKE, _INTERRUPTED = 2, 130


def exit_with_error(text: str, code: int = _USER_MISTAKE) -> NoReturn:
    """End the process with one line on standard error."""
    typer.echo(f"nas: {text}", err=True)
    raise SystemExit(code)


def main(arguments: list[str] | None = None) -> None:
    """Entry point of ``nas``: one clear line and exit code 2 for what the user can mend, 130 for Ctrl-C.

    A ``ValueError`` is the user's to mend where it is plain or of a class of this project; any other error is a bug and
    keeps its traceback.
    """
    try:
        code = app(args=arguments, standalone_mode=False)
    except (KeyboardInterrupt, typer.Abort):
        code = _INTERRUPTED
    except _CommandLineError as error:
        exit_with_error(f"{error.format_message()} (nas --help)")
    except ValueError as error:
        if type(error) is not ValueError and type(error).__module__.partition(".")[0] not in _PACKAGES:
            raise
        exit_with_error(" ".join(str(error).split()))
    if code == _INTERRUPTED:
        exit_with_error("stopped; the same command goes on from here", _INTERRUPTED)
    sys.exit(code if isinstance(code, int) else 0)


if __name__ == "__main__":
    main()
