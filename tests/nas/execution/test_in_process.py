"""Evaluations in this process: the same figures as a worker's, whatever number of threads the process has."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from nas.execution.in_process import InProcessExecutor, in_process

ROOT = Path(__file__).parents[3]

SCRIPT = """
import json
from contextlib import closing

import torch

import nas
from evaluators.evaluator import Evaluation, EvaluationJob, Evaluator, QualityMetric
from nas.execution.catalog import make_executor


class OwnTraining(Evaluator):
    metrics = (QualityMetric("loss"), QualityMetric("threads"))

    def evaluate(self, job):
        torch.manual_seed(job.seed)
        layers = [torch.nn.Conv2d(3, 48, 3), torch.nn.ReLU(), torch.nn.Conv2d(48, 8, 3), torch.nn.Flatten()]
        network = torch.nn.Sequential(*layers, torch.nn.Linear(8 * 28 * 28, 10))
        images, labels = torch.randn(64, 3, 32, 32), torch.arange(64) % 10
        optimizer = torch.optim.SGD(network.parameters(), lr=0.05)
        for _ in range(6):
            optimizer.zero_grad()
            loss = torch.nn.functional.cross_entropy(network(images), labels)
            loss.backward()
            optimizer.step()
        return Evaluation({"loss": loss.item(), "threads": torch.get_num_threads()})


class Breaking(Evaluator):
    metrics = (QualityMetric("loss"),)

    def evaluate(self, job):
        torch.set_num_threads(3)
        raise RuntimeError("broken")


def answer(spec, workers, evaluator):
    b = nas.Builder()
    job = EvaluationJob(b.build(b.conv(b.input((3, 8, 8)), 8, 3)), seed=5)
    with closing(make_executor(spec, workers=workers, evaluator=evaluator)) as executor:
        return executor.submit(evaluator, job).result(120)


torch.set_num_threads(2)
executors = {"here": (None, 0), "there": (None, 1), "two": ("in_process?threads=2", 0)}
answers = {name: answer(*executor, OwnTraining()).metrics for name, executor in executors.items()}
failure = answer(None, 0, Breaking()).failure
print(json.dumps({**answers, "failure": failure, "after": torch.get_num_threads()}))
"""


def test_no_worker_and_one_give_the_same_figures_in_a_process_of_several_threads() -> None:
    environment = {name: value for name, value in os.environ.items() if not name.endswith("_NUM_THREADS")}
    run = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        capture_output=True,
        text=True,
        env={**environment, "PYTHONPATH": str(ROOT)},
        timeout=300,
    )
    assert run.returncode == 0, run.stderr
    found = json.loads(run.stdout)
    assert found["here"] == found["there"]
    assert found["here"]["threads"] == 1
    assert found["two"]["threads"] == 2
    assert (found["failure"], found["after"]) == ("error", 2)


def test_an_executor_without_threads_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one thread, not 0"):
        InProcessExecutor(threads=0)
    assert isinstance(in_process(workers=3, threads=2), InProcessExecutor)
