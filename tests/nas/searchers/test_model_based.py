"""Searchers that learn: processes and acquisition functions against closed forms, searches against tables."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import nas
from nas.candidates.pareto import hypervolume, non_dominated_indices
from nas.searchers.auto import MAX_GP_OBSERVATIONS, AutoSearch
from nas.searchers.catalog import make_searcher
from nas.searchers.choice_space import FlatSpace
from nas.searchers.evolution import AgingEvolution
from nas.searchers.nsga2 import Nsga2
from nas.searchers.protocol import KnownFeatures, Outcome
from nas.searchers.surrogates.acquisition import (
    LogTailTransform,
    expected_hypervolume_improvement,
    expected_improvement,
    scalarised_improvement,
)
from nas.searchers.surrogates.bayesian import BayesianSearch
from nas.searchers.surrogates.encoding import Encoder, standardised
from nas.searchers.surrogates.gaussian_process import GaussianProcess, Hyperparameters, distances, fit_hyperparameters
from nas.searchers.surrogates.graph_features import GRAPH_FEATURES, graph_counts
from nas.searchers.surrogates.model_based import EncodedPoint, ObservedPoint, SurrogateModel
from nas.searchers.surrogates.tree_ensemble import TreeEnsembleSearch
from search_spaces.registry import UnknownName
from search_spaces.space.genotype import Genotype
from tests.support.fakes import CountingEvaluator, small_space

# -- encoding and features ---------------------------------------------------------------------------------------------


def test_decisions_are_a_hamming_distance_and_numbers_have_a_rank() -> None:
    encoder = Encoder(FlatSpace({"op": ("a", "b", "c"), "width": (8, 16, 32), "one": (1,)}))  # type: ignore[arg-type]
    assert encoder.width == 3 + 3 + 1
    rows = [encoder.row({"op": op, "width": w, "one": 1}) for op, w in (("a", 8), ("b", 8), ("a", 32), ("c", 16))]
    gaps = distances([np.array(rows)], [np.array(rows)])[0]
    assert gaps[0] == pytest.approx([0, 1, 2, 2.25])  # an operation; a width and two ranks; both and a rank


def test_what_does_not_vary_or_is_not_finite_says_nothing() -> None:
    like = np.array([[1.0, 5.0, np.inf], [3.0, 5.0, np.nan]])
    assert standardised(np.array([[2.0, 9.0, 1.0], [5.0, np.nan, 2.0]]), like).tolist() == [[0, 0, 0], [3, 0, 0]]


def test_graphs_are_counted() -> None:
    b = nas.Builder()
    x = b.act(b.norm(b.conv(b.input((3, 8, 8)), 4, 3)), "relu")
    x = b.add(b.conv(x, 4, 3, groups=4), b.conv(x, 4, 1))
    counts = dict(zip(GRAPH_FEATURES, graph_counts(b.build(b.pool(x, "avg", 2, 2, padding=0))), strict=True))
    assert {k: counts[k] for k in ("wide", "depthwise", "pointwise", "pooling", "joint", "product")} == {
        "wide": 1,
        "depthwise": 1,
        "pointwise": 1,
        "pooling": 1,
        "joint": 1,
        "product": 0,
    }


# -- processes ---------------------------------------------------------------------------------------------------------


def _line(count: int) -> tuple[list[np.ndarray], np.ndarray]:
    x = np.linspace(0, 3, count)[:, None]
    return [x], np.sin(2 * x[:, 0])


def test_a_process_is_the_textbooks() -> None:
    """Against the formulas with an inverse matrix (Rasmussen and Williams, eq. 2.25 and 2.26)."""
    rows, values = _line(7)
    h = Hyperparameters(np.array([0.3]), np.array([-0.2]), -3.0)
    process = GaussianProcess(distances(rows, rows), values, h)
    new = [np.array([[0.4], [1.9], [5.0]])]
    mean, deviation = process.predict(distances(new, rows))
    kernel = lambda a, b: math.exp(0.3) * np.exp(-((a - b.T) ** 2) / math.exp(-0.2))  # noqa: E731
    inverse = np.linalg.inv(kernel(rows[0], rows[0]) + (math.exp(-3.0) + 1e-6) * np.eye(7))
    across = kernel(new[0], rows[0])
    centred = values - values.mean()
    assert mean == pytest.approx(across @ inverse @ centred + values.mean())
    assert deviation == pytest.approx(
        np.sqrt(math.exp(0.3) - np.einsum("ij,jk,ik->i", across, inverse, across)) * values.std()
    )
    assert process.expected == pytest.approx(process.predict(distances(rows, rows))[0])


def test_hyperparameters_are_a_maximum() -> None:
    rows, values = _line(12)
    scaled = (values - values.mean()) / values.std()
    within = distances(rows, rows)
    h = fit_hyperparameters(within, scaled)

    def loss(shift: np.ndarray) -> float:
        a, length, noise = h.vector() + shift
        matrix = np.exp(a - within[0] * np.exp(-length)) + (np.exp(noise) + 1e-6) * np.eye(12)
        likelihood = 0.5 * scaled @ np.linalg.solve(matrix, scaled) + 0.5 * np.linalg.slogdet(matrix)[1]
        off = (np.array([a, length, noise]) - [0.0, 1.0, -4.0]) / [2.0, 1.4, 2.0]
        return float(likelihood + 0.5 * off @ off)

    best = loss(np.zeros(3))
    for place in range(2):  # the noise may be at its bound
        for step in (-0.2, 0.2):
            assert loss(step * np.eye(3)[place]) > best


# -- acquisition -------------------------------------------------------------------------------------------------------


def test_expected_improvement_is_the_mean_of_draws() -> None:
    draws = np.random.default_rng(0).normal(1.0, 0.5, 400_000)
    found = expected_improvement(np.array([1.0]), np.array([0.5]), 1.2)[0]
    assert found == pytest.approx(np.maximum(0, 1.2 - draws).mean(), rel=0.01)


@settings(max_examples=20, deadline=None)
@given(st.lists(st.tuples(st.floats(0, 1.2), st.floats(0, 1.2)), max_size=6), st.integers(0, 9))
def test_expected_hypervolume_improvement_is_the_mean_of_draws(points: list[tuple[float, float]], seed: int) -> None:
    source = np.random.default_rng(seed)
    mean, deviation = source.random((1, 2)), 0.05 + 0.2 * source.random((1, 2))
    reference = (1.0, 1.0)
    found = expected_hypervolume_improvement(mean, deviation, points, reference)[0]
    before = hypervolume(points, reference)
    draws = source.normal(mean, deviation, (1500, 2))
    gains = [hypervolume([*points, tuple(draw)], reference) - before for draw in draws.tolist()]
    assert found == pytest.approx(np.mean(gains), abs=5 * np.std(gains) / len(gains) ** 0.5 + 1e-6)


def test_scalarisations_add_up_to_the_hypervolume() -> None:
    source = np.random.default_rng(0)
    directions = np.abs(source.standard_normal((60_000, 2)))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    seen, new, reference = np.array([[0.2, 0.6], [0.7, 0.3]]), np.array([[0.4, 0.4], [0.9, 0.9]]), np.ones(2)
    none = np.zeros_like(directions)
    found = scalarised_improvement(new, 0 * new, seen, reference, directions, none) * math.pi / 4
    gain = hypervolume([*seen.tolist(), [0.4, 0.4]], (1, 1)) - hypervolume(seen.tolist(), (1, 1))
    assert found == pytest.approx([gain, 0.0], rel=0.03)


def test_the_worst_tail_is_drawn_in_and_keeps_its_order() -> None:
    losses = np.array([0.0, 1, 2, 3, 4, 5, 6, 100, 1000])[:, None]
    bent = LogTailTransform(losses)(losses)[:, 0]
    assert bent[:7] == pytest.approx(losses[:7, 0])
    assert (np.diff(bent) > 0).all()
    assert bent[-1] < 30
    assert LogTailTransform(losses).column(np.array([100.0]), 0) == pytest.approx(bent[7])


# -- searches ----------------------------------------------------------------------------------------------------------

SPACE = FlatSpace({f"choice{i}": (0, 1, 2, 3) for i in range(5)})


def _quality(genotype: Genotype) -> float:
    """Additive, with one pair that acts together; the best is unique."""
    values = [int(str(v)) for v in genotype.values()]
    return sum((v - (i % 4)) ** 2 * (i + 1) for i, v in enumerate(values)) - 2.5 * (values[0] == values[4])


def _until_best(name: str, seed: int, **options: object) -> int:
    best = min(_quality(genotype) for genotype in SPACE.enumerate())
    searcher = make_searcher(name, SPACE, random.Random(seed), featurize=_plain, **options)  # type: ignore[arg-type]
    seen = set()
    while True:
        genotype = searcher.ask()
        seen.add(genotype)
        loss = _quality(genotype)
        if loss == best or len(seen) > 600:
            return len(seen)
        searcher.tell(Outcome(genotype, (loss,)))


def _plain(genotype: Genotype) -> KnownFeatures:
    return KnownFeatures(genotype.to_json())


@pytest.mark.parametrize(("name", "most"), [("gp", 50), ("predictor", 150)])
def test_models_find_the_best_of_1024_soon(name: str, most: int) -> None:
    assert np.mean([_until_best(name, seed) for seed in range(4)]) < most  # random draws: 512


def test_a_predicted_objective_is_known_exactly() -> None:
    """Of networks of one expected quality, the one whose latency is known to be least comes first."""

    def featurize(genotype: Genotype) -> KnownFeatures:
        return KnownFeatures(genotype.to_json(), (), (None, float(sum(int(str(v)) for v in genotype.values()))))

    fronts = []
    for known in (False, True):
        searcher = BayesianSearch(SPACE, random.Random(0), featurize=featurize if known else _plain)  # type: ignore[arg-type]
        losses = []
        for _ in range(40):
            genotype = searcher.ask()
            losses.append((_quality(genotype), float(sum(int(str(v)) for v in genotype.values()))))
            searcher.tell(Outcome(genotype, losses[-1]))
        fronts.append(hypervolume([losses[i] for i in non_dominated_indices(losses)], (60.0, 16.0)))
    assert fronts[1] >= fronts[0]


def test_what_is_over_a_limit_is_not_asked_for_where_the_features_tell() -> None:
    def featurize(genotype: Genotype) -> KnownFeatures:
        return KnownFeatures(genotype.to_json(), constraint_violation=float(genotype["choice0"] == 0))

    searcher = BayesianSearch(SPACE, random.Random(1), featurize=featurize)  # type: ignore[arg-type]
    for _ in range(40):
        genotype = searcher.ask()
        assert genotype["choice0"] != 0
        searcher.tell(Outcome(genotype, (_quality(genotype),)))


def test_equal_networks_are_asked_for_once() -> None:
    def featurize(genotype: Genotype) -> KnownFeatures:
        return KnownFeatures("".join(str(v) for name, v in genotype.items() if name != "choice4"))

    searcher = BayesianSearch(SPACE, random.Random(1), featurize=featurize)  # type: ignore[arg-type]
    keys = []
    for _ in range(60):
        genotype = searcher.ask()
        keys.append(featurize(genotype).key)
        searcher.tell(Outcome(genotype, (_quality(genotype),)))
    assert len(set(keys)) == 60


def _searched(
    losses: Callable[[Genotype], tuple[float, ...]], asks: int, constraint_violation: float = 0.0
) -> tuple[list[int], int]:
    """How many observations each model was made of, and how many distinct genotypes were asked for."""
    searcher = BayesianSearch(SPACE, random.Random(2), featurize=_plain)  # type: ignore[arg-type]
    make_model, sizes, asked = searcher._make_model, [], set()

    def spy(seen: Sequence[ObservedPoint], pending: Sequence[EncodedPoint]) -> SurrogateModel:
        sizes.append(len(seen))
        return make_model(seen, pending)

    searcher._make_model = spy
    for number in range(asks):
        genotype = searcher.ask()
        asked.add(genotype)
        searcher.tell(Outcome(genotype, losses(genotype), constraint_violation if number % 4 else 0.0))
    return sizes, len(asked)


def test_where_nothing_is_expected_any_more_a_search_begins_again() -> None:
    """With random candidates, of which the next model is made, and without asking for anything twice."""
    sizes, distinct = _searched(lambda genotype: (_quality(genotype),), 150)
    again = [i for i, (before, after) in enumerate(pairwise(sizes)) if after < before]
    assert again
    assert sizes[again[0]] >= 12 + 8
    assert {sizes[i + 1] for i in again} == {12}
    assert distinct == 150


def test_with_several_objectives_or_where_limits_are_mostly_broken_a_search_goes_on() -> None:
    for sizes, _ in (
        _searched(lambda genotype: (_quality(genotype), float(int(str(genotype["choice1"])))), 80),
        _searched(lambda genotype: (_quality(genotype),), 150, constraint_violation=1.0),
    ):
        assert all(after > before for before, after in pairwise(sizes))


def test_auto_chooses_by_what_is_paid_for(monkeypatch: pytest.MonkeyPatch) -> None:
    def free(genotype: Genotype) -> KnownFeatures:
        return KnownFeatures(genotype.to_json(), (), (1.0, 2.0))

    rng = random.Random(0)
    assert isinstance(AutoSearch(SPACE, rng, featurize=_plain)._inner, BayesianSearch)  # type: ignore[arg-type]
    assert isinstance(AutoSearch(SPACE, rng, featurize=free, objectives=2)._inner, Nsga2)  # type: ignore[arg-type]
    assert isinstance(AutoSearch(SPACE, rng, featurize=free, objectives=1)._inner, AgingEvolution)  # type: ignore[arg-type]
    assert MAX_GP_OBSERVATIONS == 1000
    monkeypatch.setattr("nas.searchers.auto.MAX_GP_OBSERVATIONS", 20)
    searcher = AutoSearch(SPACE, rng, featurize=_plain)  # type: ignore[arg-type]
    for _ in range(25):
        genotype = searcher.ask()
        searcher.tell(Outcome(genotype, (_quality(genotype),)))
    assert isinstance(searcher._inner, TreeEnsembleSearch)
    assert len(searcher._inner._observed_points) == 25


# -- in a search -------------------------------------------------------------------------------------------------------


def _search(directory: Path, **changes: object) -> nas.SearchResult:
    arguments: dict[str, object] = {"trials": 200, "train": 16, "score": "none", "train_published": False, "workers": 0}
    return nas.search(
        small_space, "edgetpu", evaluator=CountingEvaluator(), directory=directory, **{**arguments, **changes}
    )  # type: ignore[arg-type]


def test_the_same_seed_gives_the_same_search_whatever_is_in_flight(tmp_path: Path) -> None:
    first, second = (_search(tmp_path / name, in_flight=8) for name in ("a", "b"))
    assert [c.to_document() for c in first.candidates] == [c.to_document() for c in second.candidates]
    assert first.tally.trained == 16


def test_an_optuna_sampler_and_a_function_of_ones_own_search(tmp_path: Path) -> None:
    sampled = _search(tmp_path / "a", searcher=optuna.samplers.TPESampler(seed=1))
    assert sampled.tally.trained == 16
    own = _search(tmp_path / "b", searcher=lambda space, rng, known: AgingEvolution(space, rng, known, population=12))
    assert own.tally.trained == 16
    with pytest.raises(ValueError, match="has its options already"):
        _search(tmp_path / "c", searcher=optuna.samplers.TPESampler(seed=1), searcher_options={"seed": 2})


def test_a_warm_start_asks_for_the_earlier_best_first(tmp_path: Path) -> None:
    earlier = _search(tmp_path, train=24, study="earlier")
    later = _search(tmp_path, train=8, study="later", warm_start="earlier", cache=None)
    best = {c.key for c in earlier.front}
    first = [c.key for c in sorted(later.candidates, key=lambda c: c.number)[:2]]
    assert set(first) <= best
    with pytest.raises(UnknownName, match="did you mean 'earlier'"):
        _search(tmp_path, warm_start="earler")
