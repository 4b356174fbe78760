"""Evaluators and jobs as bytes for another process: exact, also from scripts and files, or refused with the reason."""

from __future__ import annotations

import pickle
import random
import threading
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

import nas
from evaluators.evaluator import EvaluationJob
from nas.execution.executor import evaluate_job, run_all
from nas.execution.local_processes import LocalProcessExecutor
from nas.execution.transfer import NotTransferable, evaluate_transferred, is_transferable, transfer_bytes
from nas.testing.executors import PracticeEvaluator
from search_spaces.registry import import_file
from search_spaces.space.space import Space
from tests.support.fakes import small_space

EVALUATOR_FILE = """
import nas
from evaluators.evaluator import Evaluation, Evaluator, QualityMetric

SCALE = 1000


def tower(choose: nas.Choose) -> nas.Graph:
    b = nas.Builder()
    return b.build(b.conv(b.input((3, 8, 8)), choose.one_of("width", (4, 8)), 3))


class Weighing(Evaluator):
    @property
    def metrics(self):
        return (QualityMetric("weight", "minimize"),)

    def evaluate(self, job):
        return Evaluation({"weight": job.space.graph(job.genotype).params / SCALE})
"""


@dataclass
class Locked(PracticeEvaluator):
    lock: Any = field(default_factory=threading.Lock)


def job_of(space: Space) -> EvaluationJob:
    genotype = space.sample(random.Random(0))
    return EvaluationJob(space.graph(genotype), genotype, space, seed=3)


def test_what_arrives_is_what_was_sent() -> None:
    job = job_of(Space(small_space, options={"image_size": 16}))
    evaluator = PracticeEvaluator()
    sent = pickle.loads(transfer_bytes(evaluator, job))  # noqa: S301 - our own bytes
    assert sent[0] == evaluator
    assert sent[1].graph.digest == job.graph.digest
    assert [tuple(node) for node in sent[1].graph.nodes] == [tuple(node) for node in job.graph.nodes]
    assert (sent[1].genotype, sent[1].seed) == (job.genotype, 3)
    assert sent[1].space.graph(job.genotype) == job.graph
    there, here = evaluate_transferred(transfer_bytes(evaluator, job)), evaluate_job(evaluator, job)
    assert (there.metrics, there.curve) == (here.metrics, here.curve)


def test_a_space_is_sent_without_what_was_learned_by_running_it() -> None:
    space = Space(small_space)
    before = pickle.dumps(space)
    for seed in range(20):
        space.sample(random.Random(seed))
    assert pickle.dumps(space) == before


def test_a_space_and_an_evaluator_of_a_file_work_in_workers(tmp_path: Path) -> None:
    path = tmp_path / "weighing.py"
    path.write_text(EVALUATOR_FILE, encoding="utf-8")
    evaluator = import_file(path, "Weighing", ValueError)()
    space = nas.load_space(f"{path}:tower")
    job = job_of(space)
    with closing(LocalProcessExecutor(1)) as workers:
        ((_, result),) = run_all(workers, evaluator, [job])
    assert (result.failure, result.message) == ("", "")
    assert result.metrics == {"weight": job.graph.params / 1000}


def test_a_space_and_an_evaluator_of_a_function_work_in_workers() -> None:
    factor = 3.0

    class Local(PracticeEvaluator):
        def evaluate(self, job: EvaluationJob) -> Any:
            return type(super().evaluate(job))({"accuracy": factor})

    def local_space(choose: nas.Choose) -> nas.Graph:
        return small_space(choose, image_size=16)

    with closing(LocalProcessExecutor(1)) as workers:
        ((_, result),) = run_all(workers, Local(), [job_of(Space(local_space))])
    assert (result.metrics, result.message) == ({"accuracy": 3.0}, "")


def test_what_cannot_be_sent_is_named_with_the_reason_and_the_way_out() -> None:
    lock = threading.Lock()

    def locked_space(choose: nas.Choose) -> nas.Graph:
        with lock:
            return small_space(choose)

    assert is_transferable(PracticeEvaluator())
    assert not is_transferable(Locked())
    job = job_of(Space(small_space))
    with pytest.raises(NotTransferable, match=r"evaluator Locked .* 'lock', lock: TypeError: cannot pickle.*workers=0"):
        transfer_bytes(Locked(), job)
    with pytest.raises(NotTransferable, match=r"space 'locked_space' .* 'function', function: .*lock.*workers=0"):
        transfer_bytes(PracticeEvaluator(), job_of(Space(locked_space)))


def test_what_cannot_be_read_is_refused_with_the_reason() -> None:
    with pytest.raises(NotTransferable, match=r"cannot be read in a worker process: ModuleNotFoundError: .*'gone'"):
        evaluate_transferred(b"cgone\nEvaluator\n.")
