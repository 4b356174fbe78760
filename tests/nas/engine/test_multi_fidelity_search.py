"""Searches by successive halving: budgets, fidelities, stopped candidates, resumption, determinism."""

from __future__ import annotations

import json
import random
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import optuna
import pytest

import nas
from evaluators.evaluator import Diverged, Evaluation, EvaluationJob, Evaluator
from nas.cache import EvaluationCache
from nas.candidates.fidelity import exact_fraction
from nas.cli.main import main
from nas.execution.cached_training import cache_keys_of
from nas.execution.executor import Middleware, TrainingResult, call_through, evaluate_job
from nas.report.tables import study_tables, summary_lines
from nas.searchers.multi_fidelity import MultiFidelitySearcher, Suggestion, as_multi_fidelity
from nas.searchers.protocol import Outcome
from nas.searchers.random_search import RandomSearch
from nas.study.load import load_candidates
from nas.study.storage import open_storage
from tests.support.fakes import CountingEvaluator, StandIn, small_space


@dataclass
class SteppedEvaluator(StandIn):
    """Quality grows with the steps, at a pace that differs from network to network; one in nine diverges late."""

    steps: int = 90
    trained: list[tuple[str, int]] = field(default_factory=list)  # network and steps; shared with the shortened ones
    stop_after: int = 10**9

    def check_fidelities(self, fidelities: Sequence[float]) -> None:
        """Any will do."""

    def cache_identity(self, fidelity: float) -> dict[str, Any]:
        return {"evaluator": "stepped/1", "data": "none", "fidelity": {"steps": round(fidelity * self.steps)}}

    def evaluate(self, job: EvaluationJob) -> Evaluation:
        if len(self.trained) >= self.stop_after:
            raise KeyboardInterrupt
        digest, steps = job.graph.digest, round(job.fidelity * self.steps)
        self.trained.append((digest, steps))
        number = int(digest[:8], 16)
        if number % 9 == 0 and steps > 10:
            raise Diverged("the loss is nan after 20 steps")
        pace = random.Random(f"{digest} {steps}").random()
        return Evaluation({"map": (number % 9973) / 9973 * (steps / 90) ** (0.3 + 0.3 * pace)})

    @property
    def spent(self) -> Fraction:
        """In full trainings."""
        return Fraction(sum(steps for _, steps in self.trained), 90)


def search(directory: Path, evaluator: Any = None, **changes: Any) -> nas.SearchResult:
    arguments: dict[str, Any] = {
        "space": small_space,
        "hw": "edgetpu",
        "evaluator": evaluator or SteppedEvaluator(),
        "score": "none",
        "searcher": "halving:random",
        "train": 12,
        "in_flight": 1,
        "directory": directory,
    }
    return nas.search(**{**arguments, **changes})


def documents(result: nas.SearchResult) -> list[dict[str, Any]]:
    return [c.to_document() for c in result.candidates]


# -- the budget ------------------------------------------------------------------------------------------------------


class Constant:
    """Asks for new networks at one fidelity, or at fidelities in turn, and remembers those that it was told of."""

    def __init__(self, inner: RandomSearch, fidelities: tuple[float, ...], asks: Callable[[int], float]) -> None:
        self.fidelities = fidelities
        self.received: list[float] = []
        self._inner = inner
        self._asks = asks
        self._asked = 0

    def ask(self) -> nas.Genotype:
        return self._inner.ask()

    def tell(self, outcome: Outcome) -> None:
        raise AssertionError("told without a fidelity")

    def ask_with_fidelity(self) -> Suggestion:
        self._asked += 1
        return Suggestion(self._inner.ask(), self._asks(self._asked))

    def tell_with_fidelity(self, outcome: Outcome, fidelity: float) -> None:
        self.received.append(fidelity)


def constant(fidelities: tuple[float, ...], asks: Callable[[int], float]) -> Any:
    return lambda space, rng, history: Constant(RandomSearch(space, rng, history), fidelities, asks)


@pytest.mark.parametrize(("parts", "in_flight"), [(9, 1), (9, 5), (5, 1)])  # 1/9 as a float is less, 1/5 more
def test_four_trainings_are_so_many_parts(tmp_path: Path, parts: int, in_flight: int) -> None:
    evaluator = SteppedEvaluator()
    searcher = constant((1 / parts, 1.0), lambda _: 1 / parts)
    search(tmp_path, evaluator, train=4, in_flight=in_flight, searcher=searcher)
    assert Counter(steps for _, steps in evaluator.trained) == {90 // parts: 4 * parts}
    assert evaluator.spent == 4


def test_what_does_not_fit_is_passed_over(tmp_path: Path) -> None:
    evaluator = SteppedEvaluator()
    asks = constant((1 / 9, 1 / 3, 1.0), lambda count: (1.0, 1 / 3, 1 / 9)[count % 3])
    search(tmp_path, evaluator, train=2, searcher=asks)
    steps = [steps for _, steps in evaluator.trained]
    assert steps == [30, 10, 90, 30, 10, 10]  # 14 ninths are left for the 1, and 2 after one third more
    assert evaluator.spent == 2


def test_a_searcher_that_asks_for_too_much_ends_the_search(tmp_path: Path) -> None:
    evaluator = SteppedEvaluator()
    search(tmp_path, evaluator, train=2, searcher=constant((1 / 9, 1.0), lambda count: 1 / 9 if count == 1 else 1.0))
    assert [steps for _, steps in evaluator.trained] == [10, 90]


@pytest.mark.parametrize(("train", "in_flight"), [(3, 1), (12, 1), (12, 4), (7, 3)])
def test_the_budget_is_spent_and_never_more(tmp_path: Path, train: int, in_flight: int) -> None:
    evaluator = SteppedEvaluator()
    result = search(tmp_path, evaluator, train=train, in_flight=in_flight)
    assert train - Fraction(1, 9) < evaluator.spent <= train
    fidelities = Counter(steps for _, steps in evaluator.trained)
    assert fidelities.keys() == {10, 30, 90}
    assert fidelities[10] > fidelities[30] > fidelities[90] > 0
    assert len(set(evaluator.trained)) == len(evaluator.trained)
    assert result.tally.misses == len(evaluator.trained)
    assert result.tally.short == fidelities[10] + fidelities[30]


def test_after_the_last_new_network_the_best_still_move_up(tmp_path: Path) -> None:
    evaluator = SteppedEvaluator()
    result = search(tmp_path, evaluator, trials=9, train=40)
    assert len(result.candidates) == 9
    failed = sum(c.status == "failed" for c in result.candidates)
    fidelities = Counter(steps for _, steps in evaluator.trained)
    assert fidelities[10] == 9
    assert 3 <= fidelities[30] <= 3 + failed
    assert fidelities[90] >= 1
    assert evaluator.spent < 40


def test_without_fidelities_nothing_is_short(tmp_path: Path) -> None:
    evaluator = SteppedEvaluator()
    result = search(tmp_path, evaluator, searcher="halving:random", searcher_options={"rungs": 1}, train=6)
    assert [steps for _, steps in evaluator.trained] == [90] * 6
    assert {c.status for c in result.candidates} <= {"trained", "failed"}
    assert result.tally.short == 0


# -- what becomes of candidates --------------------------------------------------------------------------------------


def test_only_a_full_training_makes_a_candidate_trained(tmp_path: Path) -> None:
    evaluator = SteppedEvaluator()
    result = search(tmp_path, evaluator, train=20)
    proxy = nas.load_space(small_space)
    longest: dict[str, int] = {}
    for digest, steps in evaluator.trained:
        longest[digest] = max(steps, longest.get(digest, 0))
    quality = SteppedEvaluator()
    for candidate in result.candidates:
        graph = proxy.graph(candidate.genotype)
        assert exact_fraction(candidate.fidelity) == Fraction(longest[graph.digest], 90)
        if candidate.status == "trained":
            assert longest[graph.digest] == 90
            assert candidate.metrics["map"] == quality.evaluate(EvaluationJob(graph)).metrics["map"]
            assert {"map@1/9", "map@1/3"} <= set(candidate.metrics)
        else:
            assert "map" not in candidate.metrics
        if candidate.status == "stopped":
            assert longest[graph.digest] < 90
            fidelity = exact_fraction(candidate.fidelity)
            measured = candidate.measurements[f"map@{fidelity}"]
            assert measured.value == quality.evaluate(EvaluationJob(graph, fidelity=fidelity)).metrics["map"]
            assert measured.source == f"trained for {fidelity}:stand-in"
            assert candidate.reason.startswith(f"trained for {fidelity} of the steps: map {measured.value:.3f}; ")
        if candidate.status == "failed":
            fidelity = exact_fraction(candidate.fidelity)
            ending = f" (training for {fidelity} of the steps)" if fidelity < 1 else "20 steps"
            assert candidate.reason.startswith("diverged: the loss is nan")
            assert candidate.reason.endswith(ending)
            assert f"map@{fidelity}" not in candidate.metrics
    statuses = {c.status for c in result.candidates}
    assert statuses == {"trained", "stopped", "failed"}
    assert result.front
    assert all(c.status == "trained" for c in result.front)


def test_the_best_of_the_short_trainings_are_trained_in_full(tmp_path: Path) -> None:
    result = search(tmp_path, train=20, objectives=["map"])
    stopped, trained = (
        [c.metrics["map@1/9"] for c in result.candidates if c.status == status] for status in ("stopped", "trained")
    )
    assert min(trained) > sorted(stopped)[len(stopped) // 2]


def test_a_study_tells_what_was_stopped(tmp_path: Path) -> None:
    result = search(tmp_path, train=20)
    journal = result.directory / "study.journal"
    trials = optuna.load_study(study_name=result.study, storage=open_storage(journal)).get_trials()
    assert len(trials) == len(result.candidates)
    states = {"trained": "COMPLETE", "stopped": "PRUNED", "failed": "FAIL"}
    for trial in trials:
        attributes = trial.user_attrs
        assert trial.state.name == states[attributes["status"]]
        assert ("map" in attributes) == (attributes["status"] == "trained")
        assert "map@1/9" in attributes
        assert ("reason" in attributes) == (attributes["status"] != "trained")
    _, stored, document = load_candidates(journal, None)
    assert sorted((c.to_document() for c in stored), key=lambda d: d["number"]) == documents(result)
    heading = study_tables(result.study, stored, document)[0]
    counts = Counter(str(exact_fraction(c.fidelity)) for c in result.candidates if c.status == "stopped")
    for fidelity, count in counts.items():
        assert f"{count} stopped after {fidelity} of the steps" in str(heading)
    frame = result.to_frame()
    assert frame["map@1/9"].notna().all()
    assert frame["map"].notna().sum() == sum(c.status == "trained" for c in result.candidates)
    received = summary_lines(result)[0]
    assert f"{result.tally.misses} trained ({result.tally.short} of them at a lower fidelity)" in received


def test_a_stopped_candidate_is_not_complete_whatever_is_searched_for(tmp_path: Path) -> None:
    result = search(tmp_path, train=4, objectives=["latency", "params"])
    stored = open_storage(result.directory / "study.journal")
    trials = optuna.load_study(study_name=result.study, storage=stored).get_trials()
    complete = [t.user_attrs["status"] for t in trials if t.state.name == "COMPLETE"]
    assert set(complete) <= {"trained"}


def test_a_budget_for_no_full_training_says_so(tmp_path: Path) -> None:
    result = search(tmp_path, train=1)
    assert result.front == ()
    assert (
        "no candidate was trained in full; give the search a larger train, or fewer rungs" in summary_lines(result)[-1]
    )


def test_a_promotion_that_is_not_paid_is_named(tmp_path: Path) -> None:
    result = search(tmp_path, train=3, in_flight=4)
    assert {c.status for c in result.candidates} <= {"stopped", "failed"}
    reasons = Counter(c.reason.partition("; ")[2] for c in result.candidates if c.status == "stopped")
    assert set(reasons) == {"not promoted", "promoted, but no budget was left for that"}


# -- progress --------------------------------------------------------------------------------------------------------


class Watching:
    """A reporter that remembers."""

    def __init__(self) -> None:
        self.total = 0
        self.notes: list[str] = []

    def phase(self, name: str, total: int) -> None:
        assert name == "training"
        self.total = total

    def advance(self, note: str = "") -> None:
        self.notes.append(note)


def test_progress_counts_full_trainings(tmp_path: Path) -> None:
    watching = Watching()
    evaluator = SteppedEvaluator()
    result = search(tmp_path, evaluator, train=12, reporter=watching)
    assert watching.total == 12
    assert len(watching.notes) == int(evaluator.spent)
    assert watching.notes[0] == "none trained in full yet"
    best = max(c.metrics["map"] for c in result.candidates if c.status == "trained")
    assert watching.notes[-1] == f"best mAP@[.5:.95] {best:.3f}"


# -- the same result -------------------------------------------------------------------------------------------------


class Disorderly:
    """Trains on threads, each for a time of its own, so that trainings end in another order than they began."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(6)
        self._delay = random.Random(time.time())

    def submit(
        self, evaluator: Evaluator, job: EvaluationJob, middleware: Middleware = call_through
    ) -> Future[TrainingResult]:
        delay = self._delay.random() * 0.005

        def work(t: EvaluationJob) -> TrainingResult:
            time.sleep(delay)
            return evaluate_job(evaluator, t)

        return self._threads.submit(lambda: middleware(job, work))

    def close(self) -> None:
        self._threads.shutdown()


@pytest.mark.parametrize("searcher", ["halving:evolution", "halving:gp"])
def test_one_seed_one_result_whatever_ends_first(tmp_path: Path, searcher: str) -> None:
    changes: dict[str, Any] = {"searcher": searcher, "in_flight": 5, "train": 8}
    first = documents(search(tmp_path / "a", **changes))
    assert documents(search(tmp_path / "b", cache=None, **changes)) == first
    with closing(Disorderly()) as executor:
        assert documents(search(tmp_path / "c", executor=executor, **changes)) == first
    assert documents(search(tmp_path / "d", seed=1, **changes)) != first


@pytest.mark.parametrize("cache", ["", None])
def test_a_search_goes_on_where_it_was_killed(tmp_path: Path, cache: str | None) -> None:
    changes: dict[str, Any] = {"searcher": "halving:nsga2", "in_flight": 3, "train": 10, "cache": cache}
    unbroken = SteppedEvaluator()
    whole = search(tmp_path / "whole", unbroken, **changes)
    lived: list[tuple[str, int]] = []
    for after in (7, 0, 15, 1000):
        evaluator = SteppedEvaluator(stop_after=after)
        try:
            result = search(tmp_path / "killed", evaluator, **changes)
        except KeyboardInterrupt:
            assert after < 1000
        lived += evaluator.trained
    assert documents(result) == documents(whole)
    failed = {digest for digest, _ in lived if int(digest[:8], 16) % 9 == 0}  # which no cache keeps
    if cache is not None:
        again = Counter(entry for entry in lived if entry[0] not in failed)
        assert set(again.values()) == {1}
    assert set(lived) == set(unbroken.trained)


@pytest.mark.parametrize("cache", ["", None])
def test_the_same_call_again_trains_nothing(tmp_path: Path, cache: str | None) -> None:
    changes: dict[str, Any] = {"searcher": "halving:random", "cache": cache}
    first = search(tmp_path, **changes)
    (tmp_path / "evaluations.sqlite").unlink(missing_ok=True)
    evaluator = SteppedEvaluator()
    again = search(tmp_path, evaluator, **changes)
    assert evaluator.trained == []
    assert again.tally.resumed == first.tally.misses
    assert documents(again) == documents(first)


# -- the cache tells fidelities apart --------------------------------------------------------------------------------


def test_each_fidelity_has_its_own_cached_results(tmp_path: Path) -> None:
    with EvaluationCache("sqlite://") as cache:
        evaluator = SteppedEvaluator()
        result = search(tmp_path / "a", evaluator, cache=cache)
        kept = {json.loads(q.fidelity)["steps"]: q.observations for q in cache.summary().questions}
        failed = {d for d, _ in evaluator.trained if int(d[:8], 16) % 9 == 0}
        assert kept == Counter(steps for digest, steps in evaluator.trained if steps == 10 or digest not in failed)
        full = SteppedEvaluator()
        plain = search(tmp_path / "b", full, searcher="random", train=30, cache=cache)
        history = {c.key for c in result.candidates if c.status == "trained"}
        met = history & {c.key for c in plain.candidates}
        assert met
        assert plain.tally.full_hits == len(met)  # of full trainings only
        shorter = SteppedEvaluator()
        others = {d for d, steps in evaluator.trained if steps == 10}
        search(tmp_path / "c", shorter, train=14, cache=cache)
        assert not [entry for entry in shorter.trained if entry[1] == 10 and entry[0] in others]


@dataclass
class Taciturn(SteppedEvaluator):
    """Does not say for how many steps it trains."""

    def cache_identity(self, fidelity: float) -> dict[str, Any]:
        return {"evaluator": "taciturn/1", "data": "none", "fidelity": {}}


def test_an_evaluator_that_names_no_steps_is_told_apart_by_the_fidelity(tmp_path: Path) -> None:
    questions = cache_keys_of(Taciturn(90), 0, (1 / 9, 1 / 3, 1.0))
    assert len({q.digest for q in questions.values()}) == 3
    assert questions[1.0] == cache_keys_of(Taciturn(90), 0, [1.0])[1.0]
    stepped = cache_keys_of(SteppedEvaluator(90), 0, (1 / 3, 1.0))
    assert stepped[1 / 3] == cache_keys_of(SteppedEvaluator(30), 0, [1.0])[1.0]  # as far as it trains, the same
    silent, stepping = search(tmp_path / "a", Taciturn()), search(tmp_path / "b")
    assert [(c.key, c.metrics) for c in silent.candidates] == [(c.key, c.metrics) for c in stepping.candidates]


# -- limits, repair, warm start --------------------------------------------------------------------------------------


@pytest.mark.parametrize("repair", [True, False])
def test_what_is_over_a_limit_is_not_trained(tmp_path: Path, repair: bool) -> None:
    evaluator = SteppedEvaluator()
    limits = {"params": 8_000}
    result = search(tmp_path, evaluator, limits=limits, repair=repair, searcher="halving:evolution", in_flight=3)
    trained = [c for c in result.candidates if c.status != "infeasible"]
    over = [c for c in result.candidates if c.status == "infeasible"]
    assert all(c.metrics["params"] <= 8_000 for c in trained)
    assert all(c.metrics["params"] > 8_000 for c in over)
    assert len(over) < 5 if repair else len(over) > 5
    assert result.front
    assert 12 - Fraction(1, 9) < evaluator.spent <= 12
    _, stored, _ = load_candidates(result.directory / "study.journal", None)
    assert len(stored) == len(result.candidates)


def test_warm_start_points_enter_the_lowest_rung(tmp_path: Path) -> None:
    earlier = search(tmp_path, searcher="random", train=24, study="earlier")
    evaluator = SteppedEvaluator()
    later = search(tmp_path, evaluator, train=4, study="later", warm_start="earlier", cache=None)
    assert evaluator.trained[0][1] == 10
    assert later.candidates[0].key in {c.key for c in earlier.front}
    assert isinstance(
        as_multi_fidelity(RandomSearch(nas.load_space(small_space), random.Random(0))), MultiFidelitySearcher
    )


# -- refusals --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"evaluator": CountingEvaluator()}, "stand-in evaluates in full only, not at fidelity 0.111"),
        ({"score": "entropy"}, "halving:random trains all that it asks for.*--score none"),
        ({"score": "entropy", "train": 0}, "halving:random trains candidates.*--train 12"),
        ({"train": 0}, "nothing ranks the candidates"),
        ({"repeats": 2}, "leave repeats at 1 and revisit_probability at 0"),
        ({"revisit_probability": 0.5}, "leave repeats at 1 and revisit_probability at 0"),
        ({"searcher": constant((0.5, 1.0), lambda _: 0.5), "score": "entropy"}, "a searcher that trains all"),
    ],
)
def test_halving_where_it_cannot_be_is_one_clear_error(tmp_path: Path, changes: dict[str, Any], text: str) -> None:
    with pytest.raises(ValueError, match=text) as caught:
        search(tmp_path, **changes)
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())


# -- the command -----------------------------------------------------------------------------------------------------


def test_a_search_by_halving_on_digits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    quick = ("steps=3", "image_size=32", "batch_size=4", "max_train_images=16", "max_val_images=8")
    arguments = ["search", "--space", "nasbench201", "--set", "cells=1", "--hw", "edgetpu", "--score", "none"]
    arguments += ["--searcher", "halving:sobol", "--searching", "rungs=2", "--train", "2", "--in-flight", "1"]
    arguments += ["--workers", "0", "--study", "mine"]
    arguments += [part for one in quick for part in ("--training", one)]
    outputs = []
    for command in (arguments, ["show", "mine"]):
        with pytest.raises(SystemExit) as caught:
            main(command)
        outputs.append(capsys.readouterr().out)
        assert caught.value.code == 0
    searched, shown = (" ".join(out.split()) for out in outputs)
    assert "4 trained (3 of them at a lower fidelity), 0 failed" in searched
    assert "mine: 1 trained, 2 stopped after 1/3 of the steps" in shown
    _, stored, _ = load_candidates(tmp_path / "nas-runs" / "mine" / "study.journal", None)
    (best,) = (c for c in stored if c.status == "trained")
    assert {"accuracy", "accuracy@1/3"} <= set(best.metrics)
