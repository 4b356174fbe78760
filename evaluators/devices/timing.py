"""How often to run and what to report: the same on every device.

Sent to remote machines as it is: Python 3.9 and its standard library alone.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from statistics import median, pstdev
from typing import Any, Callable  # noqa: UP035 - Python 3.9 on the remote machine

DRIFT = 0.05
OUTLIER_FRACTION = 0.05
_FENCE = 3.0  # interquartile ranges: Tukey's outer fence
_Z = 1.96


@dataclass(frozen=True)
class TimingPlan:
    """When to stop.

    Warms up for at least ``warmup_runs`` runs and ``warmup_s`` seconds. Then repeats until the 95 % confidence interval
    of the median is within ``precision`` of it to either side and there are ``min_repeats``, or until ``max_repeats``
    or ``max_s``, but at least three times.
    """

    warmup_runs: int = 3
    warmup_s: float = 0.1
    precision: float = 0.02
    min_repeats: int = 15
    max_repeats: int = 500
    max_s: float = 3.0


def wall_clock(run: Callable[[], Any]) -> Callable[[], float]:
    """``run``, which returns when its work is done, as a function that returns the milliseconds it took."""

    def once() -> float:
        start = time.perf_counter_ns()
        run()
        return (time.perf_counter_ns() - start) / 1e6

    return once


def collect_samples(once: Callable[[], float], plan: TimingPlan) -> list[float]:
    """Milliseconds of every repeat in order, the warm-up left out. ``once`` runs once and returns its time."""
    start = time.perf_counter()
    runs = 0
    while runs < plan.warmup_runs or time.perf_counter() - start < plan.warmup_s:
        once()
        runs += 1
    samples: list[float] = []
    start = time.perf_counter()
    check = plan.min_repeats  # sorting after every repeat would disturb what is timed
    while len(samples) < plan.max_repeats:
        samples.append(once())
        if len(samples) >= 3 and time.perf_counter() - start >= plan.max_s:
            break
        if len(samples) >= check:
            if median_error(samples) <= plan.precision:
                break
            check = len(samples) + max(1, len(samples) // 4)
    return samples


def median_error(samples: list[float]) -> float:
    """Half the width of the median's 95 % interval from order statistics, relative to the median."""
    ordered = sorted(samples)
    count = len(ordered)
    half = _Z * math.sqrt(count) / 2
    low = max(0, math.floor(count / 2 - half))
    high = min(count - 1, math.ceil(count / 2 + half))
    median_ms = median(ordered)
    return (ordered[high] - ordered[low]) / 2 / median_ms if median_ms > 0 else math.inf


def quantile(ordered: list[float], fraction: float) -> float:
    """A quantile of sorted values, linear between neighbours."""
    position = fraction * (len(ordered) - 1)
    below = math.floor(position)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (position - below)


@dataclass(frozen=True)
class TimingSummary:
    """Median and spread of a series of repeats in milliseconds, with warnings."""

    latency_ms: float
    std_ms: float
    low_ms: float
    high_ms: float
    iqr_ms: float
    repeats: int
    outliers: int
    warnings: tuple[str, ...]


def summarise_timing(samples: list[float], precision: float | None = None) -> TimingSummary:
    """Median, spread and warnings of the repeats.

    No repeat is discarded for median and quantiles; outliers, farther than three interquartile ranges outside the
    quartiles, are left out of the standard deviation alone, counted, and
    reported as a warning above 5 %. A first third of the repeats whose median differs from the last third's by more
    than 5 % is reported as drift: a changing clock, thermal throttling, or other load on the machine.
    """
    if not samples:
        raise ValueError("no repeats to summarise")
    ordered = sorted(samples)
    median_ms = median(ordered)
    first, third = quantile(ordered, 0.25), quantile(ordered, 0.75)
    fence = _FENCE * (third - first)
    inside = [s for s in ordered if first - fence <= s <= third + fence]
    outliers = len(ordered) - len(inside)
    warnings = []
    if outliers > OUTLIER_FRACTION * len(ordered):
        warnings.append(f"{outliers} of {len(ordered)} repeats are outliers: is the machine busy?")
    if len(samples) >= 9:
        part = len(samples) // 3
        first_third, end = median(samples[:part]), median(samples[-part:])
        if abs(end - first_third) > DRIFT * first_third:
            warnings.append(
                f"drift: the last third took {end / first_third - 1:+.0%} of the first: throttling or other load"
            )
    if precision is not None and median_error(samples) > precision:
        warnings.append(f"the median is known to {median_error(samples):.0%} only, not to {precision:.0%}")
    return TimingSummary(
        latency_ms=median_ms,
        std_ms=pstdev(inside),
        low_ms=quantile(ordered, 0.05),
        high_ms=quantile(ordered, 0.95),
        iqr_ms=third - first,
        repeats=len(samples),
        outliers=outliers,
        warnings=tuple(warnings),
    )
