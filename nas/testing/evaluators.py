"""Contract tests of quality evaluators."""

from __future__ import annotations

import json
import pickle
import random
from collections.abc import Callable, Sequence
from math import isfinite
from typing import Any

from evaluators.evaluator import QualityEvaluator
from nas.testing.global_seeds import other_global_seeds
from search_spaces.catalog import load_space
from search_spaces.graph.builder import Builder
from search_spaces.graph.graph import Graph


class EvaluatorContract:
    """What every quality evaluator keeps. Subclasses define ``make_evaluator``; one that takes little time.

    ``space``: whose networks it evaluates, built with its ``proxy`` options and under a head for its ``task``.
    """

    space: str = "mobiledet"
    seed: int = 0

    def make_evaluator(self) -> QualityEvaluator:
        """A new instance of the evaluator."""
        raise NotImplementedError(f"{type(self).__name__} needs make_evaluator, which returns the evaluator to test")

    def make_graph(self, evaluator: QualityEvaluator) -> Graph:
        """A network that it can evaluate."""
        from search_spaces.task_heads import space_for_task

        space = load_space(self.space)
        task = getattr(evaluator, "task", "")
        space = space_for_task(space, task) if task else space
        space = space.with_options(**{n: v for n, v in evaluator.proxy.items() if space.accepts(n)})
        return space.graph(space.sample(random.Random(self.seed)))

    def make_wrong_graphs(self) -> Sequence[Graph]:
        """Networks that it cannot evaluate; empty where it takes any."""
        b = Builder()
        return [b.build(b.linear(b.input((5,)), 2))]

    def test_it_describes_itself(self) -> None:
        evaluator = self.make_evaluator()
        for what, text in (("name", evaluator.name), ("describe()", evaluator.describe())):
            assert isinstance(text, str), f"{what} is {text!r}, not a text"
            assert text, f"{what} is empty"
        assert evaluator.time_limit_s > 0, f"time_limit_s is {evaluator.time_limit_s!r}; it must be above 0"

    def test_it_is_plain_data(self) -> None:
        evaluator = self.make_evaluator()
        identity: Callable[[], dict[str, Any]] = getattr(evaluator, "cache_identity", dict)
        for what, value in (
            ("proxy", evaluator.proxy),
            ("deploy", evaluator.deploy),
            ("cache_identity()", identity()),
        ):
            assert _is_json_data(value), f"{what} is no plain data that JSON keeps: {value!r}"
        other: dict[str, Any] = getattr(self.make_evaluator(), "cache_identity", dict)()
        assert other == identity(), f"cache_identity() is {identity()} and then {other}"
        copied: QualityEvaluator = pickle.loads(pickle.dumps(evaluator))  # noqa: S301  # our own bytes
        assert copied.describe() == evaluator.describe(), "a copy for another process describes itself differently"

    def test_it_takes_its_networks_and_refuses_others(self) -> None:
        evaluator = self.make_evaluator()
        evaluator.check(self.make_graph(evaluator))
        for graph in self.make_wrong_graphs():
            try:
                evaluator.check(graph)
            except ValueError as error:
                message = str(error)
            else:
                raise AssertionError(f"check() takes {graph!r}, which it cannot evaluate")
            assert message.strip(), "check() refuses a network without a word"

    def test_the_same_seed_gives_the_same_figures(self) -> None:
        """From another instance too, and in whatever state the global random sources are."""
        first, second = self.make_evaluator(), self.make_evaluator()
        graph = self.make_graph(first)
        with other_global_seeds(1):
            figures = first.evaluate(graph, seed=self.seed)
        with other_global_seeds(2):
            repeated = second.evaluate(graph, seed=self.seed)
        assert figures == repeated, f"seed {self.seed} gives {figures} and then {repeated}"

    def test_figures_are_finite_numbers(self) -> None:
        evaluator = self.make_evaluator()
        figures = evaluator.evaluate(self.make_graph(evaluator), seed=self.seed)
        quality = getattr(evaluator, "quality", "map")
        assert quality in figures, f"evaluate() gives {', '.join(figures)}, but not {quality}"
        for name, value in figures.items():
            assert isinstance(value, float), f"{name} is {value!r}, not a float"
            assert isfinite(value), f"{name} is {value!r}"


def _is_json_data(value: Any) -> bool:
    """Whether JSON gives the value back, with lists for its tuples."""
    try:
        return bool(json.loads(json.dumps(value, allow_nan=False)) == _tuples_as_lists(value))
    except (TypeError, ValueError):
        return False


def _tuples_as_lists(value: Any) -> Any:
    """``value`` with lists for tuples, as JSON has them."""
    if isinstance(value, dict):
        return {name: _tuples_as_lists(v) for name, v in value.items()}
    return [_tuples_as_lists(v) for v in value] if isinstance(value, list | tuple) else value
