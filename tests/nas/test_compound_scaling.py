"""The tiny formula: it finds a rule that is known, spends the budget to one step of width, and says what it cannot."""

from __future__ import annotations

from dataclasses import replace
from math import exp, log
from types import SimpleNamespace
from typing import Any, Literal

import pytest

from evaluators.evaluator import Diverged, Evaluation, EvaluationJob, Evaluator, QualityMetric
from nas.candidates.pareto import dominates
from nas.compound_scaling import BASES, WIDTH_STEPS, ScalingError, ScalingResult, ScalingSample, scale, width_for
from search_spaces.catalog import load_network
from search_spaces.families import efficientnet, tinynet
from search_spaces.graph.builder import Builder
from search_spaces.graph.graph import Graph
from search_spaces.registry import UnknownName

PIXELS, LAYERS, CHANNELS = 400, 40, 160
WHOLE = PIXELS**2 * (LAYERS * CHANNELS**2 + CHANNELS)


def tower(resolution: float, depth: float, width: float) -> Graph:
    """1x1 convolutions in a row: multiply-adds are ``r^2 d w^2`` of the base's but for rounding, as in the paper."""
    b = Builder()
    x = b.input((1, round(PIXELS * resolution), round(PIXELS * resolution)))
    channels = max(1, round(CHANNELS * width))
    x = b.conv(x, channels)
    for _ in range(max(1, round(LAYERS * depth))):
        x = b.conv(x, channels)
    return b.build(x)


def multipliers(graph: Graph) -> tuple[float, float]:
    """The resolution and the depth of a tower."""
    return graph.input_shape[1] / PIXELS, (sum(n.op == "conv" for n in graph.nodes) - 1) / LAYERS


def best(ratio: float) -> tuple[float, float]:
    """The rule that is to be found: resolution and depth by multiply-adds."""
    return ratio**0.2, ratio**0.3


def known_quality(graph: Graph) -> float:
    """Grows with multiply-adds, and falls with the distance from the rule."""
    ratio = graph.macs / WHOLE
    return log(ratio) - 6 * sum((log(m) - log(b)) ** 2 for m, b in zip(multipliers(graph), best(ratio), strict=True))


@pytest.fixture(scope="module")
def fitted() -> ScalingResult:
    return scale(tower, 0.25 * WHOLE, evaluator=known_quality, samples=400)


@pytest.mark.parametrize("ratio", [0.1, 0.25, 0.5, 0.9])
def test_it_finds_a_rule_that_is_known(ratio: float, fitted: ScalingResult) -> None:
    scaling = scale(tower, ratio * WHOLE, known=fitted.samples)
    resolution, depth = best(ratio)
    assert scaling.resolution == pytest.approx(resolution, rel=0.1)
    assert scaling.depth == pytest.approx(depth, rel=0.1)
    assert scaling.width == pytest.approx((ratio / (resolution**2 * depth)) ** 0.5, rel=0.15)
    assert 0 < scaling.resolution_std < 0.2
    assert scaling.macs == pytest.approx(ratio * WHOLE, rel=0.02)


def test_more_multiply_adds_are_of_more_of_everything(fitted: ScalingResult) -> None:
    one, other = (scale(tower, ratio * WHOLE, known=fitted.samples) for ratio in (0.1, 0.9))
    assert one.resolution < other.resolution
    assert one.depth < other.depth


@pytest.mark.parametrize("name", [f"tinynet_{letter}" for letter in "abcde"])
def test_bisection_spends_the_budget_to_one_step_of_width(name: str) -> None:
    """One step is a thousandth: the width keeps within the budget, and a thousandth more does not."""
    published = load_network(name)
    row = {"a": (0.86, 1.2), "b": (0.84, 1.1), "c": (0.825, 0.85), "d": (0.68, 0.695), "e": (0.475, 0.6)}
    resolution, depth = row[name[-1]]
    width = width_for(tinynet.scaled_tinynet, published.macs, resolution=resolution, depth=depth)
    # Exactly, for the published width has them
    assert tinynet.scaled_tinynet(resolution, depth, width).macs == published.macs
    assert tinynet.scaled_tinynet(resolution, depth, width + 1 / WIDTH_STEPS).macs > published.macs
    narrower = width_for(tinynet.scaled_tinynet, published.macs - 1, resolution=resolution, depth=depth)
    assert tinynet.scaled_tinynet(resolution, depth, narrower).macs < published.macs
    assert tinynet.scaled_tinynet(resolution, depth, narrower + 1 / WIDTH_STEPS).macs >= published.macs


def test_the_frontier_is_what_nothing_beats(fitted: ScalingResult) -> None:
    losses = [(-(s.quality or 0.0), float(s.macs)) for s in fitted.samples]
    beaten = [any(dominates(other, mine) for other in losses) for mine in losses]
    assert set(fitted.frontier) == {s for s, worse in zip(fitted.samples, beaten, strict=True) if not worse}
    frame = fitted.to_frame()
    assert len(frame) == len(fitted.samples) == 400
    assert frame["frontier"].sum() == len(fitted.frontier)
    assert frame["ratio"].between(0.03, 1.05).all()
    for name in ("resolution", "depth", "width"):
        assert frame[name].between(0.35, 1.4).all()
        assert 0.25 < (frame[name] < 0.7).mean() < 0.75  # uniform in the logarithm, but for the budget
    document = fitted.to_document()
    assert (document["macs"], document["base_macs"], document["base"]) == (fitted.graph.macs, WHOLE, "tower")
    assert len(document["frontier"]) == len(fitted.frontier)


def test_the_network_is_the_one_of_the_multipliers(fitted: ScalingResult) -> None:
    assert fitted.graph == tower(fitted.resolution, fitted.depth, fitted.width)
    assert fitted.macs <= fitted.target_macs < tower(fitted.resolution, fitted.depth, fitted.width + 0.01).macs


def test_one_seed_one_result() -> None:
    one, again, other = (scale(tower, WHOLE / 4, evaluator=known_quality, samples=40, seed=s) for s in (3, 3, 4))
    assert one == again
    assert one.samples != other.samples
    assert scale(tower, WHOLE / 2, evaluator=known_quality, samples=40, seed=3).samples == one.samples


@pytest.mark.parametrize("name", list(BASES))
def test_named_bases_are_efficientnet_b0_and_scale(name: str) -> None:
    scaling = scale(name, 100e6, samples=12, options={"num_classes": 10})
    assert scaling.base_macs == 385_814_752 - 1280 * 990
    assert scaling.graph.output_shapes == {"logits": (10,)}
    assert scaling.macs <= 100e6
    scaled = {"efficientnet_b0": efficientnet.scaled_efficientnet, "tinynet": tinynet.scaled_tinynet}[name]
    wider = scaled(scaling.resolution, scaling.depth, scaling.width + 1 / WIDTH_STEPS, num_classes=10)
    assert wider.macs > 100e6


# -- evaluators ------------------------------------------------------------------------------------------------------


class Training(Evaluator):
    """A training that diverges on deep networks and knows nothing of others but their multiply-adds."""

    def __init__(self, most_layers: int = 1000, direction: Literal["minimize", "maximize"] = "maximize") -> None:
        self.most_layers = most_layers
        self.direction = direction
        self.seeds: set[int] = set()

    @property
    def metrics(self) -> tuple[QualityMetric, ...]:
        return (QualityMetric("quality", self.direction), QualityMetric("map"))

    def check(self, graph: Graph) -> None:
        if graph.input_shape[0] != 1:
            raise ValueError("takes one channel")

    def evaluate(self, job: EvaluationJob) -> Evaluation:
        self.seeds.add(job.seed)
        if len(job.graph.nodes) > self.most_layers:
            raise Diverged("nan")
        sign = 1 if self.direction == "maximize" else -1
        return Evaluation({"quality": sign * known_quality(job.graph), "map": 0.0})


def test_a_training_is_an_evaluator_and_its_failures_are_left_out() -> None:
    training = Training(most_layers=40)
    scaling = scale(tower, WHOLE / 10, evaluator=training, samples=60, seed=7)
    assert training.seeds == {7}
    failed = [s for s in scaling.samples if s.quality is None]
    assert 0 < len(failed) < 60
    assert {s.reason for s in failed} == {"diverged"}
    assert not set(failed) & set(scaling.frontier)
    assert scaling.to_frame()["reason"].eq("diverged").sum() == len(failed)


def test_a_metric_to_minimise_counts_by_its_negative() -> None:
    up, down = Training(), Training(direction="minimize")
    assert scale(tower, WHOLE / 10, evaluator=down, samples=40) == scale(tower, WHOLE / 10, evaluator=up, samples=40)


def test_a_training_refuses_a_base_of_the_wrong_kind_before_any_sample() -> None:
    training = Training()
    with pytest.raises(ValueError, match="takes one channel"):
        scale("tinynet", 100e6, evaluator=training)
    assert not training.seeds


def test_scores_come_by_name_as_objects_and_as_functions() -> None:
    score: Any = SimpleNamespace(name="macs", score=lambda graph: log(graph.macs))
    by_name = scale(tower, WHOLE / 4, evaluator="log_macs", samples=20)
    assert by_name == scale(tower, WHOLE / 4, evaluator=score, samples=20)
    assert by_name == scale(tower, WHOLE / 4, evaluator=lambda graph: log(graph.macs), samples=20)


# -- errors ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"macs": 2 * WHOLE}, "are 2 of the base's .* cost 0.03 to 1.05 of it; choose a target among them"),
        ({"macs": WHOLE / 1000}, "are 0.001 of the base's"),
        ({"widths": (1.0, 0.5)}, "widths must be two numbers above 0, the lower first, not 1 and 0.5"),
        ({"budget": (0.0, 1.0)}, "budget must be two numbers above 0"),
        ({"samples": 5, "depths": (1.3, 1.4), "widths": (1.3, 1.4), "resolutions": (1.3, 1.4)}, "only 0 of 500 random"),
        ({"evaluator": lambda graph: -graph.macs}, "1 of 20 samples are on the frontier .* take more samples"),
        ({"evaluator": lambda graph: float("nan")}, r"0 of 20 .*\(failures: quality is not finite\)"),
    ],
)
def test_what_cannot_be_is_an_error_that_says_so(arguments: dict[str, Any], message: str) -> None:
    given = {"macs": WHOLE / 4, "samples": 20, "evaluator": known_quality, **arguments}
    with pytest.raises(ScalingError, match=message):
        scale(tower, **given)


def test_widths_that_end_too_early_or_begin_too_late_are_errors() -> None:
    with pytest.raises(ScalingError, match=r"at resolution 1 and depth 1 even width 0.5 has .* allow smaller"):
        width_for(tower, WHOLE / 100, resolution=1, depth=1, widths=(0.5, 2))
    with pytest.raises(ScalingError, match=r"even width 2 has only .* allow larger"):
        width_for(tower, WHOLE * 10, resolution=1, depth=1, widths=(0.5, 2))
    assert width_for(tower, WHOLE, resolution=1, depth=1, widths=(0.5, 1)) == 1.0


def test_unknown_names_are_errors_with_a_hint() -> None:
    with pytest.raises(UnknownName, match="no base 'efficientnet_b'; did you mean 'efficientnet_b0'"):
        scale("efficientnet_b", 1e8)
    with pytest.raises(UnknownName, match="no score 'entropie'; did you mean 'entropy'"):
        scale(tower, WHOLE / 4, evaluator="entropie")


def test_samples_without_any_trend_give_their_mean() -> None:
    flat = tuple(ScalingSample(0.7, 0.6, 0.5, round(WHOLE * 0.05 * exp(n / 4)), float(n)) for n in range(10))
    scaling = scale(tower, WHOLE * 0.2, known=flat)
    assert (scaling.resolution, scaling.depth) == (0.7, 0.6)
    assert scaling.frontier == flat
    wide = scale(tower, WHOLE, known=flat)  # the width is no sample's: it is what the budget leaves
    assert wide.width == pytest.approx((1 / (0.7**2 * 0.6)) ** 0.5, rel=0.02)
    worse = replace(flat[3], quality=-1.0)
    assert scale(tower, WHOLE * 0.2, known=(*flat, worse)).frontier == flat
