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
    *("graph.operations", "graph.graph", "graph.builder", "blocks.mobile", "blocks.heads", "space.space", "catalog"),
    *("yaml_spaces.loader", "families.mobiledet", "published.tensorflow_classics"),
)  # of search_spaces


def python(code: str) -> str:
    """What a fresh interpreter prints."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    return run.stdout.strip()


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
