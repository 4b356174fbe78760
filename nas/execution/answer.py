"""What an evaluator answered, checked and made plain, so that it can be stored and sent: whose fault it is, by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from difflib import get_close_matches
from numbers import Real
from typing import TYPE_CHECKING

from evaluators.evaluator import Artifact, CurvePoint, Evaluation, EvaluationCost

if TYPE_CHECKING:
    from torch import Tensor


class WrongAnswer(ValueError):
    """An answer that breaks the contract of ``Evaluator.evaluate``; the message says what is wrong and what is due."""


@dataclass(frozen=True)
class Answer:
    """An ``Evaluation`` in plain numbers; ``artifact``: bytes of a safetensors file."""

    metrics: dict[str, float]
    curve: tuple[CurvePoint, ...]
    cost: EvaluationCost
    artifact: bytes | None


def checked_answer(answer: object, declared: Sequence[str], *, keep_artifact: bool) -> Answer:
    """The answer to a job of an evaluator that declares metrics of these names. Raises ``WrongAnswer``.

    Scalars of numpy and PyTorch become floats. A metric must be finite; a learning curve may go astray. Without
    ``keep_artifact`` the artifact is dropped unseen.
    """
    if not isinstance(answer, Evaluation):
        raise WrongAnswer(f"evaluate() returned {type(answer).__name__}; return nas.Evaluation({{...}})")
    if not isinstance(answer.metrics, Mapping):
        raise WrongAnswer(f"the evaluation's metrics are {type(answer.metrics).__name__}; give numbers by name")
    _check_names(list(answer.metrics), declared)
    metrics = {name: _finite(name, answer.metrics[name]) for name in declared}
    artifact = _artifact_bytes(answer.artifact) if keep_artifact and answer.artifact is not None else None
    return Answer(metrics, _curve(answer.curve), _cost(answer.cost), artifact)


def plain_number(value: object) -> float | None:
    """A real number as a float, also one that numpy or PyTorch holds; ``None`` for anything else, and for booleans."""
    item: Callable[[], object] | None = getattr(value, "item", None)
    if item is not None and getattr(value, "shape", None) == ():
        value = item()
    if isinstance(value, bool) or not isinstance(value, Real):
        return None
    try:
        return float(value)
    except OverflowError:  # a whole number above all floats
        return None


def _check_names(given: list[str], declared: Sequence[str]) -> None:
    missing = [name for name in declared if name not in given]
    undeclared = [name for name in given if name not in declared]
    if not missing and not undeclared:
        return
    wrong = []
    if missing:
        wrong.append(f"lacks {_listed(missing)}")
    if undeclared:
        wrong.append(f"has {_listed(undeclared)}, which the evaluator's metrics do not declare")
    message = f"the evaluation {' and '.join(wrong)}; declared: {_listed(declared)}; given: {_listed(given)}"
    for name in undeclared:
        close = get_close_matches(str(name), missing or declared, n=1)
        if close:
            message += f"; did you mean {close[0]!r} by {name!r}?"
            break
    raise WrongAnswer(message)


def _listed(names: Sequence[object]) -> str:
    return ", ".join(map(str, names)) or "none"


def _finite(name: str, value: object) -> float:
    number = plain_number(value)
    if number is None:
        raise WrongAnswer(f"the metric {name!r} is {value!r:.80}, not a real number")
    if number - number != 0:  # infinite, or not a number
        raise WrongAnswer(
            f"the metric {name!r} is {number!r}; raise an EvaluationFailure, such as Diverged, for what has no figure"
        )
    return number


def _curve(curve: Sequence[CurvePoint]) -> tuple[CurvePoint, ...]:
    points = []
    for position, point in enumerate(curve):
        where = f"point {position} of the curve"
        if not isinstance(point, CurvePoint) or not isinstance(point.metrics, Mapping):
            raise WrongAnswer(f"{where} is {point!r:.80}; give CurvePoint(images, numbers by name)")
        images = plain_number(point.images)
        if images is None or images < 0 or images % 1:
            raise WrongAnswer(f"{where} is at {point.images!r:.80} images, which is no whole number")
        metrics: dict[str, float] = {}
        for name, value in point.metrics.items():
            number = plain_number(value)
            if number is None or not isinstance(name, str):
                raise WrongAnswer(f"{where} has {name!r:.80}: {value!r:.80}, not a real number by name")
            metrics[name] = number
        points.append(CurvePoint(int(images), metrics))
    return tuple(points)


def _cost(cost: EvaluationCost) -> EvaluationCost:
    if not isinstance(cost, EvaluationCost):
        raise WrongAnswer(f"the evaluation's cost is {cost!r:.80}; give an EvaluationCost")
    numbers: dict[str, float | None] = {}
    for field in fields(cost):
        value = getattr(cost, field.name)
        numbers[field.name] = number = None if value is None else plain_number(value)
        if value is not None and (number is None or not 0 <= number < float("inf")):
            raise WrongAnswer(f"the cost's {field.name} is {value!r:.80}; give a number of 0 or more, or None")
    images = numbers["images"]
    return EvaluationCost(numbers["seconds"], None if images is None else int(images), numbers["peak_memory_mib"])


def _artifact_bytes(artifact: Artifact) -> bytes:
    """The artifact as a safetensors file: each tensor on its own, in one stretch, also where a network ties two."""
    import torch
    from safetensors.torch import save

    if not isinstance(artifact, Artifact):
        raise WrongAnswer(
            f"the evaluation's artifact is {type(artifact).__name__}; give an Artifact(tensors, metadata)"
        )
    if not artifact.tensors:
        raise WrongAnswer("the artifact holds no tensors; leave it out")
    tensors: dict[str, Tensor] = {}
    storages: set[int] = set()
    for name, tensor in artifact.tensors.items():
        if not isinstance(name, str) or not isinstance(tensor, torch.Tensor):
            raise WrongAnswer(f"the artifact has {name!r:.80}: {type(tensor).__name__}; give tensors by name")
        if tensor.layout is not torch.strided or tensor.is_quantized or tensor.is_meta:
            raise WrongAnswer(f"the artifact's tensor {name!r} is sparse, quantised or without data; give a dense one")
        alone = tensor.detach().cpu().contiguous()
        storage = alone.untyped_storage().data_ptr()
        tensors[name] = alone.clone() if storage in storages else alone
        storages.add(storage)
    for name, text in artifact.metadata.items():
        if not isinstance(name, str) or not isinstance(text, str):
            raise WrongAnswer(f"the artifact's metadata has {name!r:.80}: {text!r:.80}; give texts by name")
    return save(tensors, dict(artifact.metadata) or None)  # an empty one becomes a file that cannot be read
