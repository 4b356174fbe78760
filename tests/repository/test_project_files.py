"""What the project's own files say of its code: paths in comments, entry points, packages, the glossary."""

from __future__ import annotations

import ast
import importlib.util
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("search_spaces", "hardware_models", "evaluators", "nas")
PYPROJECT = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
MOST_ENTRIES = 17
"""Of a folder, "about fifteen": more is a hall and no room."""


def source_files() -> Iterator[Path]:
    for package in PACKAGES:
        yield from sorted((ROOT / package).rglob("*.py"))


def drawing() -> ModuleType:
    """The script that draws the rooms, as a module."""
    spec = importlib.util.spec_from_file_location("draw_rooms", ROOT / "docs" / "draw_rooms.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_files_that_comments_name_are_there() -> None:
    named = re.findall(r"# ((?:nas|evaluators|hardware_models|search_spaces)/[\w/.]+)", PYPROJECT)
    assert len(named) > 20
    assert [path for path in named if not (ROOT / path).exists()] == []


@pytest.mark.parametrize(("name", "imported"), [("torch", "torch"), ("scikit-learn", "sklearn"), ("Pillow", "PIL")])
def test_a_dependency_is_used_where_its_comment_says(name: str, imported: str) -> None:
    (path,) = re.findall(rf'"{name}>=[^"]+", +# ([\w/.]+)', PYPROJECT)
    assert re.search(rf"^\s*(import|from) {imported}\b", (ROOT / path).read_text(encoding="utf-8"), flags=re.MULTILINE)


def test_every_folder_with_code_is_a_package_and_is_installed() -> None:
    include = tomllib.loads(PYPROJECT)["tool"]["setuptools"]["packages"]["find"]["include"]
    assert include == [f"{package}*" for package in ("nas", "search_spaces", "hardware_models", "evaluators")]
    folders = {path.parent for path in source_files()}
    assert [folder for folder in sorted(folders) if not (folder / "__init__.py").is_file()] == []


def test_every_entry_point_group_is_documented() -> None:
    text = "".join(path.read_text(encoding="utf-8") for path in source_files())
    groups = set(re.findall(r'table_with_plugins\(\s*"(nas\.\w+)"', text)) | set(
        re.findall(r'plugin_paths\("(nas\.\w+)"', text)
    )
    assert {"nas.spaces", "nas.data", "nas.devices"} <= groups
    page = (ROOT / "docs" / "extending.md").read_text(encoding="utf-8")
    assert sorted(group for group in groups if f"`{group}`" not in page) == []


def test_no_folder_is_a_hall() -> None:
    folders = {path.parent for path in source_files()} | {p.parent for p in (ROOT / "results").rglob("*.py")}
    crowded = {}
    for folder in sorted(folders):
        entries = [
            entry
            for entry in folder.iterdir()
            if entry.name not in ("__init__.py", "__pycache__", "py.typed") and not entry.name.startswith(".")
        ]
        if len(entries) > MOST_ENTRIES:
            crowded[str(folder.relative_to(ROOT))] = len(entries)
    assert crowded == {}


def test_rooms_import_in_one_direction_and_the_page_has_a_paragraph_for_each() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    draw_rooms = drawing()
    for package in PACKAGES:
        rooms = draw_rooms.room_imports(package)
        assert draw_rooms.room_levels(rooms)
        for room in rooms.nodes:
            assert f"`{room}`" in page, f"docs/architecture.md says nothing of {package}/{room}"


def test_a_circle_of_rooms_is_refused() -> None:
    draw_rooms = drawing()
    rooms = draw_rooms.room_imports("evaluators")
    rooms.add_edge("evaluator", "catalog")
    with pytest.raises(ValueError, match=r"rooms that import each other: .*catalog"):
        draw_rooms.room_levels(rooms)


def defined_names() -> set[str]:
    """Every name that the packages define: classes, functions, arguments, attributes, variables, modules."""
    names = {path.stem for path in source_files()} | {path.parent.name for path in source_files()}
    for path in source_files():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                names.add(node.name)
            elif isinstance(node, ast.arg):
                names.add(node.arg)
            elif isinstance(node, ast.Name):
                names.add(node.id)
            elif isinstance(node, ast.Attribute):
                names.add(node.attr)
    return names


def test_every_noun_of_the_glossary_is_in_the_code() -> None:
    page = (ROOT / "docs" / "glossary.md").read_text(encoding="utf-8")
    nouns = re.findall(r"^\| `(\w+)`", page, flags=re.MULTILINE)
    assert len(nouns) > 40
    assert len(nouns) == len(set(nouns))
    assert sorted(set(nouns) - defined_names()) == []


def test_one_class_name_means_one_thing() -> None:
    places: dict[str, list[str]] = {}
    for path in source_files():
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                places.setdefault(node.name, []).append(str(path.relative_to(ROOT)))
    assert {name: files for name, files in places.items() if len(files) > 1} == {}


def test_the_layers_and_rooms_hold() -> None:
    command = Path(sys.executable).with_name("lint-imports")
    run = subprocess.run([command, "--no-cache"], cwd=ROOT, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout + run.stderr
    contracts = PYPROJECT.count("[[tool.importlinter.contracts]]")
    assert contracts >= 5
    assert f"{contracts} kept, 0 broken" in run.stdout


SPHINX_OWN_PAGES = {"search", "genindex", "modindex", "py-modindex"}
"""Pages that Sphinx writes itself, over those of the same name."""


def test_every_page_of_the_documentation_is_reached_and_keeps_its_address() -> None:
    pages = {path.stem: path.read_text(encoding="utf-8") for path in (ROOT / "docs").glob("*.md")}
    assert pages.keys() & SPHINX_OWN_PAGES == set()
    listed = [
        line.strip()
        for text in pages.values()
        for tree in re.findall(r"^```\{toctree\}\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)
        for line in tree.splitlines()
        if line.strip() and not line.startswith(":")
    ]
    assert sorted(listed) == sorted(pages.keys() - {"index"})
    linked = {name for text in pages.values() for name in re.findall(r"\{doc\}`(?:[^`<]*<)?(\w+)>?`", text)}
    assert linked - pages.keys() == set()
