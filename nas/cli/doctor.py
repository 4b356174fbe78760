"""Whether this installation can search, and what would help it."""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import os
import platform
import shutil
import sys
from typing import Literal, NamedTuple


class Check(NamedTuple):
    """One finding: ``bad`` stops a search, a ``note`` does not."""

    what: str
    state: Literal["ok", "note", "bad"]
    text: str


_NEEDED = [
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
_EXTRAS = {"optuna_dashboard": "dashboard"}


def _version(module: str) -> str:
    names = importlib.metadata.packages_distributions().get(module, [module])
    try:
        return importlib.metadata.version(names[0])
    except importlib.metadata.PackageNotFoundError:
        return "unknown version"


def report() -> list[Check]:
    """All checks, in the order they are shown."""
    new_enough = sys.version_info >= (3, 11)
    checks = [Check("Python", "ok" if new_enough else "bad", f"{platform.python_version()} (3.11 or later needed)")]
    for module in _NEEDED:
        try:
            importlib.import_module(module)
            checks.append(Check(module, "ok", _version(module)))
        except ImportError as error:
            checks.append(Check(module, "bad", f"cannot be imported ({error}); pip install nas again"))
    for module, extra in _EXTRAS.items():
        present = importlib.util.find_spec(module) is not None
        text = _version(module) if present else f"not installed; pip install 'nas[{extra}]'"
        checks.append(Check(module, "ok" if present else "note", text))
    checks.append(_accelerator())
    checks.append(Check("cores", "ok", f"{os.cpu_count()}: as many candidates train side by side"))
    free_gib = shutil.disk_usage(os.getcwd()).free / 2**30
    checks.append(Check("disk", "ok" if free_gib > 1 else "note", f"{free_gib:.0f} GiB free here"))
    writable = os.access(os.getcwd(), os.W_OK)
    text = "studies are kept in ./nas-runs" if writable else "this folder cannot be written; use --directory"
    checks.append(Check("folder", "ok" if writable else "note", text))
    return checks


def _accelerator() -> Check:
    try:
        import torch
    except ImportError:
        return Check("accelerator", "note", "unknown without torch")
    if torch.cuda.is_available():
        return Check("accelerator", "note", f"{torch.cuda.get_device_name(0)}; training uses the CPU so far")
    return Check("accelerator", "ok", "none; training uses the CPU")
