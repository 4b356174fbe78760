"""Contract tests of executors."""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, Future, wait
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any

from evaluators.evaluator import (
    Artifact,
    CurvePoint,
    Diverged,
    Evaluation,
    EvaluationCost,
    EvaluationJob,
    Evaluator,
    QualityMetric,
)
from nas.execution.executor import Executor, TrainingResult, evaluate_job
from nas.execution.transfer import NotTransferable
from nas.testing.searchers import practice_space
from search_spaces.space.space import Space


@dataclass
class PracticeEvaluator(Evaluator):
    """Trains nothing; its figure depends on everything that a job holds. ``conduct`` says how it behaves.

    ``good``; ``fails`` as evaluators may; ``raises`` an exception; ``strays``: another metric than the declared;
    ``exits`` and ``is_killed``: its process ends; ``pauses`` for ``pause_s`` first.
    """

    conduct: str = "good"
    pause_s: float = 0.0
    time_limit_s: float = 600.0

    @property
    def metrics(self) -> tuple[QualityMetric, ...]:
        return (QualityMetric("accuracy"),)

    def evaluate(self, job: EvaluationJob) -> Evaluation:
        time.sleep(self.pause_s)
        if self.conduct == "fails":
            raise Diverged("the loss is nan after 3 steps")
        if self.conduct == "raises":
            raise KeyError("no such class")
        if self.conduct == "strays":
            return Evaluation({"acuracy": 0.5})
        if self.conduct == "exits":
            os._exit(3)
        if self.conduct == "is_killed":
            os.kill(os.getpid(), signal.SIGKILL if hasattr(signal, "SIGKILL") else signal.SIGTERM)
        return Evaluation({"accuracy": _figure(job)}, (CurvePoint(64, {"loss": 0.25}),), _COST, _artifact())


_COST = EvaluationCost(seconds=1.5, images=64, peak_memory_mib=8.0)


def _figure(job: EvaluationJob) -> float:
    """A number from 0 to 1 out of everything that a job holds."""
    rebuilt = job.space.graph(job.genotype).digest if job.space else ""
    held = (job.graph.digest, rebuilt, dict(job.genotype), job.seed, job.fidelity, job.architecture, job.key)
    text = repr((*held, job.ordinal, job.compute_device, job.keep_artifact))
    return int.from_bytes(blake2b(text.encode(), digest_size=6).digest()) / 2**48


def _artifact() -> Artifact:
    import torch

    weight = torch.arange(6, dtype=torch.float32).reshape(2, 3)
    return Artifact({"weight": weight, "tied": weight, "transposed": weight.t()}, {"classes": "cat,dog"})


@dataclass
class UnsendableEvaluator(PracticeEvaluator):
    """An evaluator that no other process can be sent."""

    lock: Any = field(default_factory=threading.Lock)


class ExecutorContract:
    """What every executor keeps (``nas.execution.executor.Executor``). Subclasses define ``make_executor``.

    ``survives_exit``: whether an evaluation that ends its process harms no other; ``False`` where it runs in the
    process of the tests. ``patience_s``: for anything that should happen at once, a start of workers among it.
    """

    survives_exit: bool = True
    patience_s: float = 120.0

    def make_executor(self) -> Executor:
        """A new executor, of two workers where it has any."""
        raise NotImplementedError(f"{type(self).__name__} needs make_executor, which returns the executor to test")

    def test_results_are_those_of_this_process(self) -> None:
        """Of jobs that work, fail as planned, raise, and answer wrongly; all that a job holds arrives."""
        with self._executor() as executor:
            for conduct in ("good", "fails", "raises", "strays"):
                evaluator = PracticeEvaluator(conduct)
                for job in (_job(0), _job(1, keep_artifact=True)):
                    there, here = self._result(executor.submit(evaluator, job)), evaluate_job(evaluator, job)
                    what = f"of an evaluator that is {conduct!r}"
                    assert there.metrics == here.metrics, f"the figures {what} are {there.metrics}, not {here.metrics}"
                    assert (there.failure, there.breach) == (here.failure, here.breach), (
                        f"the failure {what} is {there.failure!r}, breach {there.breach}, not {here.failure!r},"
                        f" breach {here.breach}"
                    )
                    text = here.message.partition(" (")[0]  # the path behind it may be another there
                    assert there.message.startswith(text), f"the message {what} is {there.message!r}, not {text!r}"
                    assert (there.curve, there.cost) == (here.curve, here.cost), f"curve or cost {what} is another"
                    assert there.artifact == here.artifact, f"the artifact {what} is another"
                    assert there.kind == "miss", f"the result {what} is a {there.kind!r}, not a miss"

    def test_several_at_once_are_told_apart(self) -> None:
        evaluator, jobs = PracticeEvaluator(), [_job(seed) for seed in range(8)]
        with self._executor() as executor:
            futures = [executor.submit(evaluator, job) for job in jobs]
            for job, future in zip(jobs, futures, strict=True):
                metrics = self._result(future).metrics
                assert metrics == {"accuracy": _figure(job)}, f"the job of seed {job.seed} got another one's answer"

    def test_a_worker_that_dies_fails_its_candidate_alone(self) -> None:
        """It exits or is killed, with other jobs queued, and one submitted later."""
        self._skip_unless(self.survives_exit, "evaluations run in the process of the tests")
        with self._executor() as executor:
            for conduct in ("exits", "is_killed"):
                others = [_job(seed) for seed in range(3)]
                dying = executor.submit(PracticeEvaluator(conduct), _job(0))
                futures = [executor.submit(PracticeEvaluator(), job) for job in others]
                result = self._result(dying)
                assert (result.failure, result.breach) == ("worker_died", False), (
                    f"an evaluation that {conduct.replace('_', ' ')} ends as {result.failure!r}, breach"
                    f" {result.breach}; worker_died, and no breach, is due"
                )
                assert result.message, "worker_died comes without a word"
                futures.append(executor.submit(PracticeEvaluator(), others[0]))
                for job, future in zip((*others, others[0]), futures, strict=True):
                    survived = self._result(future)
                    assert survived.metrics == {"accuracy": _figure(job)}, (
                        f"beside an evaluation that {conduct.replace('_', ' ')}, another fails: {survived.failure}"
                        f" {survived.message}"
                    )

    def test_close_ends_what_runs_and_cancels_what_is_queued(self) -> None:
        long_s = 10 * self.patience_s if self.survives_exit else 0.1
        executor = self.make_executor()
        futures = [executor.submit(PracticeEvaluator(pause_s=long_s), _job(seed)) for seed in range(6)]
        executor.close()
        give_up = time.monotonic() + self.patience_s
        while not all(future.done() for future in futures) and time.monotonic() < give_up:
            time.sleep(0.01)
        unfinished = sum(not future.done() for future in futures)
        assert not unfinished, f"{unfinished} of {len(futures)} futures are open after close()"
        for job, future in enumerate(futures):
            if future.cancelled():
                continue
            error = future.exception()
            assert error is None or isinstance(error, CancelledError), f"after close() a future raises {error!r}"
            if error is None:
                assert future.result().metrics == {"accuracy": _figure(_job(job))}, "close() leaves a wrong answer"
        executor.close()
        try:
            executor.submit(PracticeEvaluator(), _job(0))
        except RuntimeError:
            return
        raise AssertionError("submit() takes a job after close(); RuntimeError is due")

    def test_what_cannot_be_sent_is_refused_or_needs_no_sending(self) -> None:
        """An evaluator or a space that cannot be pickled: evaluated, or ``NotTransferable``; and others go on."""
        lock = threading.Lock()

        def unsendable(choose: Any) -> Any:
            with lock:
                return practice_space(choose)

        space = Space(unsendable)
        genotype = space.sample(random.Random(0))
        job_of_it = EvaluationJob(space.graph(genotype), genotype, space)
        with self._executor() as executor:
            for evaluator, job in ((UnsendableEvaluator(), _job(0)), (PracticeEvaluator(), job_of_it)):
                self._assert_evaluated_or_refused(executor, evaluator, job)
            assert self._result(executor.submit(PracticeEvaluator(), _job(0))).metrics == {"accuracy": _figure(_job(0))}

    def test_the_middleware_is_called_once_for_each_job(self) -> None:
        seen: list[int] = []

        def middleware(job: EvaluationJob, train: Callable[[EvaluationJob], TrainingResult]) -> TrainingResult:
            seen.append(job.seed)
            if job.seed == 1:
                return TrainingResult({"accuracy": 0.25}, 0.5, kind="full")
            if job.seed == 2:
                raise LookupError("the cache is gone")
            return train(job)

        with self._executor() as executor:
            futures = [executor.submit(PracticeEvaluator(), _job(seed), middleware) for seed in range(4)]
            wait(futures, timeout=self.patience_s)
        assert sorted(seen) == [0, 1, 2, 3], f"the middleware is called for the jobs {sorted(seen)}, not for 0 to 3"
        for seed in (0, 3):
            assert self._result(futures[seed]).metrics == {"accuracy": _figure(_job(seed))}
        answered = self._result(futures[1])
        assert (answered.metrics, answered.kind) == ({"accuracy": 0.25}, "full"), (
            f"the middleware's own answer becomes {answered}"
        )
        assert isinstance(futures[2].exception(), LookupError), "what the middleware raises is not raised by the future"

    @contextmanager
    def _executor(self) -> Iterator[Executor]:
        executor = self.make_executor()
        try:
            yield executor
        finally:
            executor.close()

    def _result(self, future: Future[TrainingResult]) -> TrainingResult:
        try:
            result = future.result(timeout=self.patience_s)
        except TimeoutError:
            raise AssertionError(f"no result within {self.patience_s:g} s") from None
        assert isinstance(result, TrainingResult), f"the future has {type(result).__name__}, not a TrainingResult"
        return result

    def _assert_evaluated_or_refused(self, executor: Executor, evaluator: Evaluator, job: EvaluationJob) -> None:
        try:
            result = self._result(executor.submit(evaluator, job))
        except Exception as error:
            if not isinstance(error, NotTransferable) or not str(error).strip():
                raise AssertionError(f"what cannot be sent ends in {error!r}, not in NotTransferable") from error
        else:
            assert result.metrics == {"accuracy": _figure(job)}, f"what cannot be sent ends as {result}"

    def _skip_unless(self, condition: bool, reason: str) -> None:
        if not condition:
            import pytest

            pytest.skip(reason)


def _job(seed: int, *, keep_artifact: bool = False) -> EvaluationJob:
    """A job with a value of its own in every field."""
    space = Space(practice_space, options={"num_classes": 3})
    genotype = space.sample(random.Random(seed))
    return EvaluationJob(
        space.graph(genotype),
        genotype,
        space,
        seed=seed,
        fidelity=1 / (seed + 1),
        architecture=space.format(genotype),
        key=f"key {seed}",
        ordinal=seed,
        compute_device="cpu",
        keep_artifact=keep_artifact,
    )
