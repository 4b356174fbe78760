"""One evaluation in this process: what it gives, and how each way to go wrong is told."""

from __future__ import annotations

import inspect
import json
import math
import struct
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load

import nas
from evaluators.evaluator import (
    Artifact,
    CurvePoint,
    EvaluationCost,
    EvaluationFailure,
    EvaluationJob,
    Evaluator,
    OutOfMemory,
    QualityMetric,
)
from evaluators.evaluator import Evaluation as Answer
from nas.execution.answer import plain_number
from nas.execution.executor import TrainingResult, evaluate_job


class Unnamed(EvaluationFailure):
    code = ""


@dataclass
class Answering(Evaluator):
    """Gives whatever a function gives."""

    answer: Callable[[], Any]
    declared: tuple[str, ...] = ("accuracy", "loss")

    @property
    def metrics(self) -> tuple[QualityMetric, ...]:
        return tuple([QualityMetric(name) for name in self.declared])

    def evaluate(self, job: EvaluationJob) -> Answer:
        answer: Answer = self.answer()
        return answer


def job(*, keep_artifact: bool = False) -> EvaluationJob:
    b = nas.Builder()
    return EvaluationJob(b.build(b.conv(b.input((3, 8, 8)), 4, 3)), keep_artifact=keep_artifact)


def evaluated(answer: Callable[[], Any], *, keep_artifact: bool = False) -> TrainingResult:
    return evaluate_job(Answering(answer), job(keep_artifact=keep_artifact))


def given_metrics(**metrics: Any) -> TrainingResult:
    return evaluated(lambda: Answer({"accuracy": 0.5, "loss": 1.0, **metrics}))


def raised(error: BaseException) -> Callable[[], Any]:
    def answer() -> Any:
        raise error

    return answer


def test_an_answer_is_taken_with_all_that_it_brings() -> None:
    images: Any = np.int64(32)
    seconds: Any = np.float32(2)
    accuracy: Any = torch.tensor(0.5)
    curve, cost = [CurvePoint(images, {"loss": math.nan})], EvaluationCost(seconds=seconds, images=64)
    result = evaluated(lambda: Answer({"loss": 1, "accuracy": accuracy}, curve, cost))
    assert (result.failure, result.breach, result.kind) == ("", False, "miss")
    assert result.metrics == {"accuracy": 0.5, "loss": 1.0}
    assert all(type(value) is float for value in result.metrics.values())
    (point,) = result.curve
    assert (point.images, type(point.images)) == (32, int)
    assert math.isnan(point.metrics["loss"])
    assert result.cost == EvaluationCost(seconds=2.0, images=64)
    assert type(result.cost.seconds) is float
    assert result.seconds >= 0


@pytest.mark.parametrize(
    "value", [0.25, np.float32(0.25), np.float64(0.25), np.array(0.25), torch.tensor(0.25), Fraction(1, 4)]
)
def test_scalars_of_libraries_are_numbers(value: object) -> None:
    assert given_metrics(accuracy=value).metrics["accuracy"] == 0.25


@pytest.mark.parametrize(
    "value",
    [True, np.True_, "0.5", None, math.nan, math.inf, -math.inf, 1j, torch.tensor([0.5]), np.array([1, 2]), 10**400]
    + [torch.tensor(True), torch.tensor(1j), torch.tensor(math.nan), [0.5]],
    ids=repr,
)
def test_what_is_no_finite_number_is_a_breach_that_names_the_metric(value: object) -> None:
    result = given_metrics(accuracy=value)
    assert (result.failure, result.breach, result.metrics) == ("wrong_answer", True, {})
    assert result.message.startswith("the metric 'accuracy' is ")


@given(st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(2**1000), 2**1000))
def test_every_real_number_is_itself(value: float) -> None:
    assert plain_number(value) == float(value)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ({"accuracy": 0.5}, r"^evaluate\(\) returned dict; return nas.Evaluation\(\{\.\.\.\}\)$"),
        (None, "returned NoneType"),
        (0.5, "returned float"),
        (Answer(None), "metrics are NoneType"),  # type: ignore[arg-type]
        (
            Answer({"acuracy": 0.5, "loss": 1.0}),
            r"lacks accuracy and has acuracy, which .* declared: accuracy, loss; given: acuracy, loss; did you mean"
            " 'accuracy' by 'acuracy'",
        ),
        (Answer({"accuracy": 0.5}), "lacks loss; declared: accuracy, loss; given: accuracy$"),
        (Answer({}), "lacks accuracy, loss; .* given: none$"),
        (Answer({"accuracy": 0.5, "loss": 1.0, "map": 0.5}), "the evaluation has map, which"),
        (Answer({"accuracy": 0.5, "loss": 1.0}, [0.5]), r"point 0 of the curve is 0\.5"),  # type: ignore[list-item]
        (Answer({"accuracy": 0.5, "loss": 1.0}, [CurvePoint(3, {"loss": "low"})]), "'loss': 'low', not a real number"),  # type: ignore[dict-item]
        (Answer({"accuracy": 0.5, "loss": 1.0}, [CurvePoint(-3, {})]), "at -3 images"),
        (Answer({"accuracy": 0.5, "loss": 1.0}, cost=2.0), "cost is 2.0; give an EvaluationCost"),  # type: ignore[arg-type]
        (Answer({"accuracy": 0.5, "loss": 1.0}, cost=EvaluationCost(images=-1)), "cost's images is -1"),
    ],
)
def test_a_wrong_answer_is_a_breach_that_says_what_is_due(answer: object, message: str) -> None:
    result = evaluated(lambda: answer)
    assert (result.failure, result.breach) == ("wrong_answer", True)
    with pytest.raises(ValueError, match=message):
        raise ValueError(result.message)


def test_planned_failures_are_no_breach() -> None:
    result = evaluated(raised(OutOfMemory("asks for 3 GiB of 2")))
    assert (result.failure, result.message, result.breach) == ("out_of_memory", "asks for 3 GiB of 2", False)
    assert evaluated(raised(Unnamed("no word for it"))).failure == "failed"


@pytest.mark.parametrize(
    ("error", "code", "text"),
    [
        (RuntimeError("a bug"), "error", "RuntimeError: a bug"),
        (KeyError(), "error", "KeyError"),
        (MemoryError("no room"), "error", "MemoryError: no room"),
        (SystemExit(2), "exit", "SystemExit: 2"),
    ],
)
def test_every_other_exception_is_a_breach_with_its_line(error: BaseException, code: str, text: str) -> None:
    result = evaluated(raised(error))
    assert (result.failure, result.breach) == (code, True)
    _, start = inspect.getsourcelines(raised)
    assert result.message == f"{text} ({__file__}:{start + 2})"


def test_the_line_is_the_evaluators_own_also_where_a_library_raises() -> None:
    def answer() -> Any:
        return json.loads("{")

    _, start = inspect.getsourcelines(answer)
    assert evaluated(answer).message.endswith(f"({__file__}:{start + 1})")


def test_metrics_that_raise_are_a_breach_before_anything_is_paid() -> None:
    class Undeclared(Answering):
        @property
        def metrics(self) -> tuple[QualityMetric, ...]:
            raise LookupError("no table")

    result = evaluate_job(Undeclared(lambda: pytest.fail("it was evaluated")), job())
    assert (result.failure, result.breach) == ("error", True)
    assert result.message.startswith("LookupError: no table (")


def test_an_interrupt_passes() -> None:
    with pytest.raises(KeyboardInterrupt):
        evaluated(raised(KeyboardInterrupt()))


def test_an_artifact_is_kept_where_it_is_wanted_also_with_tied_and_turned_tensors() -> None:
    weight = torch.nn.Parameter(torch.arange(12.0).reshape(3, 4))
    tensors = {"weight": weight, "tied": weight, "turned": weight.t(), "row": weight[1], "empty": torch.zeros(0)}
    answer = Answer({"accuracy": 0.5, "loss": 1.0}, artifact=Artifact(tensors, {"classes": "cat,dog"}))
    assert evaluated(lambda: answer).artifact is None
    content = evaluated(lambda: answer, keep_artifact=True).artifact
    assert content is not None
    loaded = load(content)
    assert loaded.keys() == tensors.keys()
    assert all(torch.equal(loaded[name], tensor) for name, tensor in tensors.items())
    (length,) = struct.unpack_from("<Q", content)
    assert json.loads(content[8 : 8 + length])["__metadata__"] == {"classes": "cat,dog"}


def test_an_artifact_without_metadata_can_be_read() -> None:
    answer = Answer({"accuracy": 0.5, "loss": 1.0}, artifact=Artifact({"weight": torch.ones(2)}))
    content = evaluated(lambda: answer, keep_artifact=True).artifact
    assert content is not None
    assert load(content)["weight"].tolist() == [1.0, 1.0]


@pytest.mark.parametrize(
    ("artifact", "message"),
    [
        ({"weight": torch.zeros(1)}, "artifact is dict"),
        (Artifact({}), "holds no tensors"),
        (Artifact({"weight": [1.0]}), "'weight': list; give tensors"),  # type: ignore[dict-item]
        (Artifact({"weight": torch.zeros(2, 2).to_sparse()}), "'weight' is sparse"),
        (Artifact({"weight": torch.zeros(2, device="meta")}), "without data"),
        (Artifact({"weight": torch.zeros(1)}, {"classes": 2}), "'classes': 2; give texts"),  # type: ignore[dict-item]
    ],
)
def test_a_wrong_artifact_is_a_breach_where_it_is_wanted(artifact: Any, message: str) -> None:
    answer = Answer({"accuracy": 0.5, "loss": 1.0}, artifact=artifact)
    assert not evaluated(lambda: answer).failure
    result = evaluated(lambda: answer, keep_artifact=True)
    assert (result.failure, result.breach) == ("wrong_answer", True)
    assert message in result.message
