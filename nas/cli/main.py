"""The command line: texts in, texts out. Everything heavy is imported by the command that needs it."""

from __future__ import annotations

import json
import sys
from typing import NoReturn

import typer

from nas.cli import networks, search, studies  # noqa: F401 - their commands join the application
from nas.cli.app import app
from nas.cli.bench import bench_app
from nas.cli.cache import cache_app
from nas.cli.hardware import hw_app
from nas.cli.options import JsonOption, console
from nas.cli.spaces import spaces_app

app.add_typer(cache_app, name="cache", no_args_is_help=True)


app.add_typer(spaces_app, name="spaces", invoke_without_command=True)


app.add_typer(hw_app, name="hw", invoke_without_command=True)


app.add_typer(bench_app, name="bench", no_args_is_help=True)


@app.command()
def doctor(as_json: JsonOption = False) -> None:
    """Check this installation: Python, libraries, cores, memory, and what is missing."""
    from nas.cli.doctor import check_installation

    checks = check_installation()
    if as_json:
        typer.echo(json.dumps([c._asdict() for c in checks]))
    else:
        screen = console()
        for check in checks:
            mark = {"ok": "[green]ok[/]", "note": "[yellow]note[/]", "bad": "[red]bad[/]"}[check.state]
            screen.print(f"{mark:<14} {check.what}: {check.text}", highlight=False)
    if any(c.state == "bad" for c in checks):
        raise typer.Exit(1)


def exit_with_error(text: str, code: int = 2) -> NoReturn:
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
        exit_with_error(" ".join(str(error).split()))
    except Exception as error:
        message = getattr(error, "format_message", None)  # the command line itself: an unknown option, a bad number
        if message is None:
            raise
        exit_with_error(f"{message()} (nas --help)")
    if code == 130:
        exit_with_error("stopped; the same command goes on from here", 130)
    sys.exit(code if isinstance(code, int) else 0)


if __name__ == "__main__":
    main()
