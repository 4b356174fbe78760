"""What it costs a searcher to ask before it was told: many evaluations in flight against one after the other."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from nas.bench.campaign import checkpoints
from nas.bench.standings import effort, paired
from nas.bench.tables.table import BenchTable, Floats


def losses_of_efficiency(runs: pd.DataFrame, tables: Mapping[str, BenchTable]) -> pd.DataFrame:
    """A row for each table and searcher that ran both ways; empty where no run had several in flight.

    What one after the other has reached after half of the budget, as the median of its runs, is the target.
    ``evaluations_1`` and ``evaluations_n``: the first checkpoint where the median is as good, one after the other and
    with ``in_flight`` of them, ``nan`` for never; ``loss_percent``: how many more that is. ``value_1``, ``value_n``:
    the medians at half of the budget. ``speed_up``: how many times sooner the target was reached, in the median's
    simulated seconds. ``mean_1``, ``mean_n``: of all runs' evaluations until the best network or ``report.NEAR`` of the
    front's volume, at most the budget; ``difference``, ``low``, ``high``: between them, its 95 % interval by bootstrap
    over the seeds that both have.
    """
    rows = []
    for (name, who), part in runs.groupby(["table", "searcher"]):
        smaller = len(tables[str(name)].objectives) == 1
        alone = part[part["in_flight"] == 1]
        for in_flight, beside in part[part["in_flight"] > 1].groupby("in_flight"):
            if not alone.empty:
                compared = _compared(alone, beside, smaller)
                rows.append({"table": name, "searcher": who, "in_flight": in_flight, "runs": len(beside)} | compared)
    return pd.DataFrame(rows)


def _compared(alone: pd.DataFrame, beside: pd.DataFrame, smaller: bool) -> dict[str, float]:
    marks = np.array(checkpoints(int(alone["budget"].iloc[0])))
    half = int(np.searchsorted(marks, marks[-1] / 2))
    before, after = _median(alone, "value"), _median(beside, "value")
    first, second = (_first(curve, before[half], smaller) for curve in (before, after))
    assert first is not None
    found = {"evaluations_1": float(marks[first]), "value_1": float(before[half]), "value_n": float(after[half])}
    spent = [
        pd.Series(np.minimum(effort(part, smaller), marks[-1]), part["seed"].to_numpy()) for part in (alone, beside)
    ]
    found |= {"mean_1": float(spent[0].mean()), "mean_n": float(spent[1].mean()), **paired(spent[1], spent[0])}
    if second is None:
        return found | dict.fromkeys(("evaluations_n", "loss_percent", "speed_up"), float("nan"))
    return found | {
        "evaluations_n": float(marks[second]),
        "loss_percent": float(100 * (marks[second] / marks[first] - 1)),
        "speed_up": float(_median(alone, "seconds")[first] / _median(beside, "seconds")[second]),
    }


def _median(part: pd.DataFrame, column: str) -> Floats:
    middle: Floats = np.median(np.stack(part[column].tolist()), axis=0)
    return middle


def _first(curve: Floats, target: float, smaller: bool) -> int | None:
    """The first place that is as good as the target."""
    there = curve <= target if smaller else curve >= target
    return int(there.argmax()) if there.any() else None
