"""Every text of the form ``package.module:name`` in the code names something that is there."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("search_spaces", "hardware_models", "evaluators", "nas")
TARGET = re.compile(rf"({'|'.join(PACKAGES)})(\.\w+)+:\w+")


def named_objects() -> Iterator[tuple[str, str]]:
    """The file and each such text in it, of constants alone: not of docstrings, which may show how one looks."""
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Constant) and isinstance(node.value, str) and TARGET.fullmatch(node.value):
                    yield str(path.relative_to(ROOT)), node.value


def test_there_are_tables() -> None:
    files = {file for file, _ in named_objects()}
    assert {"search_spaces/catalog.py", "evaluators/catalog.py"} <= files
    assert {"hardware_models/measured/datasets/__init__.py"} <= files
    assert {"nas/searchers/catalog.py", "evaluators/zero_cost/scores.py", "evaluators/devices/catalog.py"} <= files


@pytest.mark.parametrize(("file", "target"), sorted(set(named_objects())), ids=lambda text: text)
def test_what_a_text_names_is_there(file: str, target: str) -> None:
    module, _, name = target.partition(":")
    assert hasattr(import_module(module), name), f"{file} names {target}"
