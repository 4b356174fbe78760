"""Quality from a table: which figure, in which unit, with which noise, and tables that cannot be used."""

from __future__ import annotations

import gzip
import statistics
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import xxhash

from evaluators.catalog import make_evaluator
from evaluators.evaluator import DataError, EvaluationFailure, EvaluationJob
from evaluators.tabular import NotTabulated, TabularQuality, load_table, standard_normal
from search_spaces.catalog import load_space
from search_spaces.registry import UnknownName

SKIP = "|none~0|+|none~0|none~1|+|skip_connect~0|none~1|none~2|"
CONV = "|none~0|+|none~0|none~1|+|nor_conv_3x3~0|none~1|none~2|"
POOL = "|none~0|+|none~0|none~1|+|avg_pool_3x3~0|none~1|none~2|"
GRAPH = load_space("nasbench201", image_size=8).graph(load_space("nasbench201").parse(CONV))  # whatever it is
CSV = f"""arch_str,name,percent,share,latency,partial,empty
{SKIP},identity,60.5,0.605,3500,50,
 {CONV} ,conv,90,0.9,7200,,
"""


def write_table(folder: Path, text: str = CSV, name: str = "table.csv") -> str:
    path = folder / name
    path.write_bytes(gzip.compress(text.encode()) if name.endswith(".gz") else text.encode())
    return str(path)


def table(folder: Path, text: str = CSV, **settings: Any) -> TabularQuality:
    return TabularQuality(write_table(folder, text), **{"column": "percent", **settings})


def accuracy_of(evaluator: TabularQuality, architecture: str, seed: int) -> float:
    job = EvaluationJob(GRAPH, architecture=architecture, seed=seed)
    (accuracy,) = evaluator.evaluate(job).metrics.values()
    return accuracy


def test_accuracies_are_between_0_and_1_whatever_the_tables_unit(tmp_path: Path) -> None:
    for column in ("percent", "share"):
        evaluator = table(tmp_path, column=column)
        assert accuracy_of(evaluator, SKIP, 0) == pytest.approx(0.605)
        assert accuracy_of(evaluator, CONV, 1) == pytest.approx(0.9)


def test_numeric_columns_are_on_offer(tmp_path: Path) -> None:
    assert table(tmp_path).columns == ("percent", "share", "latency", "partial")


def test_compressed_tables_and_byte_order_marks(tmp_path: Path) -> None:
    path = write_table(tmp_path, "\ufeff" + CSV, "table.csv.gz")
    assert accuracy_of(TabularQuality(path, column="share"), CONV, 0) == 0.9


def test_architectures_are_found_as_their_space_writes_them(tmp_path: Path) -> None:
    space = load_space("nasbench201", image_size=8, zeros="bias")
    architecture = space.format(space.parse(CONV))
    assert accuracy_of(table(tmp_path), architecture, 0) == 0.9


def test_other_spaces_and_columns(tmp_path: Path) -> None:
    text = "cell,val\ninput conv1x1-bn-relu output|0>1 1>2,0.8\n-1 -2|0>1,0.5\n"
    evaluator = table(tmp_path, text, space="nasbench101", architecture_column="cell", column="")
    assert evaluator.reported_column == "val"
    assert accuracy_of(evaluator, "-1 1 -2|0>1 1>2", 0) == 0.8


def test_spaces_without_a_notation_write_decisions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = """
from search_spaces.graph.builder import Builder
def mine(choose, *, image_size=8):
    b = Builder()
    return b.build(b.conv(b.input((3, image_size, image_size)), choose.int("width", 1, 4)))
"""
    (tmp_path / "own_space.py").write_text(source)
    monkeypatch.chdir(tmp_path)
    text = 'arch_str,val\n"{""width"":2}",0.8\n'
    evaluator = table(tmp_path, text, space="./own_space.py:mine", column="val")
    assert accuracy_of(evaluator, '{"width": 2}', 0) == 0.8


# -- noise -------------------------------------------------------------------------------------------------------------


def test_without_noise_the_seed_does_not_matter(tmp_path: Path) -> None:
    evaluator = table(tmp_path)
    assert accuracy_of(evaluator, SKIP, 0) == accuracy_of(evaluator, SKIP, 1)


def test_noise_is_in_percentage_points_of_a_normal_deviate(tmp_path: Path) -> None:
    evaluator = table(tmp_path, noise=0.5)
    draws = [accuracy_of(evaluator, SKIP, seed) for seed in range(2000)]
    assert statistics.mean(draws) == pytest.approx(0.605, abs=4 * 0.005 / 2000**0.5)
    assert statistics.stdev(draws) == pytest.approx(0.005, rel=0.1)
    assert len(set(draws)) == len(draws)


def test_noise_is_of_the_architecture_and_the_seed_alone(tmp_path: Path) -> None:
    one, other = table(tmp_path, noise=0.5), table(tmp_path, noise=1.0, column="share")
    for architecture, accuracy in ((SKIP, 0.605), (CONV, 0.9)):
        small = accuracy_of(one, architecture, 3) - accuracy
        large = accuracy_of(other, architecture, 3) - accuracy
        assert large == pytest.approx(2 * small)
    assert standard_normal(SKIP, 3) != standard_normal(CONV, 3)


def test_noise_is_the_same_in_every_process() -> None:
    code = f"from evaluators.tabular import standard_normal; print(repr(standard_normal({SKIP!r}, 7)))"
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert float(process.stdout) == standard_normal(SKIP, 7)


def test_an_accuracy_stays_one(tmp_path: Path) -> None:
    evaluator = table(tmp_path, noise=1000.0)
    draws = {accuracy_of(evaluator, SKIP, seed) for seed in range(40)}
    assert (min(draws), max(draws)) == (0.0, 1.0)


# -- what it says of itself --------------------------------------------------------------------------------------------


def test_it_is_made_from_the_command_lines_text(tmp_path: Path) -> None:
    path = write_table(tmp_path)
    evaluator = make_evaluator(f"table:{path}", column="share", noise=0.25)
    assert isinstance(evaluator, TabularQuality)
    assert evaluator == TabularQuality(path, column="share", noise=0.25)
    assert (evaluator.proxy, evaluator.deploy) == ({}, {})
    assert evaluator.describe() == f"column share of the table {path} with noise of 0.25 points"
    assert evaluator.time_limit_s > 0
    assert [metric.name for metric in evaluator.metrics] == ["accuracy"]
    assert not evaluator.isolated
    evaluator.check(GRAPH)
    with pytest.raises(EvaluationFailure, match="read by architecture"):
        evaluator.evaluate(EvaluationJob(GRAPH))
    with pytest.raises(ValueError, match=r"evaluates in full only, not at fidelity 0\.5"):
        evaluator.check_fidelities([0.5, 1])
    with pytest.raises(UnknownName, match="no setting of tables 'colum'; did you mean 'column'"):
        make_evaluator(f"table:{path}", colum="share")


def test_its_identity_is_the_files_bytes_the_column_and_the_noise(tmp_path: Path) -> None:
    evaluator = table(tmp_path, noise=1)
    assert evaluator.cache_identity(1.0) == {
        "evaluator": "tabular/1",
        "data": xxhash.xxh3_128_hexdigest(CSV.encode()),
        "fidelity": {"column": "percent", "noise": 1.0},
    }
    moved = TabularQuality(write_table(tmp_path, name="moved.csv"), column="percent", noise=1.0)
    assert moved.cache_identity(1.0) == evaluator.cache_identity(1.0)
    longer = TabularQuality(write_table(tmp_path, CSV + f"{POOL},pool,1,1,1,1,\n", "longer.csv"), column="percent")
    assert longer.cache_identity(1.0)["data"] != evaluator.cache_identity(1.0)["data"]


@pytest.mark.parametrize("settings", [{"noise": -1}, {"noise": float("nan")}, {"noise": "1"}, {"column": 3}])
def test_settings_that_cannot_be(settings: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=f"{next(iter(settings))} is"):
        TabularQuality("table.csv", **settings)


# -- what cannot be looked up ------------------------------------------------------------------------------------------


def test_an_architecture_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(NotTabulated, match=r"has no architecture '.*avg_pool_3x3~0"):
        accuracy_of(table(tmp_path), POOL, 0)
    evaluator = table(tmp_path, column="partial")
    assert accuracy_of(evaluator, SKIP, 0) == 0.5
    with pytest.raises(NotTabulated, match=r"has no partial for the architecture '.*nor_conv_3x3~0"):
        accuracy_of(evaluator, CONV, 0)


@pytest.mark.parametrize(
    ("column", "message"),
    [
        ("percnt", "no column 'percnt'; did you mean 'percent'"),
        ("name", "column 'name' is not numeric: row 1 holds 'identity'"),
        ("empty", "column 'empty' is not numeric: it is empty"),
        ("latency", "column 'latency' is no accuracy, .* values from 3500 to 7200"),
        ("", "name the column with the accuracy; there are percent, share, latency, partial"),
    ],
)
def test_columns_that_cannot_be_reported(tmp_path: Path, column: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        accuracy_of(table(tmp_path, column=column), SKIP, 0)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no column 'arch_str'"),
        ("arch,val\nx,1\n", "no column 'arch_str'.*set architecture_column"),
        ("arch_str,val,val\nx,1,2\n", "the header names a column twice"),
        ("arch_str,val\n", "has a header and no rows"),
        (f"arch_str,val\n{SKIP},1,2\n", "row 1 has 3 fields for 2 columns"),
        (f"arch_str,val\n{SKIP},1\n{SKIP[:-1]},2\n", "row 2: node 3 of the NAS-Bench-201 string"),
        (f"arch_str,val\n{SKIP},1\n{CONV},1\n{SKIP},2\n", "rows 1 and 3 are of one architecture"),
        (f'arch_str,val\n"{SKIP},1\n', "is no CSV file"),
    ],
)
def test_tables_that_are_none_say_why(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        table(tmp_path, text, column="val").load()


def test_files_that_are_none_say_why(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no table '.*nothing.csv': No such file"):
        TabularQuality(str(tmp_path / "nothing.csv")).describe()
    for name, content, message in (("a.csv.gz", b"text", "no gzip file"), ("a.csv", b"\xff\xfe,", "no CSV file")):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(DataError, match=message):
            TabularQuality(str(tmp_path / name)).load()


# -- the published table -----------------------------------------------------------------------------------------------


def test_the_published_accuracies(shared: Callable[[str], Path]) -> None:
    path = str(shared("data/nb201_accuracy/nb201_accuracy.csv.gz"))
    load_table.cache_clear()
    evaluator = TabularQuality(path)
    assert evaluator.reported_column == "mini_c10_val"
    assert load_table.cache_info().misses == 1
    table = evaluator.load()
    assert len(table.architectures) == 15_625
    assert TabularQuality(path).load() is table

    def accuracies(column: str) -> list[float]:
        one = TabularQuality(path, column=column)
        return [accuracy_of(one, a, 0) for a in table.architectures]

    # The published optima, in per cent: arXiv 2001.00326, table 5
    for column, best in (("c10_test_200ep", 94.37), ("c100_test_200ep", 73.51), ("in16_test_200ep", 47.31)):
        values = accuracies(column)
        assert max(values) == pytest.approx(best / 100, abs=6e-5)
        assert min(values) > 0
