"""The values of the evaluation cache: keys, observations and results, and the checks of what comes from outside."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from numbers import Real
from typing import Any, Literal

# full: from the cache; in_flight: from another process's training that was waited for;
# partial: some observations, fewer than requested; miss: none
HitKind = Literal["full", "partial", "in_flight", "miss"]

_MAX_TEXT_LENGTH = 10_000


class CacheError(ValueError):
    """A cache that cannot be opened, read or written, or something that it cannot hold."""


def texts_digest(*parts: str) -> str:
    """40 hex digits of some texts: what stored ids are."""
    return hashlib.blake2b(json.dumps(parts).encode(), digest_size=20).hexdigest()


def question_digest(evaluator: str, data: str, fidelity_text: str, seeds: str) -> str:
    """The stored id of a cache key."""
    return texts_digest("question", evaluator, data, fidelity_text, seeds)


def checked_text(what: str, text: str) -> str:
    """The text, if every database can hold it. Raises ``CacheError``."""
    if not isinstance(text, str) or not text or len(text) > _MAX_TEXT_LENGTH or "\0" in text:
        raise CacheError(f"the {what} must be a text of 1 to {_MAX_TEXT_LENGTH} characters, not {text!r:.80}")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise CacheError(f"the {what} {text!r:.80} is no valid Unicode") from None
    return text


@dataclass(frozen=True)
class CacheKey:
    """All that a result depends on beside the network: keys are equal where their ``digest`` is.

    ``evaluator`` and ``data`` name the training and the data with their versions or digests, ``fidelity`` is the scale
    (JSON-able: steps, image size), ``seeds`` says how an observation's seed follows from its ordinal. Raises
    ``CacheError`` for what is no text or not JSON-able.
    """

    evaluator: str = field(compare=False)
    data: str = field(compare=False)
    fidelity: Mapping[str, Any] = field(compare=False)
    seeds: str = field(compare=False)
    digest: str = field(init=False, repr=False)

    def __post_init__(self) -> None:
        for what in ("evaluator", "data", "seeds"):
            checked_text(what, getattr(self, what))
        object.__setattr__(self, "fidelity", json.loads(self.fidelity_text))  # a copy that nobody else changes
        digest = question_digest(self.evaluator, self.data, self.fidelity_text, self.seeds)
        object.__setattr__(self, "digest", digest)

    @property
    def fidelity_text(self) -> str:
        """The fidelity as JSON, the same for the same fidelity."""
        try:
            return json.dumps(dict(self.fidelity), sort_keys=True, allow_nan=False)
        except (TypeError, ValueError, RecursionError) as error:
            raise CacheError(f"the fidelity {self.fidelity!r:.200} is not JSON-able: {error}") from None


@dataclass(frozen=True)
class NetworkId:
    """A stored network: the ``variant``-th of those whose functional key is ``key``. ``id`` follows from its form."""

    key: str
    variant: int
    id: str


@dataclass(frozen=True)
class Observation:
    """The metrics of one training, and how many seconds it took. ``ordinal`` numbers a network's trainings from 0."""

    ordinal: int
    metrics: Mapping[str, float]
    seconds: float
    seed: int | None = None


def checked_observation(ordinal: int, metrics: Mapping[str, float], seconds: float, seed: int | None) -> Observation:
    """An observation, checked. Raises ``CacheError``."""
    metrics = checked_metrics(metrics)
    if isinstance(seconds, bool) or not isinstance(seconds, Real) or not 0 <= float(seconds) < math.inf:
        raise CacheError(f"a training takes a finite number of seconds, 0 or more, not {seconds!r:.80}")
    if seed is not None and (not isinstance(seed, int) or not -(2**63) <= seed < 2**63):
        raise CacheError(f"a seed is a whole number of 64 bits, not {seed!r:.80}")
    return Observation(ordinal, metrics, float(seconds), seed)


def checked_metrics(metrics: Mapping[str, float]) -> dict[str, float]:
    """The metrics as floats by name. Raises ``CacheError``."""
    if not isinstance(metrics, Mapping) or not metrics:
        raise CacheError(f"metrics are numbers by name, at least one, not {metrics!r:.80}")
    checked: dict[str, float] = {}
    for name, value in metrics.items():
        if isinstance(value, bool) or not isinstance(value, Real):
            raise CacheError(f"the metric {name!r:.80} must be a number, not {value!r:.80}")
        try:
            checked[checked_text("metric's name", name)] = float(value)
        except OverflowError:
            raise CacheError(f"the metric {name!r:.80} is larger than any float") from None
    return checked


@dataclass(frozen=True)
class CachedResult:
    """The observations of a network under a cache key, in order, without those marked as forgotten."""

    kind: HitKind
    observations: tuple[Observation, ...]

    @property
    def count(self) -> int:
        return len(self.observations)

    @property
    def metrics(self) -> dict[str, float]:
        """The mean of each metric over the observations that have it."""
        return {name: _mean(values) for name, values in self._values().items()}

    @property
    def std(self) -> dict[str, float]:
        """The sample standard deviation of each metric; none for a metric observed only once."""
        return {name: _std(values) for name, values in self._values().items() if len(values) > 1}

    @property
    def seconds(self) -> float:
        """The mean time of one training, 0 without observations."""
        return _mean([o.seconds for o in self.observations]) if self.observations else 0.0

    def _values(self) -> dict[str, list[float]]:
        values: dict[str, list[float]] = {}
        for observation in self.observations:
            for name, value in observation.metrics.items():
                values.setdefault(name, []).append(value)
        return values


def _mean(values: list[float]) -> float:
    if not all(map(math.isfinite, values)):
        return sum(values) / len(values)  # infinite, or not a number
    return math.fsum([v / len(values) for v in values])


def _std(values: list[float]) -> float:
    mean = _mean(values)
    if not math.isfinite(mean):
        return math.nan
    return math.hypot(*[v - mean for v in values]) / math.sqrt(len(values) - 1)


@dataclass(frozen=True)
class CacheKeySummary:
    """What is stored under one cache key. ``seconds``: the time of all its trainings, forgotten ones included."""

    evaluator: str
    data: str
    fidelity: str
    seeds: str
    networks: int
    observations: int
    forgotten: int
    seconds: float


@dataclass(frozen=True)
class CacheSummary:
    """What a cache holds.

    ``questions``: by cache key. ``collisions``: variants beyond the first of a key. ``forgotten``: observations that an
    earlier release marked so. ``in_flight``: claims whose owners are alive. ``costs``: measured costs that an earlier
    release stored. ``bytes``: ``None`` where it is no local file.
    """

    where: str
    questions: tuple[CacheKeySummary, ...]
    networks: int
    collisions: int
    observations: int
    forgotten: int
    seconds: float
    in_flight: int
    costs: int
    bytes: int | None
