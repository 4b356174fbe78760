"""Searchers as samplers of Optuna, by Optuna's own conformance tests, and samplers of Optuna as searchers."""

from __future__ import annotations

import importlib.util
import pickle
import random
from collections.abc import Callable
from math import inf
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers import BaseSampler
from optuna.testing.pytest_samplers import BasicSamplerTestCase, MultiObjectiveSamplerTestCase, RelativeSamplerTestCase

from nas.searchers.catalog import SEARCHERS, make_searcher
from nas.searchers.choice_space import FlatSpace
from nas.searchers.optuna_bridge.sampler_as_searcher import OptunaSearcher, SamplerError, samplers
from nas.searchers.optuna_bridge.searcher_as_sampler import NativeSampler, _parameter
from nas.searchers.protocol import Outcome
from search_spaces.registry import UnknownName
from search_spaces.space.genotype import Genotype
from search_spaces.space.space import Space
from tests.support.random_spaces import space_of

# These fit models, which takes seconds for a study; the others run under every conformance test.
_QUICK = [name for name in SEARCHERS if name not in {"gp", "predictor", "auto"}]
CONDITIONAL = space_of(
    (
        ("choose", "kind", ("wide", "deep")),
        ("choose", "on", (0, 1)),
        ("if", "one", 1, 1, (("choose", "width", (8, 16, 32)), ("choose", "flag", (False, True))), ()),
        ("choose", "depth", (1, 2, 3)),
    )
)


@pytest.fixture(autouse=True)
def quiet() -> Any:
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    yield
    optuna.logging.set_verbosity(before)


# -- searchers as samplers -------------------------------------------------------------------------------------------


class _Native:
    @pytest.fixture(params=_QUICK)
    def sampler(self, request: pytest.FixtureRequest) -> Callable[[], BaseSampler]:
        return lambda: NativeSampler(request.param, seed=0)


class TestBasic(_Native, BasicSamplerTestCase):
    pass


class TestRelative(_Native, RelativeSamplerTestCase):
    pass


class TestMultiObjective(_Native, MultiObjectiveSamplerTestCase):
    pass


def bowl(trial: optuna.Trial) -> float:
    return sum((trial.suggest_float(name, -2, 2) - 0.3) ** 2 for name in "xyz")


def params_of(study: optuna.Study) -> list[dict[str, Any]]:
    return [trial.params for trial in study.trials]


@pytest.mark.parametrize("name", SEARCHERS)
def test_every_searcher_serves_a_study_and_repeats_itself(name: str) -> None:
    def objective(trial: optuna.Trial) -> tuple[float, float]:
        x, y = trial.suggest_int("x", 1, 9), trial.suggest_categorical("y", ["a", "b", "c"])
        return float(x), -x * float("abc".index(y))

    runs = []
    for seed in (0, 0, 1):
        study = optuna.create_study(directions=["minimize", "maximize"], sampler=NativeSampler(name, seed=seed))
        study.optimize(objective, n_trials=8)
        runs.append(params_of(study))
    assert runs[0] == runs[1]
    assert runs[0] != runs[2]


def best_of(sampler: BaseSampler, trials: int, direction: str = "minimize") -> float:
    study = optuna.create_study(sampler=sampler, direction=direction)
    study.optimize(lambda t: bowl(t) * (1 if direction == "minimize" else -1), n_trials=trials)
    return abs(study.best_value)


@pytest.mark.parametrize("name", ["local", "nsga2"])
@pytest.mark.parametrize("direction", ["minimize", "maximize"])
def test_a_searcher_that_learns_beats_chance(name: str, direction: str) -> None:
    options = {"until_improvement": True} if name == "local" else {"population": 16}
    searched = sorted(best_of(NativeSampler(name, seed=seed, **options), 150, direction) for seed in range(3))
    chance = sorted(best_of(NativeSampler("random", seed=seed), 150) for seed in range(3))
    assert searched[1] < chance[1]


def test_constraints_are_hard_limits() -> None:
    def objective(trial: optuna.Trial) -> float:
        x, y = trial.suggest_int("x", 0, 100), trial.suggest_int("y", 0, 100)
        if hasattr(trial, "set_constraint"):
            trial.set_constraint("x", 50.0 - x)
            trial.set_constraint("y", 0.0)
        else:  # Optuna before 5
            trial.study._storage.set_trial_system_attr(trial._trial_id, "constraints", [50.0 - x, 0.0])
        return float(x + y)

    study = optuna.create_study(sampler=NativeSampler("nsga2", seed=3, population=8, mutation=0.2))
    study.optimize(objective, n_trials=120)
    late = study.trials[-40:]
    assert sum(t.params["x"] >= 50 for t in late) > 2 * sum(t.params["y"] >= 50 for t in late)


def test_a_study_goes_on_where_it_was_whoever_ran_it(tmp_path: Path) -> None:
    """Known trials count: local search, started anew on a study, asks for nothing that the study has."""
    storage = optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(str(tmp_path / "journal")))

    def objective(trial: optuna.Trial) -> float:
        return float(trial.suggest_int("x", 0, 7) + trial.suggest_int("y", 0, 7))

    first = optuna.create_study(study_name="s", storage=storage, sampler=NativeSampler("local", seed=0))
    first.optimize(objective, n_trials=20)
    again = optuna.load_study(study_name="s", storage=storage, sampler=NativeSampler("local", seed=0))
    again.optimize(objective, n_trials=20)
    asked = [(t.params["x"], t.params["y"]) for t in again.trials]
    assert len(set(asked)) == 40


def test_failed_and_pruned_trials_are_failures() -> None:
    def objective(trial: optuna.Trial) -> float:
        x = trial.suggest_int("x", 0, 30)
        if x % 3 == 0:
            raise optuna.TrialPruned
        return float("nan") if x % 3 == 1 else float(x)

    study = optuna.create_study(sampler=NativeSampler("local", seed=0))
    study.optimize(objective, n_trials=31)
    assert len({t.params["x"] for t in study.trials}) == 31
    assert study.best_value == 2.0


def test_parameters_that_come_and_go_leave_the_common_ones_to_the_searcher() -> None:
    def objective(trial: optuna.Trial) -> float:
        x = trial.suggest_int("x", 0, 99)
        return float(x + (trial.suggest_int("y", 0, 9) if x % 2 else trial.suggest_float("z", 0, 9)))

    study = optuna.create_study(sampler=NativeSampler("local", seed=0))
    study.optimize(objective, n_trials=12)
    assert len({t.params["x"] for t in study.trials[-8:]}) == 8


def test_a_sampler_can_be_pickled_and_used_for_another_study() -> None:
    sampler = NativeSampler("nsga2", seed=0)
    study = optuna.create_study(sampler=sampler)
    study.optimize(bowl, n_trials=5)
    study.sampler = pickle.loads(pickle.dumps(sampler))  # noqa: S301 - our own
    study.optimize(bowl, n_trials=5)
    assert len(study.trials) == 10
    other = optuna.create_study(sampler=sampler)
    other.optimize(bowl, n_trials=5)
    assert len(other.trials) == 5


def test_grids() -> None:
    def values(distribution: Any, resolution: int = 5) -> tuple[Any, ...]:
        return _parameter(distribution, resolution).values

    assert values(FloatDistribution(0, 1)) == (0, 0.25, 0.5, 0.75, 1)
    assert values(FloatDistribution(0, 1, step=0.5)) == (0, 0.5, 1)
    assert values(FloatDistribution(0, 10, step=0.5)) == (0, 2.5, 5, 7.5, 10)
    assert values(FloatDistribution(1e-4, 1, log=True)) == pytest.approx((1e-4, 1e-3, 1e-2, 1e-1, 1))
    assert values(IntDistribution(2, 10, step=2)) == (2, 4, 6, 8, 10)
    assert values(IntDistribution(0, 10**9)) == (0, 250_000_000, 500_000_000, 750_000_000, 10**9)
    assert values(IntDistribution(1, 10_000, log=True)) == (1, 10, 100, 1000, 10_000)
    assert all(type(v) is int for v in values(IntDistribution(1, 10_000, log=True)))
    assert values(FloatDistribution(3, 3)) == (3,)
    odd = _parameter(CategoricalDistribution((1, True, None, "a", 1.5)), 5)
    assert [odd.value(odd.option(v)) for v in (None, "a", 1.5)] == [None, "a", 1.5]


def test_values_off_the_grid_count_as_the_nearest() -> None:
    linear, log = _parameter(FloatDistribution(0, 1), 5), _parameter(FloatDistribution(1e-4, 1, log=True), 5)
    assert linear.option(0.6) == 0.5
    assert linear.option(0.65) == 0.75
    assert log.option(0.04) == pytest.approx(0.1)
    assert log.option(0.03) == pytest.approx(0.01)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"searcher": "evolutoin"}, UnknownName, "did you mean 'evolution'"),
        ({"searcher": "nsga2", "generations": 3}, ValueError, "its options: crossover, mutation"),
        ({"searcher": "nsga2", "population": 1}, ValueError, "at least 2 members"),
        ({"resolution": 1}, ValueError, "at least 2 points"),
    ],
)
def test_wrong_samplers_are_refused_before_a_study(
    arguments: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        NativeSampler(**arguments)


# -- samplers as searchers -------------------------------------------------------------------------------------------


def loss_of(genotype: Genotype) -> float:
    return float(len(genotype)) + float(genotype["depth"] == 2) + 3.0 * (genotype["kind"] == "deep")  # type: ignore[operator]


def searched(
    name: str,
    asks: int = 15,
    seed: int = 0,
    objectives: int = 1,
    batch: int = 1,
    space: Any = CONDITIONAL,
    **options: Any,
) -> list[Genotype]:
    searcher = make_searcher(f"optuna:{name}", space, random.Random(seed), objectives=objectives, **options)
    asked: list[Genotype] = []
    for _ in range(asks):
        wave = [searcher.ask() for _ in range(batch)]
        for genotype in wave:
            failed = len(asked) % 5 == 3
            losses = tuple([inf if failed else loss_of(genotype) * (-1) ** place for place in range(objectives)])
            searcher.tell(Outcome(genotype, losses, max(0.0, len(genotype) - 4.0)))
            asked.append(genotype)
    return asked


_MANY = ["BruteForceSampler", "NSGAIIISampler", "NSGAIISampler", "QMCSampler", "RandomSampler", "TPESampler"]


@pytest.mark.parametrize("name", _MANY)
def test_samplers_serve_with_several_losses_limits_failures_and_batches(name: str) -> None:
    for objectives, batch in ((1, 1), (3, 4)):
        asked = searched(name, objectives=objectives, batch=batch)
        assert asked == searched(name, objectives=objectives, batch=batch)
        assert all(CONDITIONAL.decode(CONDITIONAL.encode(one)) == one for one in asked)
    assert searched(name, seed=1) != searched(name)


def test_options_go_to_the_sampler() -> None:
    assert len(set(searched("TPESampler", multivariate=True, group=False, n_startup_trials=4))) > 4
    assert searched("NSGAIISampler", 30, population_size=4) != searched("NSGAIISampler", 30, population_size=20)
    searched("GPSampler", 5, n_startup_trials=3)


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
def test_every_choice_is_named_up_front_and_none_is_drawn_alone() -> None:
    """All that a trial needs is drawn jointly from the second trial on, also what its network does not make."""
    drawn: list[set[str]] = []
    alone: list[str] = []

    class Watching(optuna.samplers.TPESampler):
        def sample_relative(self, study: Any, trial: Any, search_space: dict[str, Any]) -> dict[str, Any]:
            drawn.append(set(search_space))
            return super().sample_relative(study, trial, search_space)

        def sample_independent(self, study: Any, trial: Any, name: str, distribution: Any) -> Any:
            if trial.number >= 3:
                alone.append(name)
            return super().sample_independent(study, trial, name, distribution)

    sampler = Watching(seed=1, multivariate=True, n_startup_trials=3)
    searcher = OptunaSearcher(sampler, CONDITIONAL, random.Random(0), objectives=1)
    lengths = set()
    for _ in range(12):
        genotype = searcher.ask()
        lengths.add(len(genotype))
        searcher.tell(Outcome(genotype, (loss_of(genotype),)))
    assert lengths == {3, 5}
    assert alone == []
    assert drawn[1:] == [{"kind", "on", "width", "flag", "depth"}] * 11


def test_ascending_numbers_are_integers_and_the_rest_categories() -> None:
    asked = OptunaSearcher("RandomSampler", CONDITIONAL, random.Random(0))
    distributions = asked._distributions
    assert distributions["width"] == IntDistribution(0, 2)
    assert distributions["kind"] == CategoricalDistribution((0, 1))
    assert distributions["flag"] == CategoricalDistribution((0, 1))


def test_random_draws_reach_all_of_a_small_space() -> None:
    assert set(searched("RandomSampler", 300)) == set(CONDITIONAL.enumerate())
    assert CONDITIONAL.size() == 42


def test_brute_force_tries_all_and_can_be_asked_for_more() -> None:
    flat = FlatSpace({"depth": (1, 2, 3), "kind": ("wide", "deep"), "width": (8, 16)})
    asked = searched("BruteForceSampler", 20, space=flat)
    assert set(asked[:12]) == set(flat.enumerate())


def test_a_learning_sampler_prefers_what_it_was_told_is_good() -> None:
    """Known outcomes reach the sampler: TPE told of good `wide` networks asks for those."""
    known = [Outcome(one, (loss_of(one),)) for one in CONDITIONAL.enumerate()]
    searcher = OptunaSearcher("TPESampler", CONDITIONAL, random.Random(0), known, objectives=1)
    asked = [searcher.ask() for _ in range(30)]
    assert sum(one["kind"] == "wide" for one in asked) > 20


@pytest.mark.parametrize("name", ["TPESampler"])
def test_constraint_violation_is_a_constraint(name: str) -> None:
    """All losses alike: only the limit tells the options apart."""
    known = [Outcome(one, (1.0,), float(one["kind"] == "deep")) for one in CONDITIONAL.enumerate()]
    searcher = OptunaSearcher(name, CONDITIONAL, random.Random(0), known, objectives=1)
    asked = []
    for _ in range(30):
        asked.append(searcher.ask())
        searcher.tell(Outcome(asked[-1], (1.0,), float(asked[-1]["kind"] == "deep")))
    assert sum(one["kind"] == "wide" for one in asked) > 20


def test_the_number_of_losses_is_that_of_the_first_outcome() -> None:
    searcher = OptunaSearcher("TPESampler", CONDITIONAL, random.Random(0))
    asked = [searcher.ask() for _ in range(3)]
    for genotype in asked:
        searcher.tell(Outcome(genotype, (1.0, 2.0)))
    assert len(searcher._study.trials) == 3
    with pytest.raises(SamplerError, match="the search has 2 objectives; this outcome has 1"):
        searcher.tell(Outcome(asked[0], (1.0,)))


def test_failures_count_as_the_worst_so_far() -> None:
    searcher = OptunaSearcher("RandomSampler", CONDITIONAL, random.Random(0), objectives=2)
    for losses in ((inf, inf), (1.0, 5.0), (inf, 2.0), (inf, inf)):
        searcher.tell(Outcome(searcher.ask(), losses))
    trials = searcher._study.trials
    assert [t.state.name for t in trials] == ["FAIL", "COMPLETE", "COMPLETE", "COMPLETE"]
    assert [t.values for t in trials[1:]] == [[1, 5], [1, 2], [1, 5]]


def test_the_same_genotype_asked_twice_is_two_trials() -> None:
    one = FlatSpace({"only": (1,)})
    searcher = OptunaSearcher("RandomSampler", one, random.Random(0), objectives=1)
    for genotype in [searcher.ask() for _ in range(3)]:
        searcher.tell(Outcome(genotype, (1.0,)))
    searcher.tell(Outcome(one.decode([0]), (2.0,)))
    assert [t.state.name for t in searcher._study.trials] == ["COMPLETE"] * 4


def test_an_object_is_copied_and_keeps_its_own_seed() -> None:
    sampler = optuna.samplers.RandomSampler(seed=7)
    runs = []
    for seed in (0, 1):
        searcher = OptunaSearcher(sampler, CONDITIONAL, random.Random(seed))
        runs.append([searcher.ask() for _ in range(10)])
    assert runs[0] == runs[1]
    grid = optuna.samplers.GridSampler({name: [0, 1] for name in CONDITIONAL.decisions()}, seed=0)
    searcher = OptunaSearcher(grid, CONDITIONAL, random.Random(0), objectives=1)
    for _ in range(40):
        searcher.tell(Outcome(searcher.ask(), (1.0,)))


@pytest.mark.parametrize(
    ("name", "options", "error", "message"),
    [
        ("TPESmpler", {}, UnknownName, "did you mean 'TPESampler'"),
        ("tpe", {}, UnknownName, "did you mean 'TPESampler'|known: .*TPESampler"),
        ("BaseSampler", {}, UnknownName, "no Optuna sampler 'BaseSampler'"),
        ("GridSampler", {}, SamplerError, "needs search_space"),
        ("PartialFixedSampler", {}, SamplerError, "needs fixed_params, base_sampler"),
        ("RandomSampler", {"multivariate": True}, SamplerError, "no option 'multivariate'; its options: seed"),
        ("TPESampler", {"multivariat": True}, ValueError, "no option 'multivariat'"),
        ("NSGAIISampler", {"population_size": 1}, SamplerError, "does not take these options"),
    ],
)
def test_wrong_names_and_options_are_planned_errors(
    name: str, options: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        searched(name, **options)
    with pytest.raises(SamplerError, match="takes no options"):
        OptunaSearcher(optuna.samplers.RandomSampler(), CONDITIONAL, random.Random(0), multivariate=True)


def test_every_sampler_is_listed() -> None:
    assert {*_MANY, "CmaEsSampler", "GPSampler", "GridSampler", "PartialFixedSampler"} <= set(samplers())


def test_cma_es_sees_numbers_everywhere_or_says_what_it_needs() -> None:
    with pytest.raises(SamplerError, match="multi-objective"):
        searched("CmaEsSampler", objectives=2)
    if importlib.util.find_spec("cmaes") is None:
        with pytest.raises(SamplerError, match=r"needs a package that is not installed: .*cmaes"):
            searched("CmaEsSampler")
    else:
        assert len(set(searched("CmaEsSampler", 20))) > 5


def test_a_search_runs_with_a_sampler_by_name(tmp_path: Path) -> None:
    import nas
    from tests.support.fakes import small_space

    result = nas.search(
        small_space,
        "edgetpu",
        trials=25,
        train=0,
        searcher="optuna:TPESampler",
        searcher_options={"multivariate": True},
        directory=tmp_path,
    )
    assert len(result.candidates) == 25
    assert isinstance(result.space, Space)
