"""An evaluator and a job as bytes for another process, and what to say where that cannot be."""

from __future__ import annotations

import pickle
import sys
from collections.abc import Iterator
from typing import Any

from evaluators.evaluator import EvaluationJob, Evaluator
from nas.execution.executor import TrainingResult, evaluate_job
from search_spaces.registry import FILE_MODULE_PREFIX

_REMEDY = "workers=0 evaluates in the searching process, where nothing is sent"


class NotTransferable(ValueError):
    """An evaluator or a space that cannot be sent to another process; the message says which, why, and the way out."""


def transfer_bytes(evaluator: Evaluator, job: EvaluationJob) -> bytes:
    """Both as bytes for ``evaluate_transferred``; the graph exactly as it is. Raises ``NotTransferable``."""
    try:
        return _dumps((evaluator, job))
    except Exception as error:
        raise NotTransferable(_culprit(evaluator, job, error)) from error


def is_transferable(evaluator: Evaluator) -> bool:
    """Whether the evaluator can be sent to another process."""
    try:
        _dumps(evaluator)
    except Exception:  # noqa: BLE001 - pickling runs the evaluator's own code
        return False
    return True


def evaluate_transferred(content: bytes) -> TrainingResult:
    """Evaluate what ``transfer_bytes`` wrote, in the process that this is. Raises ``NotTransferable``."""
    try:
        evaluator, job = pickle.loads(content)  # noqa: S301 - the searching process's own bytes
    except Exception as error:  # noqa: BLE001 - unpickling runs the evaluator's own code, and imports it
        raise NotTransferable(
            f"what was sent cannot be read in a worker process: {type(error).__name__}: {error}; modules must be"
            f" importable there; {_REMEDY}"
        ) from None
    return evaluate_job(evaluator, job)


def _dumps(value: object) -> bytes:
    """Like a pickle, but what is defined in a script, a notebook or a function goes along with its code."""
    import cloudpickle

    for name, module in list(sys.modules.items()):
        if name.startswith(FILE_MODULE_PREFIX):  # loaded from a path: another process cannot import it by name
            cloudpickle.register_pickle_by_value(module)
    content: bytes = cloudpickle.dumps(value)
    return content


def _culprit(evaluator: Evaluator, job: EvaluationJob, error: Exception) -> str:
    """Which part of an evaluator and a job cannot be pickled, in a line."""
    parts: Iterator[tuple[str, Any, dict[str, Any]]] = iter(
        [
            (f"the evaluator {type(evaluator).__name__}", evaluator, vars(evaluator)),
            (f"the space {job.space.name!r}" if job.space else "", job.space, vars(job.space) if job.space else {}),
        ]
    )
    for what, whole, attributes in parts:
        reason = _reason(whole)
        if reason:
            for name, value in attributes.items():
                if own_reason := _reason(value):
                    reason = f"its attribute {name!r}, {type(value).__name__}: {own_reason}"
                    break
            return f"{what} cannot be sent to a worker process: {reason}; {_REMEDY}"
    return f"the job cannot be sent to a worker process: {type(error).__name__}: {error}; {_REMEDY}"


def _reason(value: object) -> str:
    """Why a value cannot be pickled; empty where it can."""
    try:
        _dumps(value)
    except Exception as error:  # noqa: BLE001 - pickling runs the value's own code
        return f"{type(error).__name__}: {error}"
    return ""
