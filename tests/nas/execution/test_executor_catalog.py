"""Executors by name: the default, options, files, plug-ins, and who closes them."""

from __future__ import annotations

import threading
from concurrent.futures import Future
from dataclasses import dataclass, field
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest

from evaluators.evaluator import EvaluationJob, Evaluator
from nas.execution.catalog import EXECUTORS, ExecutorError, executors, make_executor, open_executor
from nas.execution.executor import Executor, Middleware, TrainingResult, call_through
from nas.execution.in_process import InProcessExecutor
from nas.execution.local_processes import LocalProcessExecutor
from nas.testing.executors import PracticeEvaluator
from search_spaces.registry import UnknownName


@dataclass
class Recording:
    """An executor that does nothing but remember how it was made, and whether it was closed."""

    workers: int | None = None
    cluster: str = ""
    closed: bool = False

    def submit(
        self, evaluator: Evaluator, job: EvaluationJob, middleware: Middleware = call_through
    ) -> Future[TrainingResult]:
        raise NotImplementedError

    def close(self) -> None:
        self.closed = True


def recording(*, workers: int | None, cluster: str = "here") -> Recording:
    return Recording(workers, cluster)


READY = Recording()
HERE = f"{__name__}:recording"


class Resident(PracticeEvaluator):
    isolated = False


@dataclass
class Locked(PracticeEvaluator):
    lock: Any = field(default_factory=threading.Lock)


def made(spec: str | Executor | None, workers: int | None = None, evaluator: Evaluator | None = None) -> Executor:
    return make_executor(spec, workers=workers, evaluator=evaluator or PracticeEvaluator())


def test_the_default_is_worker_processes_where_the_evaluator_can_be_sent() -> None:
    assert isinstance(made(None), LocalProcessExecutor)
    assert isinstance(made(None, workers=2), LocalProcessExecutor)
    assert isinstance(made(None, workers=0), InProcessExecutor)
    assert isinstance(made(None, evaluator=Resident()), InProcessExecutor)
    assert isinstance(made(None, evaluator=Locked()), InProcessExecutor)
    assert isinstance(make_executor(None, workers=2, evaluator=None), InProcessExecutor)


def test_a_name_a_path_and_an_object_are_taken(tmp_path: Path) -> None:
    assert isinstance(made("in_process", workers=4), InProcessExecutor)
    assert isinstance(made("local", evaluator=Resident()), LocalProcessExecutor)
    assert made(HERE, workers=3) == Recording(3, "here")
    assert made(f"{HERE}?cluster=there") == Recording(None, "there")
    assert made(READY) is READY
    assert made(f"{__name__}:READY") is READY
    file = tmp_path / "own.py"
    file.write_text(f"from {__name__} import Recording as Own", encoding="utf-8")
    assert made(f"{file}:Own", workers=2) == Recording(2)


def test_options_are_the_factorys(monkeypatch: pytest.MonkeyPatch) -> None:
    assert isinstance(made("local?threads=2&grace_s=1.5", workers=1), LocalProcessExecutor)
    assert made(f"{HERE}?cluster=8") == Recording(None, 8)  # type: ignore[arg-type]
    with pytest.raises(UnknownName, match="executor 'local': 'thread'; did you mean 'threads'"):
        made("local?thread=2")
    with pytest.raises(UnknownName, match="executor 'local': 'workers'"):
        made("local?workers=2")


@pytest.mark.parametrize(
    ("spec", "workers", "error", "message"),
    [
        ("locl", None, UnknownName, "no executor 'locl'; did you mean 'local'"),
        ("ray", None, UnknownName, "no executor 'ray'; known: in_process, local"),
        ("nas.nowhere:executor", None, UnknownName, "no module 'nas.nowhere'"),
        ("local", 0, ExecutorError, "'local' needs workers, not 0"),
        (None, -1, ExecutorError, "workers must be 0 or more, not -1"),
        ("local?threads=0", 1, ExecutorError, "cannot be made: needs at least one worker and one thread, not 1 and 0"),
        ("local?threads=two", 1, ExecutorError, "cannot be made"),
        (f"{__name__}:READY?cluster=there", None, ExecutorError, "takes no options"),
        ("math:sqrt", None, ExecutorError, "cannot be made"),
        ("builtins:dict", None, ExecutorError, r"'builtins:dict' makes is .*submit\(evaluator, job, middleware\)"),
        (InProcessExecutor, None, ExecutorError, "the executor is <class"),
    ],
)
def test_what_makes_no_executor_is_refused(spec: Any, workers: int | None, error: type, message: str) -> None:
    with pytest.raises(error, match=message):
        made(spec, workers)


def test_plug_ins_add_rows_that_are_not_loaded_before_they_are_used(monkeypatch: pytest.MonkeyPatch) -> None:
    group = "nas.executors"
    points = [EntryPoint("fake", HERE, group), EntryPoint("local", HERE, group), EntryPoint("gone", "gone:x", group)]
    monkeypatch.setattr(
        "search_spaces.registry.entry_points", lambda **asked: points if asked == {"group": group} else ()
    )
    assert executors() == {**EXECUTORS, "fake": HERE, "gone": "gone:x"}
    assert made("fake", workers=5) == Recording(5, "here")
    assert isinstance(made("local"), LocalProcessExecutor)


def test_what_was_made_is_closed_and_what_was_given_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    given = Recording()
    with open_executor(given, workers=None, evaluator=None) as executor:
        assert executor is given
    assert not given.closed
    with pytest.raises(LookupError), open_executor(HERE, workers=1, evaluator=None) as executor:
        raise LookupError
    assert isinstance(executor, Recording)
    assert executor.closed
