"""An evaluator that breaks a check of ``EvaluatorContract`` is caught by it."""

from __future__ import annotations

import math
import random
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch

from evaluators.evaluator import Artifact, CurvePoint, Evaluation, EvaluationJob, Evaluator, QualityMetric
from hardware_models.cost import HardwareModel
from nas.testing import EvaluatorContract
from search_spaces.graph.graph import Graph
from search_spaces.space.space import Space
from tests.support.fakes import small_space
from tests.support.space_contracts import checks_of


@dataclass
class Quick(Evaluator):
    """An evaluator that trains nothing, and keeps its contract unless told otherwise."""

    label: str = "quick"
    time_limit_s: float = 5.0
    proxy_options: Mapping[str, Any] = field(default_factory=lambda: {"image_size": 16})
    deploy_options: Mapping[str, Any] = field(default_factory=dict)
    refuses: bool = True
    figure: Any = 0.5
    declared: Any = (QualityMetric("map"),)
    curve: Sequence[CurvePoint] = (CurvePoint(8, {"loss": 1.0}), CurvePoint(16, {"loss": math.nan}))
    artifact: Artifact | None = None

    @property
    def name(self) -> str:
        return self.label

    @property
    def metrics(self) -> Any:
        return self.declared

    @property
    def proxy(self) -> Any:
        return self.proxy_options

    @property
    def deploy(self) -> Any:
        return self.deploy_options

    def describe(self) -> str:
        return f"nothing, {self.label}"

    def cache_identity(self, fidelity: float) -> Mapping[str, Any]:
        return {"evaluator": "quick/1", "data": "none", "fidelity": {"fidelity": fidelity}}

    def check(self, graph: Graph) -> None:
        if self.refuses and len(graph.input_shape) != 3:
            raise ValueError(f"images are wanted, not {graph.input_shape}")

    def evaluate(self, job: EvaluationJob) -> Evaluation:
        return Evaluation(
            {"map": self.figure() if callable(self.figure) else self.figure}, self.curve, artifact=self.artifact
        )


class Partial(Quick):
    """Evaluates in part as well, without telling its fidelities apart."""

    def check_fidelities(self, fidelities: Sequence[float]) -> None:
        if min(fidelities) < 0.1:
            raise ValueError("")

    def cache_identity(self, fidelity: float) -> Mapping[str, Any]:
        return {"evaluator": "partial/1", "data": "none", "fidelity": {}}


class PartialToldApart(Partial):
    def cache_identity(self, fidelity: float) -> Mapping[str, Any]:
        return Quick.cache_identity(self, fidelity)

    def evaluate(self, job: EvaluationJob) -> Evaluation:
        if job.fidelity == 1 or self.figure == 0.5:
            return super().evaluate(job)
        raise RuntimeError(f"at fidelity {job.fidelity:.3g} it breaks")


class Wordless(Quick):
    def check_fidelities(self, fidelities: Sequence[float]) -> None:
        if min(fidelities) < 1:
            raise ValueError("")


class Forgetful(Quick):
    def cache_identity(self, fidelity: float) -> Mapping[str, Any]:
        return {"evaluator": f"forgetful {id(self)}", "data": "none", "fidelity": {}}


class Counting(Quick):
    """Trains something else each time that it is prepared in a folder."""

    def prepare(self, space: Space, hardware: HardwareModel, workspace: Path) -> None:
        assert hardware.name
        assert space.graph(space.sample(random.Random(0))).input_shape == (3, 16, 16)
        (workspace / f"supernet{len(list(workspace.iterdir()))}").touch()
        self.figure = float(len(list(workspace.iterdir())))


class Resuming(Counting):
    def prepare(self, space: Space, hardware: HardwareModel, workspace: Path) -> None:
        if not list(workspace.iterdir()):
            super().prepare(space, hardware, workspace)
        self.figure = 1.0


class Locked(Quick):
    def __init__(self) -> None:
        super().__init__()
        self.lock = threading.Lock()


class HomeBound(Locked):
    isolated = False


class Own(EvaluatorContract):
    def make_space(self, evaluator: Evaluator) -> Space:
        return Space(small_space, options=dict(evaluator.proxy))


class TestQuick(Own):
    def make_evaluator(self) -> Evaluator:
        return Quick(artifact=Artifact({"weight": torch.zeros(3)}, {"classes": "cat,dog"}))


class TestOnNamedSpace(EvaluatorContract):
    def make_evaluator(self) -> Evaluator:
        return PartialToldApart(proxy_options={"image_size": 64})


class TestResuming(Own):
    def make_evaluator(self) -> Evaluator:
        return Resuming()


class TestHomeBound(Own):
    def make_evaluator(self) -> Evaluator:
        return HomeBound()


_TWICE = (QualityMetric("map"), QualityMetric("map"))
_NAN_WEIGHTS = Artifact({"weight": torch.tensor([math.nan])})

BROKEN_EVALUATORS: list[tuple[str, Callable[[], Evaluator], str]] = [
    ("it_describes_itself", lambda: Quick(""), "name is empty"),
    ("it_describes_itself", lambda: Quick(time_limit_s=0.0), "time_limit_s is 0.0"),
    ("it_declares_its_metrics", lambda: Quick(declared=()), "metrics is empty"),
    ("it_declares_its_metrics", lambda: Quick(declared=["map"]), r"metrics is \['map'\], not a tuple"),
    ("it_declares_its_metrics", lambda: Quick(declared=("map",)), "metrics holds 'map', not a QualityMetric"),
    ("it_declares_its_metrics", lambda: Quick(declared=_TWICE), "declares a name twice: map, map"),
    ("it_declares_its_metrics", lambda: Quick(declared=(QualityMetric("top 1"),)), "objectives cannot spell"),
    ("it_is_plain_data", lambda: Quick(proxy_options={"size": object()}), "proxy is no plain data"),
    ("it_is_plain_data", lambda: Quick(deploy_options={"scale": math.nan}), "deploy is no plain data"),
    ("it_takes_its_networks_and_refuses_others", lambda: Quick(refuses=False), "takes .*, which it cannot evaluate"),
    ("it_gives_every_metric_that_it_declares", lambda: Quick(figure=math.nan), "'map' is nan"),
    ("it_gives_every_metric_that_it_declares", lambda: Quick(figure="0.5"), "'map' is '0.5', not a real number"),
    (
        "it_gives_every_metric_that_it_declares",
        lambda: Quick(declared=(QualityMetric("mAP"),)),
        "lacks mAP and has map",
    ),
    ("it_gives_every_metric_that_it_declares", lambda: Quick(curve=Quick.curve[::-1]), "the curve goes back"),
    ("it_gives_every_metric_that_it_declares", lambda: Quick(artifact=Artifact({})), "holds no tensors"),
    ("it_gives_every_metric_that_it_declares", lambda: Quick(artifact=_NAN_WEIGHTS), "weight of the artifact is nan"),
    ("the_same_seed_gives_the_same_figures", lambda: Quick(figure=random.random), "and then"),
    ("the_same_seed_gives_the_same_figures", lambda: Quick(figure=lambda: float(torch.rand(()))), "and then"),
    ("prepare_goes_on_where_it_was", Counting, "prepared again in the same folder it gives .*1.0.* and then .*2.0"),
    ("it_can_be_sent_to_a_worker", Locked, "evaluator Locked cannot be sent"),
    ("a_fidelity_is_refused_or_evaluated", Wordless, "refuses without a word"),
    ("a_fidelity_is_refused_or_evaluated", Partial, "takes 0.333, and cache_identity.. is that of 1"),
    ("a_fidelity_is_refused_or_evaluated", lambda: PartialToldApart(figure=0.25), "at fidelity 0.333 it breaks"),
]


@pytest.mark.parametrize(
    ("check", "make", "message"), BROKEN_EVALUATORS, ids=[f"{c}-{m}" for c, _, m in BROKEN_EVALUATORS]
)
def test_a_broken_evaluator_is_caught(check: str, make: Callable[[], Evaluator], message: str) -> None:
    contract = type("Broken", (Own,), {"make_evaluator": lambda self: make()})
    with pytest.raises((AssertionError, ValueError), match=message):
        getattr(contract(), f"test_{check}")()


def test_an_evaluator_whose_identity_changes_is_caught() -> None:
    evaluators: list[Forgetful] = []

    def make(self: object) -> Forgetful:
        evaluators.append(Forgetful())  # alive, so that no two have one id
        return evaluators[-1]

    contract = type("Broken", (Own,), {"make_evaluator": make})
    with pytest.raises(AssertionError, match=r"cache_identity.* and then"):
        contract().test_it_is_plain_data()


def test_every_check_is_broken_by_an_evaluator() -> None:
    assert {f"test_{check}" for check, _, _ in BROKEN_EVALUATORS} == set(checks_of(EvaluatorContract))
