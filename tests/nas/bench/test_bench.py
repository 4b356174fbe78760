"""The bench of searchers: accounting, goals, resuming, reports, on an invented table and on measured ones."""

from __future__ import annotations

import csv
import json
import math
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from nas.bench import campaign, contenders
from nas.bench.campaign import BenchJob, checkpoints, csv_row, finished_jobs, make_jobs, run_campaign
from nas.bench.compare import bench_searchers
from nas.bench.contenders import contender, default_names, missing_package
from nas.bench.in_flight_cost import in_flight_costs
from nas.bench.plots import values_over_time
from nas.bench.pymoo_searcher import PymooSearcher
from nas.bench.single_run import RunBudget, run_contender, run_search
from nas.bench.standings import checkpoint_figures, load_runs, overall_ranking, paired_difference, standings
from nas.bench.tables import accel_nasbench as accelerators
from nas.bench.tables.best_known_front import best_known_vectors
from nas.bench.tables.listed_space import ListedSpace
from nas.bench.tables.own_csv import own_table
from nas.bench.tables.table import BenchError, TabularBenchmark, hypervolume_reference, open_table
from nas.cli.main import main
from nas.hashing import functional_hash
from nas.searchers.protocol import Outcome
from nas.searchers.surrogates.graph_features import graph_features
from search_spaces.catalog import load_space
from search_spaces.families.nasbench201 import parse_string
from search_spaces.registry import UnknownName
from search_spaces.space.genotype import Genotype, GenotypeError

Shared = Callable[[str], Path]

SPACE = """
from search_spaces.graph.builder import Builder

def small(choose):
    b = Builder()
    x = b.input((3, 8, 8))
    for layer in (1, 2):
        x = b.act(b.conv(x, choose.one_of(f"width{layer}", (4, 8, 12, 16))), "relu")
    x = b.conv(x, 4, choose.one_of("kernel", (1, 3, 5, 7)))
    choose.one_of("spare", ("a", "b", "c", "d"))
    return b.build(x)
"""
NETWORKS = 64


def figures(genotype: Genotype) -> tuple[float, float, float]:
    """An accuracy that no two networks share, a latency and training seconds."""
    w1, w2, kernel = (int(str(genotype[name])) for name in ("width1", "width2", "kernel"))
    accuracy = 60 + 10 * math.sin(w1) + 8 * math.cos(w2) + 5 * math.sin(kernel) + w1 * w2 / 30
    return accuracy, w1 + w2 + 2 * kernel, 10.0 * w1 + w2


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


class Scripted:
    """Asks for what it is given, over and over; remembers what it was told."""

    def __init__(self, genotypes: Sequence[Genotype]) -> None:
        self.genotypes, self.asked = list(genotypes), 0
        self.told: list[Outcome] = []

    def ask(self) -> Genotype:
        self.asked += 1
        return self.genotypes[(self.asked - 1) % len(self.genotypes)]

    def tell(self, outcome: Outcome) -> None:
        self.told.append(outcome)


# -- tables ------------------------------------------------------------------------------------------------------------


def test_copies_of_a_network_are_one_and_have_the_first_rows_figures(one: TabularBenchmark) -> None:
    assert one.networks == NETWORKS
    assert one.space.size() == 4 * NETWORKS
    copies = [Genotype({"width1": 8, "width2": 4, "kernel": 3, "spare": spare}) for spare in "abcd"]
    assert {one.losses(copy) for copy in copies} == {(-figures(copies[0])[0],)}
    assert len({one.featurize(copy).key for copy in copies}) == 1
    assert one.seconds(copies[1]) == 84.0
    every = {one.featurize(genotype).key: one.losses(genotype)[0] for genotype in one.space.enumerate()}
    assert len(every) == NETWORKS
    assert one.optimum.least == one.optimum.least_test_loss == min(every.values())


def test_a_look_has_the_graphs_figures(one: TabularBenchmark, files: tuple[Path, str]) -> None:
    space = load_space(files[1])
    genotype = space.sample(random.Random(3))
    graph = space.graph(genotype)
    assert one.featurize(genotype).features == pytest.approx(graph_features(graph))


def test_the_front_is_that_of_brute_force(two: TabularBenchmark) -> None:
    losses = {two.losses(genotype) for genotype in two.space.enumerate()}
    front = {a for a in losses if not any(b != a and b[0] <= a[0] and b[1] <= a[1] for b in losses)}
    assert set(two.optimum.front) == front
    assert two.optimum.exact


def test_the_reference_is_the_median_and_a_tenth_beyond_the_fronts_worst() -> None:
    losses = np.array([[1.0, 9.0], [2.0, 4.0], [3.0, 3.0], [4.0, 9.0], [5.0, 1.0]])
    assert hypervolume_reference(((1.0, 9.0), (2.0, 4.0), (3.0, 3.0), (5.0, 1.0)), losses) == pytest.approx((3.0, 9.5))


@pytest.mark.parametrize(
    ("columns", "text"),
    [
        (["accuracy"], "known: acc"),
        (["acc:up"], "NAME:min"),
        (["train_s:seconds"], "named 0"),
        (["acc", "latency", "train_s"], "named 3"),
    ],
)
def test_columns_that_make_no_bench(files: tuple[Path, str], columns: list[str], text: str) -> None:
    with pytest.raises(BenchError, match=text):
        own_table(str(files[0]), files[1], columns)


def test_a_table_of_a_sample_is_searched_within_it(files: tuple[Path, str], tmp_path: Path) -> None:
    lines = files[0].read_text().splitlines()
    (tmp_path / "part.csv").write_text("\n".join([lines[0], *lines[1:200:7]]) + "\n")
    table = own_table(str(tmp_path / "part.csv"), files[1], ["acc"])
    assert table.space.size() == len(lines[1:200:7])
    assert isinstance(table.space, ListedSpace)
    trace = run_contender(table, "evolution", 0, RunBudget(30, 50))
    assert trace.value[-1] == 0


def test_names_of_tables_are_checked(tmp_path: Path) -> None:
    with pytest.raises(UnknownName, match="nb201_c100"):
        open_table("nb301_c100", tmp_path)
    with pytest.raises(BenchError, match="--data"):
        open_table("nb201_c100", tmp_path)
    with pytest.raises(UnknownName, match="zcu102"):
        open_table("accel@zcu103", tmp_path)


# -- spaces of a list --------------------------------------------------------------------------------------------------


@pytest.fixture
def listed() -> ListedSpace:
    options = dict.fromkeys("abc", (0, 1, 2))
    return ListedSpace([{"a": 0, "b": 0, "c": 0}, {"a": 0, "b": 1, "c": 1}, {"a": 2, "b": 2, "c": 2}], options)


def test_a_listed_space_stays_in_its_list(listed: ListedSpace) -> None:
    rng = random.Random(0)
    members = set(listed.enumerate())
    for _ in range(50):
        a, b = listed.sample(rng), listed.sample(rng)
        assert {a, b, listed.crossover(a, b, rng), listed.complete({"b": 1}, rng)} <= members
        assert listed.mutate(a, rng) in members - {a}
        assert listed.decode(listed.encode(a)) == a
    assert listed.complete({"b": 1}, rng) == Genotype({"a": 0, "b": 1, "c": 1})
    assert listed.decode([2, 2, 0]) == Genotype({"a": 2, "b": 2, "c": 2})


def test_a_listed_space_draws_evenly(listed: ListedSpace) -> None:
    rng = random.Random(1)
    drawn = [listed.sample(rng)["a"] for _ in range(3000)]
    assert abs(drawn.count(2) - 1000) < 4 * math.sqrt(3000 * 2 / 9)


def test_a_listed_space_refuses_what_the_other_space_lacks(listed: ListedSpace) -> None:
    with pytest.raises(GenotypeError, match="cannot be 7"):
        listed.encode({"a": 7})
    with pytest.raises(GenotypeError, match="no genotype"):
        ListedSpace([], {"a": (0, 1)})


# -- runs --------------------------------------------------------------------------------------------------------------


def test_an_evaluation_is_of_a_key_and_repeats_are_free(one: TabularBenchmark) -> None:
    copies = [Genotype({"width1": 8, "width2": 4, "kernel": 3, "spare": spare}) for spare in "abcd"]
    other = Genotype({"width1": 4, "width2": 4, "kernel": 1, "spare": "a"})
    searcher = Scripted([*copies, other])
    trace = run_search(one, searcher, RunBudget(evaluations=2, asks_each=10))
    assert trace.evaluations == 2
    assert trace.asks == 5
    assert trace.asks_at == [1, 5]
    assert [outcome.genotype for outcome in searcher.told] == [*copies, other]
    assert {outcome.losses for outcome in searcher.told[:4]} == {one.losses(copies[0])}
    assert trace.seconds == [one.seconds(copies[0]), one.seconds(copies[0]) + one.seconds(other)]
    assert math.isnan(trace.without_cache(0))
    assert trace.without_cache(4) == trace.value[0]


def test_a_searcher_that_repeats_itself_comes_to_an_end(one: TabularBenchmark) -> None:
    trace = run_search(one, Scripted([next(iter(one.space.enumerate()))]), RunBudget(evaluations=20, asks_each=3))
    assert (trace.evaluations, trace.asks) == (1, 60)
    trace = run_search(one, Scripted([next(iter(one.space.enumerate()))]), RunBudget(evaluations=20, idle=7))
    assert (trace.evaluations, trace.asks) == (1, 8)


def test_several_in_flight_are_told_as_they_finish(one: TabularBenchmark) -> None:
    widths = (16, 4, 8, 12)
    genotypes = [Genotype({"width1": w, "width2": 4, "kernel": 1, "spare": "a"}) for w in widths]
    assert one.optimum.least not in {one.losses(genotype)[0] for genotype in genotypes}
    searcher = Scripted(genotypes)
    trace = run_search(one, searcher, RunBudget(evaluations=4, in_flight=2))
    # 164 s and 44 s start together; then 84 s until 128, then 124 s until 252
    assert [outcome.genotype["width1"] for outcome in searcher.told] == [4, 8, 16, 12]
    assert trace.seconds == [44.0, 128.0, 164.0, 252.0]


def test_who_asks_for_a_network_in_flight_is_told_with_it(one: TabularBenchmark) -> None:
    copies = [Genotype({"width1": 8, "width2": 4, "kernel": 3, "spare": spare}) for spare in "ab"]
    searcher = Scripted(copies)
    trace = run_search(one, searcher, RunBudget(evaluations=2, asks_each=3, in_flight=2))
    assert trace.evaluations == 1
    assert len(searcher.told) == trace.asks == 6


def test_all_networks_have_the_whole_front(two: TabularBenchmark) -> None:
    trace = run_search(two, Scripted(list(two.space.enumerate())), RunBudget(NETWORKS, 10))
    assert trace.value[-1] == pytest.approx(two.optimum.hypervolume, rel=1e-12)
    assert trace.reached == trace.evaluations
    assert set(trace.front) == set(two.optimum.front)
    assert all(math.isnan(seconds) for seconds in trace.seconds)


def test_random_search_takes_half_of_the_networks(one: TabularBenchmark) -> None:
    """Without paying twice, the place of the best of N is uniform: (N + 1) / 2 on average."""
    found = [run_contender(one, "random", seed, RunBudget(NETWORKS, 100)).reached or 0 for seed in range(200)]
    assert abs(np.mean(found) - (NETWORKS + 1) / 2) < 4 * math.sqrt((NETWORKS**2 - 1) / 12 / 200)


@pytest.mark.parametrize("name", default_names())
@pytest.mark.parametrize("objectives", [1, 2])
def test_every_contender_runs_and_repeats(
    name: str, objectives: int, one: TabularBenchmark, two: TabularBenchmark
) -> None:
    if missing_package(name):
        pytest.skip(missing_package(name))
    table = one if objectives == 1 else two
    run_budget = RunBudget(evaluations=14, asks_each=5, in_flight=1)
    trace, again = (run_contender(table, name, 5, run_budget) for _ in range(2))
    assert (trace.value, trace.asks_at, trace.front) == (again.value, again.asks_at, again.front)
    assert 1 <= trace.evaluations <= 14
    assert trace.asks >= trace.evaluations
    assert trace.overhead_s > 0
    better = -np.diff(trace.value) if objectives == 1 else np.diff(trace.value)
    assert (better >= 0).all()
    if objectives == 2:
        assert trace.value[-1] <= table.optimum.hypervolume * (1 + 1e-12)


def test_a_generation_that_is_out_is_filled_up_at_random(two: TabularBenchmark) -> None:
    pytest.importorskip("pymoo")
    searcher = PymooSearcher(two.space, random.Random(0), objectives=2, population=6)
    asked = [searcher.ask() for _ in range(10)]
    for genotype in reversed(asked):
        searcher.tell(Outcome(genotype, two.losses(genotype)))
    searcher.tell(Outcome(asked[0], (math.inf, 1.0)))
    assert searcher.ask() in set(two.space.enumerate())
    with pytest.raises(UnknownName, match="integers"):
        PymooSearcher(two.space, random.Random(0), algorithm="integer")


def test_contenders_are_known_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    assert contender("optuna-tpe").is_external
    assert not contender("evolution").is_external
    with pytest.raises(UnknownName, match="evolution"):
        contender("evolutoin")
    monkeypatch.setattr(contenders.importlib.util, "find_spec", lambda name: None)
    assert missing_package("pymoo-nsga2") == "pymoo is not installed"
    assert not missing_package("evolution")


def test_a_plan_counts_from_one() -> None:
    with pytest.raises(ValueError, match="in_flight"):
        RunBudget(in_flight=0)


# -- campaigns and reports ---------------------------------------------------------------------------------------------


def test_a_cut_campaign_goes_on(one: TabularBenchmark, tmp_path: Path) -> None:
    jobs = make_jobs([one.name], ["random", "evolution"], 3, 25, 4, ["evolution"])
    assert len(jobs) == 3 * 3
    whole, cut = tmp_path / "whole.csv", tmp_path / "cut.csv"
    assert not run_campaign({one.name: one}, jobs, whole, workers=1)
    text = whole.read_text()
    cut.write_text(text[: len(text) // 2])
    left = len(jobs) - (cut.read_text().count("\n") - 1)
    steps: list[tuple[int, int]] = []
    run_campaign({one.name: one}, jobs, cut, workers=1, progress=lambda done, of: steps.append((done, of)))
    assert steps == [(n + 1, left) for n in range(left)]
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

    monkeypatch.setattr(campaign, "run_one", broken)
    said: list[str] = []
    result = bench_searchers(
        {one.name: one}, ["evolution", "random"], tmp_path, seeds=2, evaluations=12, workers=1, print_line=said.append
    )
    assert [(f.job.searcher, f.job.seed, f.text) for f in result.failures] == [
        ("random", 1, "RuntimeError: no luck"),
        ("random", 1, "RuntimeError: no luck"),
    ]
    assert sorted(zip(result.standings["searcher"], result.standings["runs"], strict=True)) == [
        ("evolution", 2),
        ("random", 1),
    ]
    assert any("no luck" in line for line in said)


def test_a_row_holds_the_checkpoints(one: TabularBenchmark) -> None:
    assert checkpoints(25) == [10, 20, 25]
    trace = run_contender(one, "random", 0, RunBudget(25))
    row = csv_row(BenchJob(one.name, "random", 0, 1, 25), trace, front=False)
    values = [float(text) for text in row["value"].split()]
    places = [min(mark, trace.evaluations) - 1 for mark in (10, 20, 25)]
    assert values == pytest.approx([trace.value[place] for place in places], rel=1e-5)


@pytest.fixture
def ran(
    one: TabularBenchmark, two: TabularBenchmark, tmp_path: Path
) -> tuple[pd.DataFrame, dict[str, TabularBenchmark]]:
    tables = {"one": one, "two": two}
    jobs = make_jobs(list(tables), ["random", "evolution"], 6, 40, 4, ["random", "evolution"])
    run_campaign(tables, jobs, tmp_path / "runs.csv", workers=1)
    return load_runs(tmp_path / "runs.csv", tables, jobs), tables


def test_figures_of_a_campaign(ran: tuple[pd.DataFrame, dict[str, TabularBenchmark]]) -> None:
    runs, tables = ran
    shares = np.stack(runs.loc[runs["table"] == "two", "value"].tolist())
    assert shares.max() <= 1 + 1e-9
    assert shares.min() >= 0
    figures = checkpoint_figures(runs)
    assert set(figures["evaluations"]) == {10, 20, 30, 40}
    assert (figures["q25"] <= figures["median"]).all()
    found = standings(runs, tables, "evolution", [20, 40])
    random_row = found[(found["table"] == "one") & (found["searcher"] == "random")].iloc[0]
    part = runs[(runs["table"] == "one") & (runs["searcher"] == "random") & (runs["in_flight"] == 1)]
    assert random_row["value_20"] == pytest.approx(np.median([values[1] for values in part["value"]]))
    assert random_row["found"] == part["reached"].notna().mean()
    assert random_row["low"] <= random_row["difference"] <= random_row["high"]
    ranks = overall_ranking(found)
    assert ranks["mean_rank"].sum() == pytest.approx(3)
    in_flight_cost = in_flight_costs(runs, tables)
    assert len(in_flight_cost) == 4
    assert (in_flight_cost["evaluations_1"] <= 20).all()
    assert (
        (in_flight_cost["low"] <= in_flight_cost["difference"])
        & (in_flight_cost["difference"] <= in_flight_cost["high"])
    ).all()
    one = in_flight_cost[(in_flight_cost["table"] == "one") & (in_flight_cost["searcher"] == "random")].iloc[0]
    spent = [
        part["reached"].fillna(40).clip(upper=40).mean()
        for _, part in runs[(runs["table"] == "one") & (runs["searcher"] == "random")].groupby("in_flight")
    ]
    assert [one["mean_1"], one["mean_n"]] == pytest.approx(spent)


def test_a_paired_difference_is_of_the_seeds_that_both_have() -> None:
    found = paired_difference(pd.Series([1.0, 2.0, 9.0], [0, 1, 2]), pd.Series([0.0, 0.0], [0, 1]))
    assert found["difference"] == 1.5
    assert (found["low"], found["high"]) == (1.0, 2.0)
    assert paired_difference(pd.Series([1.0], [0]), None) == {}


def test_values_over_time_are_those_of_the_last_checkpoint_before() -> None:
    seconds = np.array([[1.0, 10.0, 100.0], [2.0, 3.0, 4.0]])
    values = np.array([[5.0, 4.0, 3.0], [9.0, 8.0, 7.0]])
    moments, seen = values_over_time(seconds, values)
    assert (moments[0], moments[-1]) == pytest.approx((2.0, 100.0))
    assert seen[:, 0].tolist() == [5.0, 9.0]
    assert seen[:, -2].tolist() == [4.0, 7.0]


def test_a_long_evolution_finds_a_front_that_is_known() -> None:
    """Twelve choices of 0..3, squares against what is left of 36: each total is best shared out evenly."""
    start = np.zeros((1, 12), np.int64)

    def losses(choices: Any) -> Any:
        total = choices.sum(axis=1)
        return np.stack([(choices**2).sum(axis=1), 36.0 - total], axis=1)

    found = losses(best_known_vectors(losses, [4] * 12, start, generations=150, children=200))
    even = [
        [(total // 12) ** 2 * (12 - total % 12) + (total // 12 + 1) ** 2 * (total % 12), 36 - total]
        for total in range(37)
    ]
    assert sorted(found.tolist()) == sorted(even)


# -- the command -------------------------------------------------------------------------------------------------------


def run_cli(arguments: list[str]) -> int | str | None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    return ended.value.code


def test_the_whole_command(files: tuple[Path, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["bench", "searchers", "--table", str(files[0]), "--space", files[1], "--column", "acc"]
    arguments += ["--column", "latency:min", "--searchers", "random,evolution", "--seeds", "2", "--evaluations", "20"]
    arguments += ["--out", str(tmp_path), "--workers", "2", "--in-flight", "3"]
    assert run_cli([*arguments, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert {row["searcher"] for row in document["overall"]} == {"random", "evolution"}
    assert document["failures"] == []
    assert len(document["in_flight"]) == 2
    names = {"runs.csv", "figures.csv", "standings.csv", "in_flight.csv", "searchers.md"}
    assert names | {"evaluations.png", "evaluations.svg"} == {path.name for path in tmp_path.iterdir()}
    before = (tmp_path / "runs.csv").read_text()
    assert run_cli([*arguments, "--seeds", "9", "--report-only"]) == 0
    assert (tmp_path / "runs.csv").read_text() == before
    assert "## Over all tables" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--tables", "nb201_c100", "--data", "nowhere"], "no table of NAS-Bench-201"),
        (["--data", "nowhere"], "no table can be opened"),
        (["--table", "some.csv"], "--table needs --space"),
        (["--space", "nasbench201"], "--table FILE.csv"),
    ],
)
def test_what_the_command_refuses(arguments: list[str], text: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_cli(["bench", "searchers", *arguments]) == 2
    assert text in capsys.readouterr().err


# -- measured tables ---------------------------------------------------------------------------------------------------


def test_nasbench201s_optima_are_the_published_ones(shared: Shared) -> None:
    data = shared("data/nb201_accuracy").parent
    best = {"nb201_c10": (6111, 94.3733), "nb201_c100": (9930, 73.5133), "nb201_in16": (857, 47.3111)}
    frame = pd.read_csv(data / "nb201_accuracy" / "nb201_accuracy.csv.gz").set_index("arch_idx")
    for name, (index, accuracy) in best.items():
        table = open_table(name, data)
        assert table.networks == 5260
        genotype = Genotype(parse_string(frame["arch_str"][index], {}))
        assert table.losses(genotype)[0] == pytest.approx(100 - accuracy)
        assert table.optimum.least == pytest.approx(100 - accuracy)
    validation = open_table("nb201_c100_val", data)
    assert validation.optimum.least == pytest.approx(100 - frame["mini_c100_val"].max(), abs=0.5)
    assert validation.test_losses(Genotype(parse_string(frame["arch_str"][9930], {})))[0] == pytest.approx(26.4867)
    against = open_table("nb201_c100@pi5", data)
    assert against.objectives == ("error_percent", "latency_ms")
    with pytest.raises(UnknownName, match="pixel3"):
        open_table("nb201_c10@pixel33", data)


def test_nasbench201s_looks_are_those_of_the_whole_networks(shared: Shared) -> None:
    table = open_table("nb201_c10", shared("data/nb201_accuracy").parent)
    space, rng = load_space("nasbench201"), random.Random(0)
    dead = Genotype(dict.fromkeys(table.space.decisions(), "none"))
    for genotype in [dead, *(space.sample(rng) for _ in range(12))]:
        graph, seen = space.graph(genotype), table.featurize(genotype)
        assert seen.features == pytest.approx(graph_features(graph))
        twin = space.sample(rng)
        same = functional_hash(graph) == functional_hash(space.graph(twin))
        assert (seen.key == table.featurize(twin).key) == same


def test_nasbench101s_sample_is_a_thousand_networks(shared: Shared) -> None:
    table = open_table("nb101", shared("data/nb101_sample").parent)
    assert (table.networks, table.space.size()) == (1000, 1000)
    assert table.optimum.least == pytest.approx(5.3285)
    trace = run_contender(table, "evolution", 0, RunBudget(500))
    assert trace.reached is not None


def test_the_surrogates_errors_and_counts(shared: Shared) -> None:
    table = open_table("accel@zcu102", shared("data/accel_nasbench").parent)
    assert isinstance(table, accelerators.SurrogateBenchmark)
    assert table.errors["accuracy_rows"] == 512
    assert table.errors["accuracy_r2"] > 0.975
    assert table.errors["time_spearman"] > 0.999
    assert table.networks == table.space.size() == 36**6 * 48
    rng = random.Random(0)
    keys = set()
    for _ in range(5):
        genotype = table.space.sample(rng)
        parts = [
            [int(str(genotype[f"stage{s}.{name}"])) for s in range(1, 8)] for name in accelerators.CHOICE_NAMES.values()
        ]
        graph = accelerators.network(*parts)
        assert table.featurize(genotype).features == pytest.approx(graph_features(graph))
        keys.add(table.featurize(genotype).key)
    assert len(keys) == 5
    assert not table.optimum.exact
    trace = run_contender(table, "random", 0, RunBudget(60))
    assert 0 < trace.value[-1] < table.optimum.hypervolume
