"""A campaign's runs as tables: tidy figures by checkpoint, a line for each contender, and a page in Markdown."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from nas.bench.campaign import Job, checkpoints
from nas.bench.tables.table import BenchError, BenchTable, Floats, front_points
from nas.candidates.pareto import hypervolume

LISTS = ("value", "without_cache", "asks_at", "seconds")
NEAR = 0.95
"""The share of the front's hypervolume whose evaluations are counted."""
RESAMPLES = 2000


def load_runs(path: Path, tables: Mapping[str, BenchTable], jobs: Sequence[Job]) -> pd.DataFrame:
    """The runs of these jobs, lists as arrays; hypervolumes as shares of the best front's. ``BenchError`` if none."""
    if not path.is_file():
        raise BenchError(f"no runs at {str(path)!r}")
    frame = pd.read_csv(path, dtype={"front": str, **dict.fromkeys(LISTS, str)}, keep_default_na=False)
    wanted = set(jobs)
    keys = frame[list(Job._fields)].itertuples(index=False, name=None)
    frame = frame[[Job(*key) in wanted for key in keys]].reset_index(drop=True)
    if frame.empty:
        raise BenchError(f"{str(path)!r} holds no run of this bench")
    volumes = {
        name: best_hypervolume(table, frame.loc[frame["table"] == name, "front"].tolist()) or 1.0
        for name, table in tables.items()
    }
    for column in LISTS:
        parts: list[Any] = [np.array(text.split(), float) for text in frame[column]]
        if column in ("value", "without_cache"):
            parts = [values / volumes[name] for values, name in zip(parts, frame["table"], strict=True)]
        frame[column] = pd.Series(parts, dtype=object)
    for column in ("reached", "reached_asks"):
        frame[column] = pd.to_numeric(frame[column], errors="coerce")
    return frame


def best_hypervolume(table: BenchTable, fronts: Sequence[str]) -> float:
    """Of the true front, or of the best known one and all that were found; 0 for one objective."""
    if table.goal.exact:
        return table.goal.hypervolume
    points = [*table.goal.front, *(tuple(point) for text in fronts if text for point in json.loads(text))]
    return hypervolume(front_points(np.array(points)), table.goal.reference)


def tidy(runs: pd.DataFrame) -> pd.DataFrame:
    """A row for each table, searcher, number in flight and checkpoint: median, quartiles and mean over the seeds."""
    rows = []
    for key, part in runs.groupby(["table", "searcher", "in_flight", "budget"]):
        table, searcher, in_flight, budget = key
        values, without, asks, seconds = (np.stack(part[name].tolist()) for name in LISTS)
        low, middle, high = np.percentile(values, [25, 50, 75], axis=0)
        for place, mark in enumerate(checkpoints(int(str(budget)))):
            rows.append(
                {
                    "table": table,
                    "searcher": searcher,
                    "in_flight": in_flight,
                    "evaluations": mark,
                    "runs": len(part),
                    "median": middle[place],
                    "q25": low[place],
                    "q75": high[place],
                    "mean": values[:, place].mean(),
                    "without_cache_median": np.median(without[:, place]),
                    "asks_median": np.median(asks[:, place]),
                    "seconds_median": np.median(seconds[:, place]),
                }
            )
    return pd.DataFrame(rows)


def effort(part: pd.DataFrame, single: bool) -> Floats:
    """Evaluations of each run until the best network, or ``NEAR`` of the front's volume to the next checkpoint.

    A run that never came there counts with its budget and one.
    """
    budget = int(part["budget"].iloc[0])
    if single:
        return part["reached"].fillna(budget + 1).to_numpy(float)
    marks = np.array([*checkpoints(budget), budget + 1])
    return np.array([marks[np.append(values >= NEAR, True).argmax()] for values in part["value"]], float)


def score(part: pd.DataFrame, single: bool) -> Floats:
    """What contenders are ranked by, less is better: evaluations until the best network; or the front's volume that
    is missing, on average over the checkpoints."""
    if single:
        return effort(part, single)
    return np.array([1 - values.mean() for values in part["value"]])


def standings(runs: pd.DataFrame, tables: Mapping[str, BenchTable], against: str, at: Sequence[int]) -> pd.DataFrame:
    """A row for each table and searcher of the runs with one evaluation in flight, the best of a table first.

    ``value_N``: the median after N evaluations. ``difference``, ``low``, ``high``: of the mean score to that of
    ``against``, and its 95 % interval, by bootstrap over seeds, which both have.
    """
    rows = []
    for name, table in tables.items():
        single = len(table.objectives) == 1
        here = runs[(runs["table"] == name) & (runs["in_flight"] == 1)]
        scores = {str(who): pd.Series(score(part, single), part["seed"]) for who, part in here.groupby("searcher")}
        for who, part in here.groupby("searcher"):
            spent = effort(part, single)
            marks = checkpoints(int(part["budget"].iloc[0]))
            row: dict[str, Any] = {"table": name, "searcher": who, "runs": len(part), "score": scores[str(who)].mean()}
            row |= {"found": float(np.mean(spent <= marks[-1])), "median_evaluations": float(np.median(spent))}
            row |= {"mean_evaluations": float(np.minimum(spent, marks[-1]).mean())}
            row |= {"median_asks": float(np.median(part["reached_asks"].fillna(np.inf)))}
            stacked = np.median(np.stack(part["value"].tolist()), axis=0)
            row |= {f"value_{mark}": stacked[marks.index(mark)] for mark in at if mark in marks}
            row |= paired(scores[str(who)], scores.get(against)) if who != against else {}
            rows.append(row | {"overhead_ms": float(part["overhead_ms"].median())})
    found = pd.DataFrame(rows)
    found["rank"] = found.groupby("table")["score"].rank()
    order = {name: place for place, name in enumerate(tables)}
    return found.sort_values(["table", "rank"], key=lambda c: c.map(order) if c.name == "table" else c).reset_index(
        drop=True
    )


def paired(one: pd.Series, other: pd.Series | None) -> dict[str, float]:
    """The mean difference over the seeds that both have, and its 95 % bootstrap interval."""
    if other is None:
        return {}
    both = pd.concat([one, other], axis=1).dropna().to_numpy()
    differences = both[:, 0] - both[:, 1]
    if not len(differences):
        return {}
    drawn = np.random.default_rng(0).integers(len(differences), size=(RESAMPLES, len(differences)))
    low, high = np.percentile(differences[drawn].mean(axis=1), [2.5, 97.5])
    return {"difference": float(differences.mean()), "low": float(low), "high": float(high)}


def overall(found: pd.DataFrame) -> pd.DataFrame:
    """Each searcher's mean rank over the tables, the best first, and on how many it was the best."""
    grouped = found.groupby("searcher")
    table = pd.DataFrame(
        {
            "tables": grouped.size(),
            "mean_rank": grouped["rank"].mean(),
            "best": grouped["rank"].agg(lambda ranks: int((ranks < 2).sum())),
            "overhead_ms": grouped["overhead_ms"].median(),
        }
    )
    return table.sort_values("mean_rank").reset_index()
