"""Worker processes: hangs, threads, deaths while idle, and what closing leaves; the contract tests have the rest."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Event

import pytest

import nas
from evaluators.evaluator import Evaluation, EvaluationJob, Evaluator, OutOfTime, QualityMetric
from nas.execution.executor import Executor, TrainingResult, run_all
from nas.execution.in_process import InProcessExecutor
from nas.execution.local_processes import LocalProcessExecutor


@dataclass(frozen=True)
class Scripted(Evaluator):
    """Does what the network's width says: 8 works, 16 fails as planned, 32 hangs, 40 is a bug."""

    time_limit_s = 0.5

    @property
    def metrics(self) -> tuple[QualityMetric, ...]:
        return tuple([QualityMetric(name) for name in ("map", "seed", "process", "threads")])

    def evaluate(self, job: EvaluationJob) -> Evaluation:
        import torch

        width = job.graph.output_shapes["output"][0]
        if width == 16:
            raise OutOfTime("more than 0.5 s")
        if width == 32:
            Path(job.architecture or os.devnull).write_text("begun", encoding="utf-8")
            time.sleep(60)
        if width == 40:
            raise RuntimeError("a bug")
        return Evaluation(
            {"map": width / 100, "seed": job.seed, "process": os.getpid(), "threads": torch.get_num_threads()}
        )


def training(width: int, seed: int = 0) -> EvaluationJob:
    b = nas.Builder()
    return EvaluationJob(b.build(b.conv(b.input((3, 8, 8)), width, 3)), seed=seed)


@pytest.fixture(scope="module")
def workers() -> Iterator[LocalProcessExecutor]:
    with closing(LocalProcessExecutor(2, grace_s=2.0)) as executor:
        yield executor


def collect(executor: Executor, *trainings: EvaluationJob) -> dict[int, TrainingResult]:
    return dict(run_all(executor, Scripted(), trainings))


def test_every_job_is_answered_and_failures_carry_their_reason(workers: LocalProcessExecutor) -> None:
    results = collect(workers, training(8, 3), training(16), training(8, 4))
    assert [results[i].metrics["seed"] for i in (0, 2)] == [3.0, 4.0]
    assert (results[1].failure, results[1].message) == ("out_of_time", "more than 0.5 s")
    assert os.getpid() not in {results[i].metrics["process"] for i in (0, 2)}


def test_a_worker_that_hangs_is_ended(workers: LocalProcessExecutor) -> None:
    started = time.monotonic()
    results = collect(workers, training(32), training(8))
    assert (results[0].failure, results[0].breach) == ("out_of_time", False)
    assert results[0].message == "no answer within 3 s; its process was ended"
    assert results[1].metrics["map"] == 0.08
    assert time.monotonic() - started < 40


def test_a_bug_in_an_evaluator_is_a_breach_here_and_there(workers: LocalProcessExecutor) -> None:
    here, there = (collect(executor, training(40))[0] for executor in (InProcessExecutor(), workers))
    assert (here.failure, here.breach, here.message) == (there.failure, there.breach, there.message)
    assert here.message.startswith("RuntimeError: a bug (")
    assert f"{__file__}:" in here.message


def test_a_worker_that_died_while_it_was_idle_harms_nobody() -> None:
    with closing(LocalProcessExecutor(1)) as executor:
        before = collect(executor, training(8))[0]
        os.kill(int(before.metrics["process"]), 9)
        after = collect(executor, training(8))[0]
        assert (after.failure, after.metrics["map"]) == ("", 0.08)
        assert after.metrics["process"] != before.metrics["process"]


def test_each_worker_has_its_threads() -> None:
    with closing(LocalProcessExecutor(1, threads=2)) as executor:
        assert collect(executor, training(8))[0].metrics["threads"] == 2


def test_a_job_that_was_cancelled_is_not_run() -> None:
    called: list[int] = []
    begun, release = Event(), Event()

    def middleware(job: EvaluationJob, train: Callable[[EvaluationJob], TrainingResult]) -> TrainingResult:
        called.append(job.seed)
        begun.set()
        release.wait(60)
        return TrainingResult({}, 0.0)

    with closing(LocalProcessExecutor(1)) as executor:
        first, second, third = [executor.submit(Scripted(), training(8, seed), middleware) for seed in range(3)]
        begun.wait(60)
        assert second.cancel()
        release.set()
        assert first.result(60) == third.result(60) == TrainingResult({}, 0.0)
    assert called == [0, 2]


def test_closing_ends_what_runs_and_its_middleware_learns_of_it(tmp_path: Path) -> None:
    """So that a claim on a network is given back."""
    raised: list[BaseException] = []

    def middleware(job: EvaluationJob, train: Callable[[EvaluationJob], TrainingResult]) -> TrainingResult:
        try:
            return train(job)
        except BaseException as error:
            raised.append(error)
            raise

    executor = LocalProcessExecutor(1, grace_s=600.0)
    job = replace(training(32), architecture=str(tmp_path / "begun"))
    running, queued = [executor.submit(Scripted(), job, middleware) for _ in range(2)]
    while not (tmp_path / "begun").exists():
        time.sleep(0.02)
    started = time.monotonic()
    executor.close()
    assert time.monotonic() - started < 20
    assert (running.done(), queued.cancelled()) == (True, True)
    assert [running.exception()] == raised
    assert isinstance(raised[0], CancelledError)


@pytest.mark.parametrize("arguments", [{"count": 0}, {"count": 1, "threads": 0}, {"count": 1, "grace_s": -1.0}])
def test_settings_that_make_no_sense_are_refused(arguments: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="not"):
        LocalProcessExecutor(**arguments)  # type: ignore[arg-type]
