"""Between a search and the evaluation cache: what a training is called there, and who trains it."""

from __future__ import annotations

import hashlib
import inspect
import json
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from evaluators.evaluator import QualityEvaluator
from nas.cache import EvaluationCache, Question
from nas.candidates.fidelity import exact
from nas.execution.executor import Trained, Training
from nas.hashing import functional_hash
from nas.hashing.isomorphism import same_network
from nas.version import __version__
from search_spaces.graph.graph import Graph

OFF = "off"


def question_of(evaluator: QualityEvaluator, seed: int) -> Question:
    """What a search asks of a network: by what the evaluator says of itself, and the seed its trainings begin with.

    An evaluator may say so with ``cache_identity() -> {"evaluator": name/version, "data": digest, "fidelity": {...}}``.
    One that does not is known by its class and that class's source, its attributes, and its ``describe()``.
    """
    identity: Mapping[str, Any]
    said = getattr(evaluator, "cache_identity", None)
    identity = said() if said is not None else _own_identity(evaluator)
    return Question(
        evaluator=f"{identity['evaluator']} nas-{__version__}",
        data=str(identity["data"]),
        fidelity=identity["fidelity"],
        seeds=f"from {seed}",
    )


def questions_of(evaluators: Mapping[float, QualityEvaluator], seed: int) -> dict[float, Question]:
    """``question_of`` the evaluator for each share of the full training, no two alike.

    An evaluator that does not say for how many steps it trains is told apart by the share.
    """
    questions = {share: question_of(evaluator, seed) for share, evaluator in evaluators.items()}
    for share, question in questions.items():
        if any(question == other for one, other in questions.items() if one > share):
            questions[share] = replace(question, fidelity={**question.fidelity, "share": str(exact(share))})
    return questions


def _own_identity(evaluator: QualityEvaluator) -> dict[str, Any]:
    kind = type(evaluator)
    try:
        source = inspect.getsource(kind)
    except (OSError, TypeError):
        source = ""
    state = getattr(evaluator, "__dict__", {})
    told = json.dumps([source, evaluator.describe(), evaluator.proxy, state], default=repr, sort_keys=True)
    digest = hashlib.blake2b(told.encode(), digest_size=16).hexdigest()
    return {"evaluator": f"{kind.__module__}.{kind.__qualname__}", "data": digest, "fidelity": {}}


def seed_of(seed: int, ordinal: int) -> int:
    """The seed of a network's training number ``ordinal``: the search's own for the first."""
    return seed if ordinal == 0 else random.Random(f"{seed}:{ordinal}").getrandbits(31)


def open_cache(cache: str | Path | EvaluationCache | None, directory: Path) -> tuple[EvaluationCache | None, bool]:
    """The cache, and whether it was opened here. Empty: the file of this folder; ``off`` or ``None``: none."""
    if isinstance(cache, EvaluationCache):
        return cache, False
    if cache is None or cache == OFF:
        return None, False
    if cache == "":
        directory.mkdir(parents=True, exist_ok=True)
        return EvaluationCache(default_cache(directory)), True
    return EvaluationCache(cache), True


def default_cache(directory: Path) -> Path:
    """Where the searches of a folder keep their evaluations."""
    return directory / "evaluations.sqlite"


@dataclass(frozen=True)
class CachedTraining:
    """Wraps an executor's training: asks the cache first, and trains under a claim that others can see."""

    cache: EvaluationCache
    question: Question

    def __call__(self, training: Training, train: Callable[[Training], Trained]) -> Trained:
        """This training's outcome: kept, trained now, or waited for while another search trains it."""
        graph = training.graph
        network = self.cache.network(functional_hash(graph), graph.digest, graph.to_json, _same_text)
        waited = False
        while True:
            for observation in self.cache.ask(network, self.question).observations:
                if observation.ordinal == training.ordinal:
                    kind = "in_flight" if waited else "full"
                    return Trained(dict(observation.metrics), observation.seconds, kind=kind)
            claim = self.cache.claim(network, self.question, training.ordinal)
            if claim is None:
                waited = True
                self.cache.wait(network, self.question, training.ordinal)
                continue
            with claim:
                trained = train(training)
                if not trained.failure:  # the cache keeps no failures
                    claim.done(trained.metrics, trained.seconds, training.seed)
                return trained


def _same_text(a: str, b: str) -> bool:
    return same_network(Graph.from_json(a), Graph.from_json(b))


def averaged(trained: list[Trained]) -> tuple[Trained, dict[str, float]]:
    """The mean of several trainings of one network, and each metric's standard deviation; a failure fails them all."""
    import statistics

    for one in trained:
        if one.failure:
            return one, {}
    if len(trained) == 1:
        return trained[0], {}
    names = [n for n in trained[0].metrics if all(n in t.metrics for t in trained)]
    means = {n: statistics.fmean(t.metrics[n] for t in trained) for n in names}
    stds = {n: statistics.stdev(t.metrics[n] for t in trained) for n in names}
    return replace(trained[0], metrics=means, seconds=statistics.fmean(t.seconds for t in trained)), stds
