"""The data files of the published networks."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from search_spaces.published import networks as module
from search_spaces.published.networks import PublishedResult, networks, published_results

SYSTEMS = {"emov2": "emo"}  # spaces that stand in another one's file


def data_files() -> list[Path]:
    return sorted(Path(module.__file__).parent.parent.glob("*/networks/*.toml"))


def write(folder: Path, text: str) -> Path:
    file = folder / "resnet.toml"
    file.write_text(text)
    return file


def test_the_networks_of_the_data_files_are_all_there() -> None:
    assert len(networks()) == 96
    assert sum(len(row.results) for row in networks().values()) == 92
    by_file = [name for file in data_files() for name, _ in module.read_networks(file)]
    assert sorted(by_file) == sorted(networks())


def test_every_network_stands_in_the_file_of_its_space() -> None:
    for file in data_files():
        assert (file.parent.parent / f"{file.stem}.py").is_file()
        for name, row in module.read_networks(file):
            package, _, function = row.space.partition(":")
            assert file.stem == (package.rpartition(".")[2] if function else SYSTEMS.get(row.space, row.space)), name


def test_the_listing_order_names_every_network_once() -> None:
    file = Path(module.__file__).parent / "listing_order.toml"
    order = tomllib.loads(file.read_text())["order"]
    assert len(order) == len(set(order))
    assert list(networks())[: len(order)] == order


def test_what_stands_first_holds_for_every_network_that_does_not_say_otherwise(tmp_path: Path) -> None:
    file = write(
        tmp_path,
        'space = "a"\narchitecture = "{}"\nsource = "here"\n'
        '[one]\n[two]\nspace = "b"\noptions = { sizes = [[1, 2], [3]], wide = 1.0 }\n'
        'results = [{ metric = "COCO mAP", value = 20.5, source = "there", resolution = 320 }]\n',
    )
    rows = dict(module.read_networks(file))
    assert list(rows) == ["one", "two"]
    assert (rows["one"].space, rows["one"].options, rows["one"].results) == ("a", {}, ())
    assert (rows["two"].space, rows["two"].source) == ("b", "here")
    assert rows["two"].options == {"sizes": ((1, 2), (3,)), "wide": 1.0}  # tuples, as spaces compare their options
    assert rows["two"].results == (PublishedResult("COCO mAP", 20.5, "there", 320),)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('[one]\nspace = "a"\nsource = "here"\n', "resnet.toml: the published network 'one': .*'architecture'"),
        ('[one]\nspace = "a"\narchitecture = ""\nsource = "here"\noption = {}\n', "'one': .*'option'"),
        (
            '[one]\nspace = "a"\narchitecture = ""\nsource = "here"\nresults = [{ metric = "top-1", valu = 1 }]\n',
            "'one': .*'valu'",
        ),
    ],
)
def test_a_table_that_is_no_network_is_an_error(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        list(module.read_networks(write(tmp_path, text)))


def test_the_figure_to_quote_comes_first() -> None:
    assert published_results("tinynet_a")[0].value == 76.8
    assert published_results("vgg11") == ()
