"""Trainings through the evaluation cache: the cache key of a training, and who trains it."""

from __future__ import annotations

import hashlib
import inspect
import json
import random
import statistics
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from evaluators.evaluator import QualityEvaluator
from nas.cache import CachedResult, CacheKey, EvaluationCache
from nas.candidates.fidelity import exact_fraction
from nas.execution.executor import TrainingJob, TrainingResult
from nas.hashing import functional_hash
from nas.hashing.isomorphism import same_network
from nas.version import __version__
from search_spaces.graph.serialise import graph_from_json

CACHE_OFF = "off"


def cache_key_of(evaluator: QualityEvaluator, seed: int) -> CacheKey:
    """What a training's result depends on beside the network: the evaluator by its own word, and the first seed.

    An evaluator may identify itself with
    ``cache_identity() -> {"evaluator": name/version, "data": digest, "fidelity": {...}}``.
    One that does not is identified by its class and that class's source, its attributes, and its ``describe()``.
    """
    identity: Mapping[str, Any]
    cache_identity = getattr(evaluator, "cache_identity", None)
    identity = cache_identity() if cache_identity is not None else _source_identity(evaluator)
    return CacheKey(
        evaluator=f"{identity['evaluator']} nas-{__version__}",
        data=str(identity["data"]),
        fidelity=identity["fidelity"],
        seeds=f"from {seed}",
    )


def cache_keys_of(evaluators: Mapping[float, QualityEvaluator], seed: int) -> dict[float, CacheKey]:
    """``cache_key_of`` the evaluator at each fidelity, no two alike.

    An evaluator that does not say for how many steps it trains gets the fidelity as part of its key.
    """
    cache_keys = {fidelity: cache_key_of(evaluator, seed) for fidelity, evaluator in evaluators.items()}
    for fidelity, cache_key in cache_keys.items():
        if any(cache_key == other for one, other in cache_keys.items() if one > fidelity):
            cache_keys[fidelity] = replace(
                cache_key, fidelity={**cache_key.fidelity, "share": str(exact_fraction(fidelity))}
            )
    return cache_keys


def _source_identity(evaluator: QualityEvaluator) -> dict[str, Any]:
    kind = type(evaluator)
    try:
        source = inspect.getsource(kind)
    except (OSError, TypeError):
        source = ""
    state = getattr(evaluator, "__dict__", {})
    state_text = json.dumps([source, evaluator.describe(), evaluator.proxy, state], default=repr, sort_keys=True)
    digest = hashlib.blake2b(state_text.encode(), digest_size=16).hexdigest()
    return {"evaluator": f"{kind.__module__}.{kind.__qualname__}", "data": digest, "fidelity": {}}


def repeat_seed(seed: int, ordinal: int) -> int:
    """The seed of a network's training number ``ordinal``: the search's own for the first."""
    return seed if ordinal == 0 else random.Random(f"{seed}:{ordinal}").getrandbits(31)


def open_cache(cache: str | Path | EvaluationCache | None, directory: Path) -> tuple[EvaluationCache | None, bool]:
    """The cache, and whether it was opened here. Empty: the file of this folder; ``off`` or ``None``: none."""
    if isinstance(cache, EvaluationCache):
        return cache, False
    if cache is None or cache == CACHE_OFF:
        return None, False
    if cache == "":
        directory.mkdir(parents=True, exist_ok=True)
        return EvaluationCache(default_cache(directory)), True
    return EvaluationCache(cache), True


def default_cache(directory: Path) -> Path:
    """The cache file that the searches of a folder share."""
    return directory / "evaluations.sqlite"


@dataclass(frozen=True)
class CachedTraining:
    """Wraps an executor's training: asks the cache first, and trains under a claim that others can see."""

    cache: EvaluationCache
    cache_key: CacheKey

    def __call__(self, job: TrainingJob, train: Callable[[TrainingJob], TrainingResult]) -> TrainingResult:
        """This training's result: from the cache, trained now, or waited for while another search trains it."""
        graph = job.graph
        network = self.cache.network(functional_hash(graph), graph.digest, graph.to_json, _is_same_network)
        result = self.cache.result_or_claim(network, self.cache_key, job.ordinal)
        if isinstance(result, CachedResult):
            (observation,) = result.observations
            return TrainingResult(dict(observation.metrics), observation.seconds, kind=result.kind)
        with result as claim:
            trained = train(job)
            if not trained.failure:  # the cache keeps no failures
                claim.complete(trained.metrics, trained.seconds, job.seed)
            return trained


def _is_same_network(a: str, b: str) -> bool:
    return same_network(graph_from_json(a), graph_from_json(b))


def mean_result(trained: list[TrainingResult]) -> tuple[TrainingResult, dict[str, float]]:
    """The mean of several trainings of one network, and each metric's standard deviation; a failure fails them all."""
    for one in trained:
        if one.failure:
            return one, {}
    if len(trained) == 1:
        return trained[0], {}
    names = [n for n in trained[0].metrics if all(n in t.metrics for t in trained)]
    means = {n: statistics.fmean(t.metrics[n] for t in trained) for n in names}
    stds = {n: statistics.stdev(t.metrics[n] for t in trained) for n in names}
    return replace(trained[0], metrics=means, seconds=statistics.fmean(t.seconds for t in trained)), stds
