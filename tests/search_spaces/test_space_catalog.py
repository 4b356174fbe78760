"""Spaces and networks by name, by path and as functions; errors that say what is close or missing."""

from __future__ import annotations

import random
import sys
from importlib.metadata import EntryPoint
from itertools import islice
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from search_spaces import catalog, registry
from search_spaces.catalog import SPACES, SpaceRow, load_network, load_space, network_space
from search_spaces.graph.builder import Builder
from search_spaces.graph.graph import Graph
from search_spaces.published.networks import NetworkRow, networks
from search_spaces.registry import UnknownName
from search_spaces.space.choose import Choose
from search_spaces.space.genotype import SpaceError
from search_spaces.space.space import Space

SOURCE = """
from search_spaces.graph.builder import Builder
from search_spaces.space.space import Space

def mine(choose, *, image_size=8):
    b = Builder()
    return b.build(b.conv(b.input((3, image_size, image_size)), choose.int("width", 1, 4)))

ready = Space(mine, "ready made")
number = 3
"""


def mine(choose: Choose, *, image_size: int = 8) -> Graph:
    b = Builder()
    return b.build(b.conv(b.input((3, image_size, image_size)), choose.int("width", 1, 4)))


def image_size(space: Space) -> int:
    return space.graph(space.sample(random.Random(0))).input_shape[1]


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "my_space.py").write_text(SOURCE)
    monkeypatch.chdir(tmp_path)
    return "./my_space.py"


@pytest.mark.parametrize("name", list(SPACES))
def test_every_named_space_loads_and_makes_networks(name: str) -> None:
    space = load_space(name)
    assert space.name == name
    assert SPACES[name].summary
    genotype = space.sample(random.Random(0))
    text = space.format(genotype)  # which may leave out what the network does not show
    assert space.graph(space.parse(text)) == space.graph(genotype)
    assert space.format(space.parse(text)) == text
    assert len(set(islice(space.enumerate(), 2))) == 2


@pytest.mark.parametrize("name", list(networks()))
def test_every_published_network_loads_and_is_in_its_space(name: str) -> None:
    graph = load_network(name)
    space, architecture = network_space(name)
    assert space.graph(space.parse(architecture)) == graph
    assert networks()[name].source
    assert graph.macs > 0


def test_options_of_a_network_reach_its_space() -> None:
    assert load_network("mobiledet_cpu", image_size=64).input_shape == (3, 64, 64)
    space, _ = network_space("mobiledet_gpu", num_classes=20)
    assert (space.option("target"), space.option("num_classes")) == ("gpu", 20)


def test_spaces_come_as_functions_spaces_modules_files_and_yaml(file: str, tmp_path: Path) -> None:
    (tmp_path / "narrow.yaml").write_text("space: ./my_space.py:mine\n")
    ready = Space(mine)
    assert load_space(ready) is ready
    for given in (mine, ready, f"{__name__}:mine", f"{file}:mine", f"{file}:ready", "narrow.yaml", Path("narrow.yaml")):
        assert image_size(load_space(given)) == 8
        assert image_size(load_space(given, image_size=12)) == 12
        assert load_space(given).size() == 4
    assert load_space(f"{file}:mine").name == "mine"
    assert load_space(f"{file}:ready").name == "ready made"
    assert load_space(str(tmp_path / "my_space.py") + ":mine").size() == 4


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("mobildet", "no space 'mobildet'; did you mean 'mobiledet'?"),
        ("MobileDet", "no space 'MobileDet'; did you mean 'mobiledet'?"),
        ("zzz", "no space 'zzz'; known: .*mobiledet"),
        ("", "no space ''; known: "),
        ("no_such_package.spaces:mine", "no module 'no_such_package.spaces'"),
        ("search_spaces.no_such:mine", "no module 'search_spaces.no_such'"),
        ("search_spaces.families.mobiledet:mobildet", "has no 'mobildet'; it defines .*mobiledet"),
        ("./no_such.py:mine", "no file 'no_such.py'"),
        ("./my_space.py", "name the function too, as in ./my_space.py:my_space"),
        ("./my_space.py:other", "has no 'other'; it defines mine"),
    ],
)
def test_names_that_nothing_has_are_errors_with_a_hint(file: str, name: str, message: str) -> None:
    with pytest.raises(UnknownName, match=message):
        load_space(name)


def test_networks_that_are_not_there_are_errors_with_a_hint() -> None:
    with pytest.raises(UnknownName, match=r"no network 'mobiledet_gpus'; did you mean 'mobiledet_gpu'?"):
        load_network("mobiledet_gpus")
    with pytest.raises(UnknownName, match=r"no network 'x'; known: .*mobiledet_cpu, mobiledet_dsp"):
        load_network("x")


def test_objects_that_are_no_space_are_errors(file: str, tmp_path: Path) -> None:
    with pytest.raises(SpaceError, match="is int, not a function that makes choices"):
        load_space(f"{file}:number")
    (tmp_path / "broken.py").write_text("def mine(:\n")
    with pytest.raises(SpaceError, match=r"broken.py:1: "):
        load_space("broken.py:mine")
    with pytest.raises(SpaceError, match="space 'mine' has no option 'size'; its options: image_size"):
        load_space(f"{file}:mine", size=3)
    with pytest.raises(SpaceError, match=r"cannot read the space file 'no.yaml'"):
        load_space("no.yaml")


def test_a_module_that_a_space_misses_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "needs_more.py").write_text("import no_such_dependency\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModuleNotFoundError, match="no_such_dependency"):
        load_space("needs_more:mine")


def test_installed_packages_add_spaces_and_networks(monkeypatch: pytest.MonkeyPatch) -> None:
    rows: dict[str, Any] = {
        "nas.spaces": {
            "theirs": SpaceRow(f"{__name__}:mine", "a plug-in's"),
            "mobiledet": SpaceRow("no.such:space", "hides nothing"),
        },
        "nas.networks": {"theirs_small": NetworkRow("theirs", '{"width": 2}', "here", {"image_size": 10})},
    }

    def entry_points(group: str) -> list[Any]:
        return [SimpleNamespace(name=n, value="theirs:row", load=lambda row=row: row) for n, row in rows[group].items()]

    monkeypatch.setattr(registry, "entry_points", entry_points)
    assert set(catalog.spaces()) == {*SPACES, "theirs"}
    assert load_space("theirs").size() == 4
    assert load_space("mobiledet").size() > 4
    assert load_network("theirs_small").output_shapes == {"output": (2, 10, 10)}
    rows["nas.spaces"]["bad"] = "search_spaces.families.mobiledet:mobiledet"
    with pytest.raises(UnknownName, match=r"the entry point 'theirs:row' of nas.spaces is str, not SpaceRow"):
        catalog.spaces()


def test_entry_points_are_only_looked_up_not_loaded_for_own_names(monkeypatch: pytest.MonkeyPatch) -> None:
    point = EntryPoint("mobiledet", "no.such:row", "nas.spaces")
    monkeypatch.setattr(registry, "entry_points", lambda group: [point])
    assert "mobiledet" in catalog.spaces()


def test_a_file_that_fails_names_its_line_and_leaves_nothing_behind(tmp_path: Path) -> None:
    broken = tmp_path / "broken.py"
    broken.write_text("import math\n\nWIDTHS = [8, 16][5]\n\n\ndef f(choose):\n    return None\n")
    before = set(sys.modules)
    with pytest.raises(SpaceError, match=r"broken\.py:3: IndexError: list index out of range"):
        load_space(f"{broken}:f")
    assert set(sys.modules) - before <= {"math"}
    with pytest.raises(UnknownName, match=r"not of the form package\.module:name"):
        load_space(".relative:f")
