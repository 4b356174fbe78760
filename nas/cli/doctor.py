"""``nas doctor``: whether this installation can search, and what would help it."""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import json
import os
import platform
import shutil
import sys
from typing import Literal, NamedTuple

import typer

from nas.cli.options import JsonOption, console


def doctor(as_json: JsonOption = False) -> None:
    """Check this installation: Python, libraries, cores, memory, and what is missing."""
    checks = check_installation()
    if as_json:
        typer.echo(json.dumps([check._asdict() for check in checks]))
    else:
        screen = console()
        for check in checks:
            mark = {"ok": "[green]ok[/]", "note": "[yellow]note[/]", "bad": "[red]bad[/]"}[check.state]
            screen.print(f"{mark:<14} {check.what}: {check.text}", highlight=False)
    if any(check.state == "bad" for check in checks):
        raise typer.Exit(1)


class InstallationCheck(NamedTuple):
    """One check of the installation: ``bad`` stops a search, a ``note`` does not."""

    what: str
    state: Literal["ok", "note", "bad"]
    text: str


_REQUIRED_MODULES = [
    "torch",
    "optuna",
    "networkx",
    "xxhash",
    "numpy",
    "scipy",
    "pandas",
    "sklearn",
    "matplotlib",
    "PIL",
    "yaml",
    "faster_coco_eval",
    "loky",
    "defusedxml",
    "typer",
    "rich",
]
_OPTIONAL_MODULES = {"optuna_dashboard": "dashboard"}


def _version(module: str) -> str:
    names = importlib.metadata.packages_distributions().get(module, [module])
    try:
        return importlib.metadata.version(names[0])
    except importlib.metadata.PackageNotFoundError:
        return "unknown version"


def check_installation() -> list[InstallationCheck]:
    """All checks, in the order they are shown."""
    new_enough = sys.version_info >= (3, 11)
    checks = [
        InstallationCheck(
            "Python", "ok" if new_enough else "bad", f"{platform.python_version()} (3.11 or later needed)"
        )
    ]
    for module in _REQUIRED_MODULES:
        try:
            importlib.import_module(module)
            checks.append(InstallationCheck(module, "ok", _version(module)))
        except ImportError as error:
            checks.append(InstallationCheck(module, "bad", f"cannot be imported ({error}); pip install nas again"))
    for module, extra in _OPTIONAL_MODULES.items():
        present = importlib.util.find_spec(module) is not None
        text = _version(module) if present else f"not installed; pip install 'nas[{extra}]'"
        checks.append(InstallationCheck(module, "ok" if present else "note", text))
    checks.append(_accelerator())
    checks.append(InstallationCheck("cores", "ok", f"{os.cpu_count()}: as many candidates train side by side"))
    free_gib = shutil.disk_usage(os.getcwd()).free / 2**30
    checks.append(InstallationCheck("disk", "ok" if free_gib > 1 else "note", f"{free_gib:.0f} GiB free here"))
    writable = os.access(os.getcwd(), os.W_OK)
    text = "studies are kept in ./nas-runs" if writable else "this folder cannot be written; use --directory"
    checks.append(InstallationCheck("folder", "ok" if writable else "note", text))
    return checks


def _accelerator() -> InstallationCheck:
    try:
        import torch
    except ImportError:
        return InstallationCheck("accelerator", "note", "unknown without torch")
    if torch.cuda.is_available():
        return InstallationCheck(
            "accelerator", "note", f"{torch.cuda.get_device_name(0)}; training uses the CPU so far"
        )
    return InstallationCheck("accelerator", "ok", "none; training uses the CPU")
