"""An evaluator that breaks a check of ``EvaluatorContract`` is caught by it."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch

from nas.testing import EvaluatorContract
from search_spaces.graph.graph import Graph
from tests.support.space_contracts import checks_of


@dataclass
class Quick:
    """An evaluator that trains nothing, and keeps its contract unless told otherwise."""

    label: str = "quick"
    time_limit_s: float = 5.0
    proxy: dict[str, Any] = field(default_factory=lambda: {"image_size": 64})
    deploy: dict[str, Any] = field(default_factory=dict)
    refuses: bool = True
    figure: Any = 0.5
    metric: str = "map"

    @property
    def name(self) -> str:
        return self.label

    def describe(self) -> str:
        return f"nothing, {self.label}"

    def check(self, graph: Graph) -> None:
        if self.refuses and len(graph.input_shape) != 3:
            raise ValueError(f"images are wanted, not {graph.input_shape}")

    def evaluate(self, graph: Graph, *, seed: int) -> dict[str, float]:
        return {self.metric: self.figure() if callable(self.figure) else self.figure}


class Forgetful(Quick):
    def cache_identity(self) -> dict[str, Any]:
        return {"evaluator": id(self)}


class TestQuick(EvaluatorContract):
    def make_evaluator(self) -> Any:
        return Quick()


BROKEN_EVALUATORS: list[tuple[str, Callable[[], Quick], str]] = [
    ("it_describes_itself", lambda: Quick(""), "name is empty"),
    ("it_describes_itself", lambda: Quick(time_limit_s=0.0), "time_limit_s is 0.0"),
    ("it_is_plain_data", lambda: Quick(proxy={"size": object()}), "proxy is no plain data"),
    ("it_is_plain_data", lambda: Quick(deploy={"scale": math.nan}), "deploy is no plain data"),
    ("it_takes_its_networks_and_refuses_others", lambda: Quick(refuses=False), "takes .*, which it cannot evaluate"),
    ("the_same_seed_gives_the_same_figures", lambda: Quick(figure=random.random), "and then"),
    ("the_same_seed_gives_the_same_figures", lambda: Quick(figure=lambda: float(torch.rand(()))), "and then"),
    ("figures_are_finite_numbers", lambda: Quick(figure=math.nan), "map is nan"),
    ("figures_are_finite_numbers", lambda: Quick(figure="0.5"), "map is '0.5', not a float"),
    ("figures_are_finite_numbers", lambda: Quick(metric="accuracy"), "gives accuracy, but not map"),
]


@pytest.mark.parametrize(
    ("check", "make", "message"), BROKEN_EVALUATORS, ids=[f"{c}-{m}" for c, _, m in BROKEN_EVALUATORS]
)
def test_a_broken_evaluator_is_caught(check: str, make: Callable[[], Quick], message: str) -> None:
    contract = type("Broken", (EvaluatorContract,), {"make_evaluator": lambda self: make()})
    with pytest.raises(AssertionError, match=message):
        getattr(contract(), f"test_{check}")()


def test_an_evaluator_whose_identity_changes_is_caught() -> None:
    evaluators: list[Forgetful] = []

    def make(self: object) -> Forgetful:
        evaluators.append(Forgetful())  # alive, so that no two have one id
        return evaluators[-1]

    contract = type("Broken", (EvaluatorContract,), {"make_evaluator": make})
    with pytest.raises(AssertionError, match=r"cache_identity.* and then"):
        contract().test_it_is_plain_data()


def test_every_check_is_broken_by_an_evaluator() -> None:
    assert {f"test_{check}" for check, _, _ in BROKEN_EVALUATORS} == set(checks_of(EvaluatorContract))
