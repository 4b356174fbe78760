"""The invented table as a file, and as a bench table of one and of two objectives."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from nas.bench.tables.own_csv import own_table
from nas.bench.tables.table import TabularBenchmark
from search_spaces.catalog import load_space
from tests.support.invented_table import SPACE, figures


@pytest.fixture(scope="session")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The CSV file of the invented table, and its space. Copies of a network have another accuracy each."""
    folder = tmp_path_factory.mktemp("table")
    (folder / "small.py").write_text(SPACE)
    space = f"{folder / 'small.py'}:small"
    with (folder / "small.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["architecture", "acc", "latency", "train_s"])
        for genotype in load_space(space).enumerate():
            accuracy, latency, seconds = figures(genotype)
            copy = "abcd".index(str(genotype["spare"])) / 1000
            writer.writerow([genotype.to_json(), accuracy - copy, latency, seconds])
    return folder / "small.csv", space


@pytest.fixture(scope="session")
def one(files: tuple[Path, str]) -> TabularBenchmark:
    return own_table(str(files[0]), files[1], ["acc", "train_s:seconds"])


@pytest.fixture(scope="session")
def two(files: tuple[Path, str]) -> TabularBenchmark:
    return own_table(str(files[0]), files[1], ["acc", "latency:min"])
