"""Campaigns of a bench: continued, reported, and by the command line."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from nas.bench import campaign
from nas.bench.campaign import BenchJob, checkpoints, csv_row, finished_jobs, make_jobs, run_campaign
from nas.bench.compare import bench_searchers
from nas.bench.in_flight_cost import in_flight_costs
from nas.bench.plots import values_over_time
from nas.bench.single_run import RunBudget, run_contender
from nas.bench.standings import checkpoint_figures, load_runs, overall_ranking, paired_difference, standings
from nas.bench.tables.table import BenchError, TabularBenchmark
from tests.support.command_line import run_command


def test_an_interrupted_campaign_continues(one: TabularBenchmark, tmp_path: Path) -> None:
    jobs = make_jobs([one.name], ["random", "evolution"], 3, 25, 4, ["evolution"])
    assert len(jobs) == 3 * 3
    whole, cut = tmp_path / "whole.csv", tmp_path / "cut.csv"
    assert not run_campaign({one.name: one}, jobs, whole, workers=1)
    text = whole.read_text()
    cut.write_text(text[: len(text) // 2])
    remaining = len(jobs) - (cut.read_text().count("\n") - 1)
    steps: list[tuple[int, int]] = []
    run_campaign({one.name: one}, jobs, cut, workers=1, progress=lambda done, of: steps.append((done, of)))
    assert steps == [(n + 1, remaining) for n in range(remaining)]
    lines = [list(csv.DictReader(path.read_text().splitlines())) for path in (whole, cut)]
    rows, again = ([{**row, "overhead_ms": ""} for row in one_file] for one_file in lines)
    assert rows == again
    assert finished_jobs(cut) == set(jobs)
    steps.clear()
    run_campaign({one.name: one}, jobs, cut, workers=1, progress=lambda done, of: steps.append((done, of)))
    assert not steps


def test_a_file_of_another_version_is_not_continued(tmp_path: Path) -> None:
    (tmp_path / "runs.csv").write_text("table,searcher\n")
    with pytest.raises(BenchError, match="--out"):
        finished_jobs(tmp_path / "runs.csv")


def test_one_searchers_error_costs_the_others_nothing(
    one: TabularBenchmark, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(table: Any, name: str, seed: int, run_budget: RunBudget) -> Any:
        if name == "random" and seed == 1:
            raise RuntimeError("no luck")
        return run_contender(table, name, seed, run_budget)

    monkeypatch.setattr(campaign, "run_contender", broken)
    lines: list[str] = []
    result = bench_searchers(
        {one.name: one}, ["evolution", "random"], tmp_path, seeds=2, evaluations=12, workers=1, print_line=lines.append
    )
    assert [(f.job.searcher, f.job.seed, f.text) for f in result.failures] == [
        ("random", 1, "RuntimeError: no luck"),
        ("random", 1, "RuntimeError: no luck"),
    ]
    assert sorted(zip(result.standings["searcher"], result.standings["runs"], strict=True)) == [
        ("evolution", 2),
        ("random", 1),
    ]
    assert any("no luck" in line for line in lines)


def test_a_row_holds_the_checkpoints(one: TabularBenchmark) -> None:
    assert checkpoints(25) == [10, 20, 25]
    trace = run_contender(one, "random", 0, RunBudget(25))
    row = csv_row(BenchJob(one.name, "random", 0, 1, 25), trace, front=False)
    values = [float(text) for text in row["value"].split()]
    indices = [min(checkpoint, trace.evaluations) - 1 for checkpoint in (10, 20, 25)]
    assert values == pytest.approx([trace.value[index] for index in indices], rel=1e-5)


@pytest.fixture
def campaign_runs(
    one: TabularBenchmark, two: TabularBenchmark, tmp_path: Path
) -> tuple[pd.DataFrame, dict[str, TabularBenchmark]]:
    tables = {"one": one, "two": two}
    jobs = make_jobs(list(tables), ["random", "evolution"], 6, 40, 4, ["random", "evolution"])
    run_campaign(tables, jobs, tmp_path / "runs.csv", workers=1)
    return load_runs(tmp_path / "runs.csv", tables, jobs), tables


def test_figures_of_a_campaign(campaign_runs: tuple[pd.DataFrame, dict[str, TabularBenchmark]]) -> None:
    runs, tables = campaign_runs
    shares = np.stack(runs.loc[runs["table"] == "two", "value"].tolist())
    assert shares.max() <= 1 + 1e-9
    assert shares.min() >= 0
    figures = checkpoint_figures(runs)
    assert set(figures["evaluations"]) == {10, 20, 30, 40}
    assert (figures["q25"] <= figures["median"]).all()
    table_standings = standings(runs, tables, "evolution", [20, 40])
    random_row = table_standings[(table_standings["table"] == "one") & (table_standings["searcher"] == "random")].iloc[
        0
    ]
    part = runs[(runs["table"] == "one") & (runs["searcher"] == "random") & (runs["in_flight"] == 1)]
    assert random_row["value_20"] == pytest.approx(np.median([values[1] for values in part["value"]]))
    assert random_row["found"] == part["reached"].notna().mean()
    assert random_row["low"] <= random_row["difference"] <= random_row["high"]
    ranks = overall_ranking(table_standings)
    assert ranks["mean_rank"].sum() == pytest.approx(3)
    in_flight_cost = in_flight_costs(runs, tables)
    assert len(in_flight_cost) == 4
    assert (in_flight_cost["evaluations_1"] <= 20).all()
    assert (
        (in_flight_cost["low"] <= in_flight_cost["difference"])
        & (in_flight_cost["difference"] <= in_flight_cost["high"])
    ).all()
    one = in_flight_cost[(in_flight_cost["table"] == "one") & (in_flight_cost["searcher"] == "random")].iloc[0]
    efforts = [
        part["reached"].fillna(40).clip(upper=40).mean()
        for _, part in runs[(runs["table"] == "one") & (runs["searcher"] == "random")].groupby("in_flight")
    ]
    assert [one["mean_1"], one["mean_n"]] == pytest.approx(efforts)


def test_a_paired_difference_is_of_the_seeds_that_both_have() -> None:
    difference = paired_difference(pd.Series([1.0, 2.0, 9.0], [0, 1, 2]), pd.Series([0.0, 0.0], [0, 1]))
    assert difference["difference"] == 1.5
    assert (difference["low"], difference["high"]) == (1.0, 2.0)
    assert paired_difference(pd.Series([1.0], [0]), None) == {}


def test_values_over_time_are_those_of_the_last_checkpoint_before() -> None:
    seconds = np.array([[1.0, 10.0, 100.0], [2.0, 3.0, 4.0]])
    values = np.array([[5.0, 4.0, 3.0], [9.0, 8.0, 7.0]])
    moments, at_moments = values_over_time(seconds, values)
    assert (moments[0], moments[-1]) == pytest.approx((2.0, 100.0))
    assert at_moments[:, 0].tolist() == [5.0, 9.0]
    assert at_moments[:, -2].tolist() == [4.0, 7.0]


# -- the command -------------------------------------------------------------------------------------------------------


def test_the_whole_command(files: tuple[Path, str], tmp_path: Path) -> None:
    arguments = ["bench", "searchers", "--table", str(files[0]), "--space", files[1], "--column", "acc"]
    arguments += ["--column", "latency:min", "--searchers", "random,evolution", "--seeds", "2", "--evaluations", "20"]
    arguments += ["--out", str(tmp_path), "--workers", "2", "--in-flight", "3"]
    result = run_command(*arguments, "--json")
    assert result.code == 0
    document = result.json
    assert {row["searcher"] for row in document["overall"]} == {"random", "evolution"}
    assert document["failures"] == []
    assert len(document["in_flight"]) == 2
    names = {"runs.csv", "figures.csv", "standings.csv", "in_flight.csv", "searchers.md"}
    assert names | {"evaluations.png", "evaluations.svg"} == {path.name for path in tmp_path.iterdir()}
    before = (tmp_path / "runs.csv").read_text()
    report = run_command(*arguments, "--seeds", "9", "--report-only")
    assert report.code == 0
    assert (tmp_path / "runs.csv").read_text() == before
    assert "## Over all tables" in report.out


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--tables", "nb201_c100", "--data", "nowhere"], "no table of NAS-Bench-201"),
        (["--data", "nowhere"], "no table can be opened"),
        (["--table", "some.csv"], "--table needs --space"),
        (["--space", "nasbench201"], "--table FILE.csv"),
    ],
)
def test_what_the_command_refuses(arguments: list[str], text: str) -> None:
    result = run_command("bench", "searchers", *arguments)
    assert result.code == 2
    assert text in result.err
