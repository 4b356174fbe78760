"""Metrics, objectives and limits as users write them."""

from __future__ import annotations

import pytest

from evaluators.evaluator import QualityMetric
from nas.candidates.constraints import Limit, parse_limits
from nas.candidates.metrics import METRICS, ObjectiveError, search_metrics
from nas.candidates.objectives import Objective, parse_objectives
from search_spaces.registry import UnknownName


@pytest.mark.parametrize(
    ("text", "metric", "bound", "at_least"),
    [
        ("latency<=7ms", "latency_ms", 7.0, False),
        ("latency_ms <= 7", "latency_ms", 7.0, False),
        ("latency<=0.007s", "latency_ms", 7.0, False),
        ("latency < 900 us", "latency_ms", 0.9, False),
        ("params<=5M", "params", 5e6, False),
        ("macs>=100M", "macs", 1e8, True),
        ("macs<=1.5G", "macs", 1.5e9, False),
        ("peak_memory<=512KiB", "peak_memory_kib", 512.0, False),
        ("weights<=2MiB", "weights_kib", 2048.0, False),
        ("peak_activation_bytes<=1MiB", "peak_activation_bytes", 2.0**20, False),
    ],
)
def test_limits_are_read_with_their_units(text: str, metric: str, bound: float, at_least: bool) -> None:
    limit = Limit.parse(text)
    assert (limit.metric, limit.at_least) == (metric, at_least)
    assert limit.bound == pytest.approx(bound)
    assert Limit.parse(str(limit)) == limit


@pytest.mark.parametrize(
    "text", ["latency", "latency<=", "latency<=7kg", "latency==7ms", "latency<=-1ms", "7ms", "macs<=1e999", ""]
)
def test_limits_that_make_no_sense_are_refused(text: str) -> None:
    with pytest.raises(ObjectiveError):
        Limit.parse(text)


def test_an_unknown_metric_is_answered_with_the_nearest() -> None:
    with pytest.raises(UnknownName, match="did you mean 'latency_ms'"):
        Limit.parse("latency_m<=7")


def test_constraint_violation_is_the_fraction_by_which_a_limit_is_broken() -> None:
    assert Limit("latency_ms", 4.0).constraint_violation({"latency_ms": 5.0}) == 0.25
    assert Limit("latency_ms", 4.0).constraint_violation({"latency_ms": 4.0}) == 0.0
    assert Limit("macs", 4.0, at_least=True).constraint_violation({"macs": 3.0}) == 0.25


def test_a_limit_on_a_quality_holds_until_the_quality_is_known() -> None:
    limit = Limit.parse("map>=0.2")
    assert limit.constraint_violation({"latency_ms": 3.0}) == 0.0
    assert limit.constraint_violation({"map": 0.25}) == 0.0
    assert limit.constraint_violation({"map": 0.15}) == pytest.approx(0.25)
    assert parse_limits({"map": 0.2}) == (limit,)  # of what is maximised the least


def test_limits_of_zero_and_below_are_broken_by_how_much() -> None:
    metrics = search_metrics([QualityMetric("log_likelihood")])
    limit = Limit.parse("log_likelihood >= -2", metrics)
    assert (limit.constraint_violation({"log_likelihood": -1.0}), str(limit)) == (0.0, "log_likelihood >= -2")
    assert limit.constraint_violation({"log_likelihood": -3.0}) == 0.5
    assert Limit.parse("log_likelihood >= 0", metrics).constraint_violation({"log_likelihood": -3.0}) == 3.0


def test_a_mapping_of_limits_means_at_most() -> None:
    assert parse_limits({"latency_ms": 7.0, "params": 5_000_000}) == (Limit("latency_ms", 7.0), Limit("params", 5e6))


def test_objectives_default_to_latency_and_trained_quality() -> None:
    assert [o.metric for o in parse_objectives(None, trained=True)] == ["latency_ms", "map"]
    assert [o.metric for o in parse_objectives(None, trained=False)] == ["latency_ms", "score"]


def test_objectives_take_a_direction() -> None:
    assert Objective.parse("macs:max") == Objective("macs", "maximize")
    assert Objective.parse("map").loss({"map": 0.25}) == -0.25
    assert Objective.parse("params").loss({"params": 3.0}) == 3.0
    with pytest.raises(ObjectiveError, match="direction"):
        Objective.parse("macs:up")


def test_objectives_that_contradict_the_search_are_refused() -> None:
    with pytest.raises(ObjectiveError, match="twice"):
        parse_objectives(["latency", "latency_ms"], trained=True)
    with pytest.raises(ObjectiveError, match="needs training"):
        parse_objectives(["latency", "map"], trained=False)


def test_every_metric_says_which_way_is_better_and_where_it_comes_from() -> None:
    for name, metric in METRICS.items():
        assert name == name.lower()
        assert metric.direction in ("minimize", "maximize")
        assert metric.origin in ("graph", "hardware", "score", "quality")
