"""Who may import whom, and that nothing heavy is imported before it is needed."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
HEAVY = ("torch", "pandas", "matplotlib", "optuna", "networkx", "scipy", "sklearn", "numpy", "typer", "rich", "loky")
LIGHT = (
    *("ops", "graph", "builder", "blocks", "heads", "space", "catalog", "yaml_space", "mobiledet", "classics"),
)  # of search_spaces


def python(code: str) -> str:
    """What a fresh interpreter prints."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    told = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert told.returncode == 0, told.stderr
    return told.stdout.strip()


def test_the_layers_hold() -> None:
    command = Path(sys.executable).with_name("lint-imports")
    told = subprocess.run([command, "--no-cache"], cwd=ROOT, capture_output=True, text=True)
    assert told.returncode == 0, told.stdout + told.stderr
    assert "1 kept, 0 broken" in told.stdout


@pytest.mark.parametrize("module", [f"search_spaces.{name}" for name in LIGHT])
def test_describing_networks_imports_nothing_heavy(module: str) -> None:
    assert python(f"import sys, {module}; print(*set({HEAVY}) & set(sys.modules))") == ""


def test_drawing_and_counting_networks_imports_nothing_heavy() -> None:
    code = (
        "import random, sys; from search_spaces.catalog import load_network, load_space;"
        " space = load_space('mobiledet'); graph = space.graph(space.sample(random.Random(0)));"
        " print(graph.macs > 0, len(graph.digest), graph.peak_activation_bytes > 0, len(graph.to_json()) > 0,"
        f" *set({HEAVY}) & set(sys.modules))"
    )
    assert python(code) == "True 32 True True"


def test_importing_the_engine_imports_nothing_heavy() -> None:
    heavy = ("torch", "pandas", "matplotlib", "optuna", "networkx", "scipy", "sklearn")
    assert python(f"import sys, nas; print(*set({heavy}) & set(sys.modules))") == ""


@pytest.mark.parametrize("package", ["search_spaces", "hardware_models", "evaluators", "nas"])
def test_every_file_says_first_what_it_is_for(package: str) -> None:
    for path in sorted((ROOT / package).rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        assert not tree.body or ast.get_docstring(tree), f"{path} has no docstring"
        assert path.stem not in ("utils", "common", "helpers", "manager"), path
