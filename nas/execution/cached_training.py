"""Evaluations through the cache: the cache key of an evaluation, and who pays for it."""

from __future__ import annotations

import random
import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from evaluators.evaluator import EvaluationCost, EvaluationJob, Evaluator
from nas.cache import CachedResult, CacheKey, EvaluationCache
from nas.cache.records import CacheError
from nas.candidates.fidelity import exact_fraction
from nas.execution.executor import TrainingResult
from nas.hashing import functional_hash
from nas.hashing.isomorphism import UndecidedNetworks, same_network
from search_spaces.graph.serialise import graph_from_json

CACHE_OFF = "off"


def cache_key_of(evaluator: Evaluator, seed: int, fidelity: float = 1.0) -> CacheKey:
    """What a result at a fidelity depends on beside the network: the evaluator's own word, and the first seed.

    Raises ``CacheError`` where ``Evaluator.cache_identity`` lacks a part, or gives what cannot be stored.
    """
    identity = evaluator.cache_identity(fidelity)
    missing = [part for part in ("evaluator", "data", "fidelity") if part not in identity]
    if missing:
        raise CacheError(f"cache_identity() of {evaluator.name} has no {', '.join(missing)}")
    return CacheKey(
        evaluator=str(identity["evaluator"]),
        data=str(identity["data"]),
        fidelity=identity["fidelity"],
        seeds=f"from {seed}",
    )


def cache_keys_of(evaluator: Evaluator, seed: int, fidelities: Iterable[float]) -> dict[float, CacheKey]:
    """``cache_key_of`` the evaluator at each fidelity, no two alike.

    Where an evaluator does not tell two fidelities apart, the fraction becomes part of the smaller one's key.
    """
    cache_keys = {fidelity: cache_key_of(evaluator, seed, fidelity) for fidelity in fidelities}
    for fidelity, cache_key in cache_keys.items():
        if any(cache_key == other for one, other in cache_keys.items() if one > fidelity):
            cache_keys[fidelity] = replace(
                cache_key, fidelity={**cache_key.fidelity, "share": str(exact_fraction(fidelity))}
            )
    return cache_keys


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
    """Wraps an executor's evaluation: asks the cache first, and evaluates under a claim that others can see.

    The cache keeps figures and seconds alone: an answer from it has no curve, no cost and no artifact.
    """

    cache: EvaluationCache
    cache_key: CacheKey

    def __call__(self, job: EvaluationJob, train: Callable[[EvaluationJob], TrainingResult]) -> TrainingResult:
        """The job's result: from the cache, evaluated now, or waited for while another search does."""
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
    """Whether a result of one may be given for the other: not where it is undecided whether they are the same."""
    try:
        return same_network(graph_from_json(a), graph_from_json(b))
    except UndecidedNetworks:
        return False


def mean_result(trained: Sequence[TrainingResult]) -> tuple[TrainingResult, dict[str, float]]:
    """The mean of several evaluations of one network, and each metric's standard deviation; a failure fails them all.

    Seconds and cost are means as well, the memory the most that one took; curve and artifact are the first's.
    """
    for one in trained:
        if one.failure:
            return one, {}
    if len(trained) == 1:
        return trained[0], {}
    names = [n for n in trained[0].metrics if all(n in t.metrics for t in trained)]
    means = {n: statistics.fmean(t.metrics[n] for t in trained) for n in names}
    stds = {n: statistics.stdev(t.metrics[n] for t in trained) for n in names}
    seconds = statistics.fmean(t.seconds for t in trained)
    return replace(trained[0], metrics=means, seconds=seconds, cost=_mean_cost([t.cost for t in trained])), stds


def _mean_cost(costs: Sequence[EvaluationCost]) -> EvaluationCost:
    """The mean cost of those that say what they took, the most memory of any; ``None`` where none says."""
    seconds = [cost.seconds for cost in costs if cost.seconds is not None]
    images = [cost.images for cost in costs if cost.images is not None]
    memory = [cost.peak_memory_mib for cost in costs if cost.peak_memory_mib is not None]
    return EvaluationCost(
        statistics.fmean(seconds) if seconds else None,
        round(statistics.fmean(images)) if images else None,
        max(memory, default=None),
    )
