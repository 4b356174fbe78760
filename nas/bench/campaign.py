"""Many runs side by side, each written down when it ends: the same campaign again goes on where it was stopped."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from nas.bench.single_run import Plan, Trace, run_one
from nas.bench.tables.table import BenchError, BenchTable

STEP = 10
FIELDS = (
    *("table", "searcher", "seed", "in_flight", "budget", "evaluations", "asks", "reached", "reached_asks"),
    *("overhead_ms", "value", "without_cache", "asks_at", "seconds", "front"),
)


class Job(NamedTuple):
    """One run: what is written in the first columns of its row."""

    table: str
    searcher: str
    seed: int
    in_flight: int
    budget: int


@dataclass(frozen=True)
class Failure:
    """A run that ended in an error of its searcher."""

    job: Job
    text: str


def checkpoints(budget: int) -> list[int]:
    """After how many evaluations a run is written down: 10, 20, ... and the budget."""
    return sorted({*range(STEP, budget + 1, STEP), budget})


def row_of(job: Job, trace: Trace, front: bool) -> dict[str, Any]:
    """A run as a line of ``runs.csv``: lists are by checkpoint, joined by spaces.

    ``value``, ``asks_at`` and ``seconds`` are after so many evaluations, ``without_cache`` is the value after so many
    asks. ``front``: whether to keep the losses of the front that was found.
    """
    marks = checkpoints(job.budget)
    places = [trace.at(mark) for mark in marks]
    return {
        **job._asdict(),
        "evaluations": trace.evaluations,
        "asks": trace.asks,
        "reached": trace.reached or "",
        "reached_asks": trace.asks_at[trace.reached - 1] if trace.reached else "",
        "overhead_ms": f"{1000 * trace.overhead_s / max(trace.asks, 1):.4g}",
        "value": _joined([trace.value[place] for place in places]),
        "without_cache": _joined([trace.without_cache(mark) for mark in marks]),
        "asks_at": _joined([trace.asks_at[place] for place in places]),
        "seconds": _joined([trace.seconds[place] for place in places]),
        "front": json.dumps([[float(f"{loss:.6g}") for loss in point] for point in trace.front]) if front else "",
    }


def _joined(values: Sequence[float]) -> str:
    return " ".join([f"{value:.6g}" for value in values])


def read_done(path: Path) -> set[Job]:
    """The runs that a file holds; a line that was cut off is taken away. Raises ``BenchError``."""
    if not path.exists():
        return set()
    content = path.read_bytes()
    whole = content[: content.rfind(b"\n") + 1]
    if len(whole) < len(content):
        path.write_bytes(whole)
    rows = list(csv.reader(whole.decode().splitlines()))
    if rows and tuple(rows[0]) != FIELDS:
        raise BenchError(f"{str(path)!r} is of another version of the bench; give another --out, or remove it")
    return {Job(row[0], row[1], *map(int, row[2:5])) for row in rows[1:]}


def _run(table: BenchTable, job: Job, asks_each: int) -> dict[str, Any] | Failure:
    plan = Plan(job.budget, asks_each, job.in_flight)
    try:
        trace = run_one(table, job.searcher, job.seed, plan)
    except Exception as error:  # noqa: BLE001 - one searcher's error must not cost the night's other runs; it is raised at the end
        return Failure(job, f"{type(error).__name__}: {error}")
    return row_of(job, trace, front=not table.goal.exact)


_tables: dict[str, BenchTable] = {}  # of this worker


def _start(tables: dict[str, BenchTable]) -> None:
    _tables.update(tables)


def _run_there(job: Job, asks_each: int) -> dict[str, Any] | Failure:
    return _run(_tables[job.table], job, asks_each)


def _side_by_side(
    tables: Mapping[str, BenchTable], jobs: Sequence[Job], workers: int, asks_each: int
) -> Iterator[dict[str, Any] | Failure]:
    from concurrent.futures import as_completed

    from loky import ProcessPoolExecutor

    one = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
    pool = ProcessPoolExecutor(workers, timeout=None, initializer=_start, initargs=(dict(tables),), env=one)
    try:
        for future in as_completed([pool.submit(_run_there, job, asks_each) for job in jobs]):
            yield future.result()
    finally:
        pool.shutdown(wait=True, kill_workers=True)


def jobs_of(
    tables: Sequence[str], searchers: Sequence[str], seeds: int, budget: int, in_flight: int, beside: Sequence[str]
) -> list[Job]:
    """Every run of a campaign, all contenders of a seed before the next seed.

    ``in_flight``: those of ``beside`` run with so many evaluations in flight too, where it is more than one.
    """
    made = []
    for seed in range(seeds):
        for table in tables:
            made += [Job(table, searcher, seed, 1, budget) for searcher in searchers]
            if in_flight > 1:
                made += [Job(table, searcher, seed, in_flight, budget) for searcher in searchers if searcher in beside]
    return made


def run_campaign(
    tables: Mapping[str, BenchTable],
    jobs: Sequence[Job],
    path: Path,
    *,
    workers: int = 0,
    asks_each: int = 5,
    progress: Callable[[int, int], None] = lambda done, of: None,
) -> list[Failure]:
    """Run the jobs that ``path`` does not hold yet, and add a line to it for each. ``workers`` 0: one a core.

    Returns the runs that ended in an error; they will be tried again. Raises ``BenchError``.
    """
    done = read_done(path)
    left = [job for job in jobs if job not in done]
    workers = min(workers or os.cpu_count() or 1, max(len(left), 1))
    if workers == 1:
        results: Iterator[dict[str, Any] | Failure] = (_run(tables[job.table], job, asks_each) for job in left)
    else:
        results = _side_by_side(tables, left, workers, asks_each)
    failures = []
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, FIELDS, lineterminator="\n")
        if file.tell() == 0:
            writer.writeheader()
        for number, result in enumerate(results, start=1):
            if isinstance(result, Failure):
                failures.append(result)
            else:
                writer.writerow(result)
                file.flush()
            progress(number, len(left))
    return failures
