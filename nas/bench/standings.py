"""A campaign's runs as frames: figures by checkpoint, standings of the contenders, and their overall ranking."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from nas.bench.campaign import BenchJob, checkpoints
from nas.bench.tables.table import BenchError, BenchTable, Floats, front_points
from nas.candidates.pareto import hypervolume

CURVE_COLUMNS = ("value", "without_cache", "asks_at", "seconds")
TARGET_VOLUME_SHARE = 0.95
"""The part of the front's hypervolume that a run is to reach: evaluations until then are counted."""
BOOTSTRAP_RESAMPLES = 2000


def load_runs(path: Path, tables: Mapping[str, BenchTable], jobs: Sequence[BenchJob]) -> pd.DataFrame:
    """The runs of these jobs, lists as arrays; hypervolumes as parts of the best front's. ``BenchError`` if none."""
    if not path.is_file():
        raise BenchError(f"no runs at {str(path)!r}")
    frame = pd.read_csv(path, dtype={"front": str, **dict.fromkeys(CURVE_COLUMNS, str)}, keep_default_na=False)
    wanted = set(jobs)
    keys = frame[list(BenchJob._fields)].itertuples(index=False, name=None)
    frame = frame[[BenchJob(*key) in wanted for key in keys]].reset_index(drop=True)
    if frame.empty:
        raise BenchError(f"{str(path)!r} holds no run of this bench")
    volumes = {
        name: best_hypervolume(table, frame.loc[frame["table"] == name, "front"].tolist()) or 1.0
        for name, table in tables.items()
    }
    for column in CURVE_COLUMNS:
        parts: list[Any] = [np.array(text.split(), float) for text in frame[column]]
        if column in ("value", "without_cache"):
            parts = [values / volumes[name] for values, name in zip(parts, frame["table"], strict=True)]
        frame[column] = pd.Series(parts, dtype=object)
    for column in ("reached", "reached_asks"):
        frame[column] = pd.to_numeric(frame[column], errors="coerce")
    return frame


def best_hypervolume(table: BenchTable, fronts: Sequence[str]) -> float:
    """The hypervolume of the true front, or of the best known one and all runs' fronts; 0 for one objective."""
    if table.optimum.exact:
        return table.optimum.hypervolume
    points = [*table.optimum.front, *(tuple(point) for text in fronts if text for point in json.loads(text))]
    return hypervolume(front_points(np.array(points)), table.optimum.reference)


def checkpoint_figures(runs: pd.DataFrame) -> pd.DataFrame:
    """A row for each table, searcher, number in flight and checkpoint: median, quartiles and mean over the seeds."""
    rows = []
    for key, part in runs.groupby(["table", "searcher", "in_flight", "budget"]):
        table, searcher, in_flight, budget = key
        values, without, asks, seconds = (np.stack(part[name].tolist()) for name in CURVE_COLUMNS)
        low, middle, high = np.percentile(values, [25, 50, 75], axis=0)
        for index, checkpoint in enumerate(checkpoints(int(str(budget)))):
            rows.append(
                {
                    "table": table,
                    "searcher": searcher,
                    "in_flight": in_flight,
                    "evaluations": checkpoint,
                    "runs": len(part),
                    "median": middle[index],
                    "q25": low[index],
                    "q75": high[index],
                    "mean": values[:, index].mean(),
                    "without_cache_median": np.median(without[:, index]),
                    "asks_median": np.median(asks[:, index]),
                    "seconds_median": np.median(seconds[:, index]),
                }
            )
    return pd.DataFrame(rows)


def evaluations_to_target(part: pd.DataFrame, single: bool) -> Floats:
    """Evaluations of each run until the best network, or a checkpoint with ``TARGET_VOLUME_SHARE`` of the volume.

    A run that never reaches it counts with its budget and one.
    """
    budget = int(part["budget"].iloc[0])
    if single:
        return part["reached"].fillna(budget + 1).to_numpy(float)
    checkpoint_counts = np.array([*checkpoints(budget), budget + 1])
    return np.array(
        [checkpoint_counts[np.append(values >= TARGET_VOLUME_SHARE, True).argmax()] for values in part["value"]], float
    )


def ranking_score(part: pd.DataFrame, single: bool) -> Floats:
    """The score that contenders are ranked by, less is better.

    Evaluations until the best network; for two objectives the missing part of the front's volume, on average over the
    checkpoints.
    """
    if single:
        return evaluations_to_target(part, single)
    return np.array([1 - values.mean() for values in part["value"]])


def standings(runs: pd.DataFrame, tables: Mapping[str, BenchTable], against: str, at: Sequence[int]) -> pd.DataFrame:
    """A row for each table and searcher of the runs with one evaluation in flight, the best of a table first.

    ``value_N``: the median after N evaluations. ``difference``, ``low``, ``high``: of the mean score to that of
    ``against``, and its 95 % interval, by bootstrap over seeds, which both have.
    """
    rows = []
    for name, table in tables.items():
        single = len(table.objectives) == 1
        table_runs = runs[(runs["table"] == name) & (runs["in_flight"] == 1)]
        scores = {
            str(searcher): pd.Series(ranking_score(part, single), part["seed"])
            for searcher, part in table_runs.groupby("searcher")
        }
        for searcher, part in table_runs.groupby("searcher"):
            efforts = evaluations_to_target(part, single)
            checkpoint_counts = checkpoints(int(part["budget"].iloc[0]))
            row: dict[str, Any] = {
                "table": name,
                "searcher": searcher,
                "runs": len(part),
                "score": scores[str(searcher)].mean(),
            }
            row |= {
                "found": float(np.mean(efforts <= checkpoint_counts[-1])),
                "median_evaluations": float(np.median(efforts)),
                "mean_evaluations": float(np.minimum(efforts, checkpoint_counts[-1]).mean()),
                "median_asks": float(np.median(part["reached_asks"].fillna(np.inf))),
            }
            medians = np.median(np.stack(part["value"].tolist()), axis=0)
            row |= {
                f"value_{checkpoint}": medians[checkpoint_counts.index(checkpoint)]
                for checkpoint in at
                if checkpoint in checkpoint_counts
            }
            row |= paired_difference(scores[str(searcher)], scores.get(against)) if searcher != against else {}
            rows.append(row | {"overhead_ms": float(part["overhead_ms"].median())})
    table_standings = pd.DataFrame(rows)
    table_standings["rank"] = table_standings.groupby("table")["score"].rank()
    order = {name: index for index, name in enumerate(tables)}
    return table_standings.sort_values(
        ["table", "rank"], key=lambda c: c.map(order) if c.name == "table" else c
    ).reset_index(drop=True)


def paired_difference(one: pd.Series, other: pd.Series | None) -> dict[str, float]:
    """The mean difference over the seeds that both have, and its 95 % bootstrap interval."""
    if other is None:
        return {}
    both = pd.concat([one, other], axis=1).dropna().to_numpy()
    differences = both[:, 0] - both[:, 1]
    if not len(differences):
        return {}
    resamples = np.random.default_rng(0).integers(len(differences), size=(BOOTSTRAP_RESAMPLES, len(differences)))
    low, high = np.percentile(differences[resamples].mean(axis=1), [2.5, 97.5])
    return {"difference": float(differences.mean()), "low": float(low), "high": float(high)}


def overall_ranking(table_standings: pd.DataFrame) -> pd.DataFrame:
    """Each searcher's mean rank over the tables, the best first, and on how many tables it was the best."""
    grouped = table_standings.groupby("searcher")
    table = pd.DataFrame(
        {
            "tables": grouped.size(),
            "mean_rank": grouped["rank"].mean(),
            "best": grouped["rank"].agg(lambda ranks: int((ranks < 2).sum())),
            "overhead_ms": grouped["overhead_ms"].median(),
        }
    )
    return table.sort_values("mean_rank").reset_index()
