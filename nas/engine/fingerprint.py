"""Fingerprints of studies: what a search's settings name, by what it does and never by versions of packages.

A search finds its study by one, and a study is not gone on with by a search of something else.
"""

from __future__ import annotations

import json
import random
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import blake2b
from types import MappingProxyType
from typing import Any

from evaluators.evaluator import Evaluator
from hardware_models.composed.multi_device import MultiDeviceCost
from nas.engine.problem import SearchProblem
from nas.engine.settings import SearchSettings
from nas.hashing import functional_hash
from search_spaces.space.genotype import Genotype

_SAMPLES = 8  # networks of a space that stand for all of them

_FIRST_SETTINGS = (
    ("space", "hw", "task", "limits", "objectives", "data", "trials", "train", "score", "searcher", "strategy")
    + ("warm_start", "repair", "in_flight", "seed", "verify", "device", "train_published", "space_options")
    + ("evaluator", "training", "searcher_options", "rules", "repeats", "revisit_probability")
)
"""Settings that are always part of a fingerprint. One that comes later is only where it differs from its default, so
that the studies from before it are found."""


@dataclass(frozen=True)
class Fingerprint:
    """Digests of what decides a search's result, by part, and the evaluator's version as it is.

    As a text: eight hex digits for all of them.
    """

    parts: Mapping[str, str]

    def __str__(self) -> str:
        return _digest(dict(self.parts), 4)

    def to_document(self) -> dict[str, str]:
        """The parts that a study keeps; settings it keeps as they are."""
        return {part: digest for part, digest in self.parts.items() if part != "settings"}


def study_fingerprint(problem: SearchProblem, device: str) -> Fingerprint:
    """The fingerprint of a search. ``device``: the name of a device that is an object, of which settings have no text.

    ``space``: its choices, and networks made from fixed draws. ``hardware``: what is predicted of those. ``evaluator``:
    as its cache entries identify it, and the scale it evaluates at; one that does not say what its results depend on
    stands for what it describes.
    """
    document, defaults = problem.to_document(), SearchSettings().to_document()
    settings = {
        name: value for name, value in document.items() if name in _FIRST_SETTINGS or value != defaults.get(name)
    }
    networks, predictions = [], []
    rng = random.Random(0)
    for _ in range(_SAMPLES):
        genotype = problem.space.sample(rng)
        networks.append([_plain(genotype), functional_hash(problem.space.graph(genotype))])
        predictions.append(_predictions(problem, genotype))
    space = [problem.space.name, problem.task, {n: list(o) for n, o in problem.space.decisions().items()}, networks]
    parts = {"settings": _digest(settings), "space": _digest(space), "hardware": _digest(predictions)}
    if problem.evaluator is not None:
        parts["evaluator"] = _digest([_identity(problem.evaluator), dict(problem.proxy)])
        parts["evaluator_version"] = str(problem.evaluator.version)
    if device:
        parts["device"] = _digest(device)
    return Fingerprint(MappingProxyType(parts))


def legacy_fingerprint(problem: SearchProblem, device: str) -> str | None:
    """The eight hex digits that release 0.1.0 had for this search, in its default name of the study.

    ``None`` where that release could not have made this search.
    """
    document, defaults = problem.to_document(), SearchSettings().to_document()
    names = {later for _, later in _LEGACY_SETTINGS} | {"evaluator", "verify", "device"}
    named_evaluator = isinstance(problem.settings.evaluator, str) and problem.settings.evaluator
    if named_evaluator or any(value != defaults.get(name) for name, value in document.items() if name not in names):
        return None
    settings = {earlier: document[later] for earlier, later in _LEGACY_SETTINGS}
    settings["task"] = problem.task
    if document["verify"]:
        settings |= {"verify": document["verify"], "device": document["device"]}
    rng = random.Random(0)
    behaviour: list[Any] = [_LEGACY_RELEASE, settings, problem.space.name]
    for _ in range(4):
        genotype = problem.space.sample(rng)
        graph = problem.space.graph(genotype)
        cost = problem.hardware.estimate(graph)
        behaviour += [dict(genotype), functional_hash(graph), cost.latency_ms]
        behaviour += [one.latency_ms for one in cost.devices.values()] if isinstance(cost, MultiDeviceCost) else []
    if problem.evaluator is not None:
        behaviour += [problem.evaluator.describe(), dict(problem.proxy)]
    if device:
        behaviour.append(device)
    return blake2b(json.dumps(behaviour, default=str).encode(), digest_size=4).hexdigest()


_LEGACY_RELEASE = "0.1.0"

_LEGACY_SETTINGS = (
    *((name, name) for name in ("space", "hw", "space_options", "limits", "objectives", "data")),
    ("evaluator", "training"),
    *((name, name) for name in ("score", "searcher", "searcher_options", "task", "rules")),
    ("evaluations", "repeats"),
    ("forget", "revisit_probability"),
    *((name, name) for name in ("trials", "train")),
    ("references", "train_published"),
    *((name, name) for name in ("seed", "repair", "in_flight", "warm_start")),
)
"""The settings of release 0.1.0 in its order, and their names now."""


def _predictions(problem: SearchProblem, genotype: Genotype) -> list[Any]:
    """What the hardware model says of a network, of what the search looks at, in six digits.

    Sums in another order, as another release of NumPy may make them, differ only behind those.
    """
    measurements, unsupported = problem.estimate_metrics(problem.space.graph(genotype))
    watched = {*problem.metric_names, *(n for n in measurements if n.partition("@")[0] == "latency_ms")}
    return [
        {name: f"{measurements[name].value:.6g}" for name in sorted(watched) if name in measurements},
        sorted(unsupported),
    ]


def _identity(evaluator: Evaluator) -> Any:
    if type(evaluator).cache_identity is not Evaluator.cache_identity:
        return dict(evaluator.cache_identity(1.0))
    # What the base class gives has its source and its attributes in it: a comment would part a study from its search.
    kind = type(evaluator)
    return [f"{kind.__module__}.{kind.__qualname__}/{evaluator.version}", evaluator.describe()]


def _plain(genotype: Genotype) -> dict[str, Any]:
    return {name: list(value) if isinstance(value, tuple) else value for name, value in genotype.items()}


def _digest(data: Any, size: int = 8) -> str:
    return blake2b(json.dumps(data, sort_keys=True, default=str).encode(), digest_size=size).hexdigest()
