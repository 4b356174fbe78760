"""Worker processes: results, planned failures, deaths, hangs."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass

import pytest

import nas
from evaluators.evaluator import OutOfTime
from nas.execution.executor import TrainingJob, TrainingResult, run_all
from nas.execution.in_process import InProcessExecutor
from nas.execution.local_processes import LocalProcessExecutor
from tests.support.fakes import StandIn


@dataclass(frozen=True)
class Scripted(StandIn):
    """Does what the network's width says: 8 works, 16 fails as planned, 24 dies, 32 hangs, 40 is a bug."""

    time_limit_s = 0.5

    def evaluate(self, graph: nas.Graph, *, seed: int) -> dict[str, float]:
        width = graph.output_shapes["output"][0]
        if width == 16:
            raise OutOfTime("more than 0.5 s")
        if width == 24:
            os.kill(os.getpid(), signal.SIGKILL)
        if width == 32:
            time.sleep(60)
        if width == 40:
            raise RuntimeError("a bug")
        return {"map": width / 100, "seed": float(seed)}


def training(width: int, seed: int = 0) -> TrainingJob:
    b = nas.Builder()
    return TrainingJob(b.build(b.conv(b.input((3, 8, 8)), width, 3)), seed)


@pytest.fixture(scope="module")
def workers() -> Iterator[LocalProcessExecutor]:
    with closing(LocalProcessExecutor(2, grace_s=2.0)) as executor:
        yield executor


def collect(executor: LocalProcessExecutor | InProcessExecutor, *trainings: TrainingJob) -> dict[int, TrainingResult]:
    return dict(run_all(executor, Scripted(), trainings))


def test_every_job_is_answered_and_failures_carry_their_reason(workers: LocalProcessExecutor) -> None:
    results = collect(workers, training(8, 3), training(16), training(8, 4))
    assert results[0].metrics == {"map": 0.08, "seed": 3.0}
    assert results[2].metrics == {"map": 0.08, "seed": 4.0}
    assert (results[1].failure, results[1].message) == ("out_of_time", "more than 0.5 s")


def test_a_worker_that_dies_fails_its_candidate_alone(workers: LocalProcessExecutor) -> None:
    results = collect(workers, training(24), training(8), training(8))
    assert results[0].failure == "worker_died"
    assert "memory" in results[0].message
    assert results[1].metrics["map"] == results[2].metrics["map"] == 0.08


def test_a_worker_that_hangs_is_ended(workers: LocalProcessExecutor) -> None:
    results = collect(workers, training(32), training(8))
    assert results[0].failure == "out_of_time"
    assert results[1].metrics["map"] == 0.08


def test_a_bug_in_an_evaluator_stops_the_run(workers: LocalProcessExecutor) -> None:
    with pytest.raises(RuntimeError, match="a bug"):
        collect(workers, training(40))
    with pytest.raises(RuntimeError, match="a bug"):
        collect(InProcessExecutor(), training(40))


def test_in_process_gives_the_same(workers: LocalProcessExecutor) -> None:
    trainings = [training(8, 1), training(16)]
    here, there = collect(InProcessExecutor(), *trainings), collect(workers, *trainings)
    assert [(r.metrics, r.failure, r.message) for r in here.values()] == [
        (there[index].metrics, there[index].failure, there[index].message) for index in here
    ]
