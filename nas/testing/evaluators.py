"""Contract tests of evaluators."""

from __future__ import annotations

import json
import random
import struct
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from evaluators.evaluator import EvaluationJob, Evaluator, QualityMetric
from hardware_models.catalog import load_hardware
from nas.execution.cached_training import cache_key_of
from nas.execution.executor import TrainingResult, evaluate_job
from nas.execution.transfer import evaluate_transferred, transfer_bytes
from nas.hashing import functional_hash
from nas.testing.global_seeds import other_global_seeds
from search_spaces.catalog import load_space
from search_spaces.graph.builder import Builder
from search_spaces.graph.graph import Graph
from search_spaces.space.space import Space


class EvaluatorContract:
    """What every evaluator keeps. Subclasses define ``make_evaluator``; one that takes little time.

    ``space``: whose networks it evaluates, built with its ``proxy`` options and under a head for its ``task``.
    ``hardware``: what ``prepare`` is given. ``fidelity``: one below 1 that it is tried at, if it evaluates in part.
    """

    space: str = "mobiledet"
    hardware: str = "edgetpu"
    seed: int = 0
    fidelity: float = 1 / 3

    def make_evaluator(self) -> Evaluator:
        """A new instance of the evaluator."""
        raise NotImplementedError(f"{type(self).__name__} needs make_evaluator, which returns the evaluator to test")

    def make_space(self, evaluator: Evaluator) -> Space:
        """A space of networks that it can evaluate, at proxy scale."""
        from search_spaces.task_heads import space_for_task

        space = load_space(self.space)
        space = space_for_task(space, evaluator.task) if evaluator.task else space
        return space.with_options(**{n: v for n, v in evaluator.proxy.items() if space.accepts(n)})

    def make_wrong_graphs(self) -> Sequence[Graph]:
        """Networks that it cannot evaluate; empty where it takes any."""
        b = Builder()
        return [b.build(b.linear(b.input((5,)), 2))]

    def make_job(self, evaluator: Evaluator, *, fidelity: float = 1.0, keep_artifact: bool = False) -> EvaluationJob:
        """A job that it can do."""
        space = self.make_space(evaluator)
        genotype = space.sample(random.Random(self.seed))
        graph = space.graph(genotype)
        return EvaluationJob(
            graph,
            genotype,
            space,
            seed=self.seed,
            fidelity=fidelity,
            architecture=space.format(genotype),
            key=functional_hash(graph),
            keep_artifact=keep_artifact,
        )

    def test_it_describes_itself(self) -> None:
        evaluator = self.make_evaluator()
        for what, text in (("name", evaluator.name), ("describe()", evaluator.describe())):
            assert isinstance(text, str), f"{what} is {text!r}, not a text"
            assert text, f"{what} is empty"
        assert evaluator.time_limit_s > 0, f"time_limit_s is {evaluator.time_limit_s!r}; it must be above 0"

    def test_it_declares_its_metrics(self) -> None:
        metrics = self.make_evaluator().metrics
        assert isinstance(metrics, tuple), f"metrics is {metrics!r:.80}, not a tuple of QualityMetrics"
        assert metrics, "metrics is empty: a search has nothing to optimise"
        for metric in metrics:
            assert isinstance(metric, QualityMetric), f"metrics holds {metric!r:.80}, not a QualityMetric"
            assert metric.name.isidentifier(), f"the metric {metric.name!r} has a name that objectives cannot spell"
            assert metric.direction in ("minimize", "maximize"), f"{metric.name} is to {metric.direction!r}"
        names = [metric.name for metric in metrics]
        assert len(set(names)) == len(names), f"metrics declares a name twice: {', '.join(names)}"

    def test_it_is_plain_data(self) -> None:
        evaluator = self.make_evaluator()
        identity = evaluator.cache_identity(1.0)
        for what, value in (
            ("proxy", evaluator.proxy),
            ("deploy", evaluator.deploy),
            ("cache_identity()", identity),
        ):
            assert _is_json_data(value), f"{what} is no plain data that JSON keeps: {value!r}"
        cache_key_of(evaluator, self.seed)
        other = self.make_evaluator().cache_identity(1.0)
        assert other == identity, f"cache_identity() is {identity} and then {other}"

    def test_it_takes_its_networks_and_refuses_others(self) -> None:
        evaluator = self.make_evaluator()
        evaluator.check(self.make_job(evaluator).graph)
        for graph in self.make_wrong_graphs():
            try:
                evaluator.check(graph)
            except ValueError as error:
                message = str(error)
            else:
                raise AssertionError(f"check() takes {graph!r}, which it cannot evaluate")
            assert message.strip(), "check() refuses a network without a word"

    def test_it_gives_every_metric_that_it_declares(self) -> None:
        """And no other, each a finite number; learning curve, cost and artifact are what they should be."""
        with self._prepared() as (evaluator, _):
            result = self._evaluate(evaluator, self.make_job(evaluator, keep_artifact=True))
        images = [point.images for point in result.curve]
        assert images == sorted(images), f"the curve goes back: it is at {images} images"
        if result.artifact is not None:
            _assert_artifact_loads(result.artifact)

    def test_the_same_seed_gives_the_same_figures(self) -> None:
        """From another instance too, and in whatever state the global random sources are."""
        with self._prepared() as (first, _), other_global_seeds(1):
            figures = self._evaluate(first, self.make_job(first)).metrics
        with self._prepared() as (second, _), other_global_seeds(2):
            repeated = self._evaluate(second, self.make_job(second)).metrics
        assert figures == repeated, f"seed {self.seed} gives {figures} and then {repeated}"

    def test_prepare_goes_on_where_it_was(self) -> None:
        """A search that is resumed calls it again, on a new instance and the same folder."""
        with self._prepared() as (first, workspace):
            figures = self._evaluate(first, self.make_job(first)).metrics
            second = self.make_evaluator()
            self._prepare(second, workspace)
            repeated = self._evaluate(second, self.make_job(second)).metrics
        assert figures == repeated, f"prepared again in the same folder it gives {figures} and then {repeated}"

    def test_it_can_be_sent_to_a_worker(self) -> None:
        """A copy that was sent gives the same figures; not asked where it is not ``isolated``."""
        with self._prepared() as (evaluator, _):
            if not evaluator.isolated:
                return
            job = self.make_job(evaluator)
            content = transfer_bytes(evaluator, job)
            figures = self._evaluate(evaluator, job).metrics
            repeated = evaluate_transferred(content)
        assert repeated.metrics == figures, (
            f"a copy for another process gives {repeated.metrics or repeated.message}, not {figures}"
        )

    def test_a_fidelity_is_refused_or_evaluated(self) -> None:
        """In full always; in part with figures and a cache identity of its own, or refused by ``check_fidelities``."""
        evaluator = self.make_evaluator()
        evaluator.check_fidelities((1.0,))
        try:
            evaluator.check_fidelities((self.fidelity, 1.0))
        except ValueError as error:
            if str(error).strip():
                return
            raise AssertionError("check_fidelities() refuses without a word") from error
        identities = evaluator.cache_identity(self.fidelity), evaluator.cache_identity(1.0)
        assert _is_json_data(identities[0]), f"cache_identity() is no plain data that JSON keeps: {identities[0]!r}"
        assert identities[0] != identities[1], (
            f"check_fidelities() takes {self.fidelity:.3g}, and cache_identity() is that of 1: {identities[0]}"
        )
        with self._prepared() as (prepared, _):
            self._evaluate(prepared, self.make_job(prepared, fidelity=self.fidelity))

    @contextmanager
    def _prepared(self) -> Iterator[tuple[Evaluator, Path]]:
        """A prepared evaluator, and its workspace."""
        with tempfile.TemporaryDirectory() as folder:
            evaluator = self.make_evaluator()
            self._prepare(evaluator, Path(folder))
            yield evaluator, Path(folder)

    def _prepare(self, evaluator: Evaluator, workspace: Path) -> None:
        evaluator.prepare(self.make_space(evaluator), load_hardware(self.hardware), workspace)

    def _evaluate(self, evaluator: Evaluator, job: EvaluationJob) -> TrainingResult:
        result = evaluate_job(evaluator, job)
        assert not result.failure, f"{result.failure}: {result.message}"
        return result


def _assert_artifact_loads(content: bytes) -> None:
    """The artifact is read back as finite tensors."""
    import torch
    from safetensors.torch import load

    tensors = load(content)
    for name, tensor in tensors.items():
        assert not tensor.is_floating_point() or bool(torch.isfinite(tensor).all()), f"{name} of the artifact is nan"
    (length,) = struct.unpack_from("<Q", content)
    metadata = json.loads(content[8 : 8 + length]).get("__metadata__", {})
    assert all(isinstance(text, str) for text in metadata.values()), f"the artifact's metadata is {metadata!r}"


def _is_json_data(value: Any) -> bool:
    """Whether JSON gives the value back, with lists for its tuples."""
    try:
        return bool(json.loads(json.dumps(value, allow_nan=False)) == _tuples_as_lists(value))
    except (TypeError, ValueError):
        return False


def _tuples_as_lists(value: Any) -> Any:
    """``value`` with lists for tuples, as JSON has them."""
    if isinstance(value, dict):
        return {name: _tuples_as_lists(v) for name, v in value.items()}
    return [_tuples_as_lists(v) for v in value] if isinstance(value, list | tuple) else value
