"""The price of asynchrony: many evaluations in flight against one after the other, for each searcher."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from nas.bench.campaign import checkpoints
from nas.bench.standings import evaluations_to_target, paired_difference
from nas.bench.tables.table import BenchTable, Floats


def in_flight_costs(runs: pd.DataFrame, tables: Mapping[str, BenchTable]) -> pd.DataFrame:
    """A row for each table and searcher that ran both ways; empty where no run had several in flight.

    The target is the median value of the sequential runs after half of the budget. ``evaluations_1`` and
    ``evaluations_n``: the first checkpoint where the median is as good, one after the other and with ``in_flight`` of
    them, ``nan`` for never; ``loss_percent``: how many more that is. ``value_1``, ``value_n``: the medians at half of
    the budget. ``speed_up``: how many times sooner the target was reached, in the median's simulated seconds.
    ``mean_1``, ``mean_n``: of all runs' evaluations until the best network or ``standings.TARGET_VOLUME_SHARE`` of the
    front's volume, at most the budget; ``difference``, ``low``, ``high``: between them, and its 95 % interval by
    bootstrap over the seeds that both have.
    """
    rows = []
    for (name, searcher), part in runs.groupby(["table", "searcher"]):
        minimise = len(tables[str(name)].objectives) == 1
        sequential = part[part["in_flight"] == 1]
        for in_flight, parallel in part[part["in_flight"] > 1].groupby("in_flight"):
            if not sequential.empty:
                compared = _compare(sequential, parallel, minimise)
                rows.append(
                    {"table": name, "searcher": searcher, "in_flight": in_flight, "runs": len(parallel)} | compared
                )
    return pd.DataFrame(rows)


def _compare(sequential: pd.DataFrame, parallel: pd.DataFrame, minimise: bool) -> dict[str, float]:
    checkpoint_counts = np.array(checkpoints(int(sequential["budget"].iloc[0])))
    half = int(np.searchsorted(checkpoint_counts, checkpoint_counts[-1] / 2))
    before, after = _median_curve(sequential, "value"), _median_curve(parallel, "value")
    first, second = (_first_reaching(curve, before[half], minimise) for curve in (before, after))
    assert first is not None
    figures = {
        "evaluations_1": float(checkpoint_counts[first]),
        "value_1": float(before[half]),
        "value_n": float(after[half]),
    }
    efforts = [
        pd.Series(np.minimum(evaluations_to_target(part, minimise), checkpoint_counts[-1]), part["seed"].to_numpy())
        for part in (sequential, parallel)
    ]
    figures |= {
        "mean_1": float(efforts[0].mean()),
        "mean_n": float(efforts[1].mean()),
        **paired_difference(efforts[1], efforts[0]),
    }
    if second is None:
        return figures | dict.fromkeys(("evaluations_n", "loss_percent", "speed_up"), float("nan"))
    return figures | {
        "evaluations_n": float(checkpoint_counts[second]),
        "loss_percent": float(100 * (checkpoint_counts[second] / checkpoint_counts[first] - 1)),
        "speed_up": float(_median_curve(sequential, "seconds")[first] / _median_curve(parallel, "seconds")[second]),
    }


def _median_curve(part: pd.DataFrame, column: str) -> Floats:
    median: Floats = np.median(np.stack(part[column].tolist()), axis=0)
    return median


def _first_reaching(curve: Floats, target: float, minimise: bool) -> int | None:
    """The index of the first value that is as good as the target."""
    reached = curve <= target if minimise else curve >= target
    return int(reached.argmax()) if reached.any() else None
