"""Many runs in parallel, each written to a file when it ends: a campaign continues where it was stopped."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from nas.bench.single_run import RunBudget, RunTrace, run_contender
from nas.bench.tables.table import BenchError, BenchTable

CHECKPOINT_STEP = 10
CSV_COLUMNS = (
    *("table", "searcher", "seed", "in_flight", "budget", "evaluations", "asks", "reached", "reached_asks"),
    *("overhead_ms", "value", "without_cache", "asks_at", "seconds", "front"),
)


class BenchJob(NamedTuple):
    """One run, as the first columns of its row say."""

    table: str
    searcher: str
    seed: int
    in_flight: int
    budget: int


@dataclass(frozen=True)
class FailedRun:
    """A run that ended in an error of its searcher."""

    job: BenchJob
    text: str


def checkpoints(budget: int) -> list[int]:
    """The numbers of evaluations at which a run is recorded: 10, 20, ... and the budget."""
    return sorted({*range(CHECKPOINT_STEP, budget + 1, CHECKPOINT_STEP), budget})


def csv_row(job: BenchJob, trace: RunTrace, front: bool) -> dict[str, Any]:
    """A run as a line of ``runs.csv``: lists are by checkpoint, joined by spaces.

    ``value``, ``asks_at`` and ``seconds`` are after as many evaluations, ``without_cache`` is the value after as many
    asks. ``front``: whether to keep the losses of the run's front.
    """
    checkpoint_counts = checkpoints(job.budget)
    indices = [trace.checkpoint_index(checkpoint) for checkpoint in checkpoint_counts]
    return {
        **job._asdict(),
        "evaluations": trace.evaluations,
        "asks": trace.asks,
        "reached": trace.reached or "",
        "reached_asks": trace.asks_at[trace.reached - 1] if trace.reached else "",
        "overhead_ms": f"{1000 * trace.overhead_s / max(trace.asks, 1):.4g}",
        "value": _join_numbers([trace.value[index] for index in indices]),
        "without_cache": _join_numbers([trace.without_cache(checkpoint) for checkpoint in checkpoint_counts]),
        "asks_at": _join_numbers([trace.asks_at[index] for index in indices]),
        "seconds": _join_numbers([trace.seconds[index] for index in indices]),
        "front": json.dumps([[float(f"{loss:.6g}") for loss in point] for point in trace.front]) if front else "",
    }


def _join_numbers(values: Sequence[float]) -> str:
    return " ".join([f"{value:.6g}" for value in values])


def finished_jobs(path: Path) -> set[BenchJob]:
    """The runs that a file holds; an incomplete last line is removed. Raises ``BenchError``."""
    if not path.exists():
        return set()
    content = path.read_bytes()
    whole = content[: content.rfind(b"\n") + 1]
    if len(whole) < len(content):
        path.write_bytes(whole)
    rows = list(csv.reader(whole.decode().splitlines()))
    if rows and tuple(rows[0]) != CSV_COLUMNS:
        raise BenchError(f"{str(path)!r} is of another version of the bench; give another --out, or remove it")
    return {BenchJob(row[0], row[1], *map(int, row[2:5])) for row in rows[1:]}


def _run_job(table: BenchTable, job: BenchJob, asks_each: int) -> dict[str, Any] | FailedRun:
    run_budget = RunBudget(job.budget, asks_each, job.in_flight)
    try:
        trace = run_contender(table, job.searcher, job.seed, run_budget)
    except Exception as error:  # noqa: BLE001 - one searcher's error must not stop the other runs; it is reported at the end
        return FailedRun(job, f"{type(error).__name__}: {error}")
    return csv_row(job, trace, front=not table.optimum.exact)


_worker_tables: dict[str, BenchTable] = {}  # of this worker


def _initialise_worker(tables: dict[str, BenchTable]) -> None:
    _worker_tables.update(tables)


def _run_in_worker(job: BenchJob, asks_each: int) -> dict[str, Any] | FailedRun:
    return _run_job(_worker_tables[job.table], job, asks_each)


def _run_parallel(
    tables: Mapping[str, BenchTable], jobs: Sequence[BenchJob], workers: int, asks_each: int
) -> Iterator[dict[str, Any] | FailedRun]:
    from concurrent.futures import as_completed

    from loky import ProcessPoolExecutor

    single_thread = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
    pool = ProcessPoolExecutor(
        workers, timeout=None, initializer=_initialise_worker, initargs=(dict(tables),), env=single_thread
    )
    try:
        for future in as_completed([pool.submit(_run_in_worker, job, asks_each) for job in jobs]):
            yield future.result()
    finally:
        pool.shutdown(wait=True, kill_workers=True)


def make_jobs(
    tables: Sequence[str],
    searchers: Sequence[str],
    seeds: int,
    budget: int,
    in_flight: int,
    parallel_searchers: Sequence[str],
) -> list[BenchJob]:
    """Every run of a campaign, all contenders of a seed before the next seed.

    ``in_flight``: where it is more than one, ``parallel_searchers`` run with as many evaluations in flight too.
    """
    jobs = []
    for seed in range(seeds):
        for table in tables:
            jobs += [BenchJob(table, searcher, seed, 1, budget) for searcher in searchers]
            if in_flight > 1:
                jobs += [
                    BenchJob(table, searcher, seed, in_flight, budget)
                    for searcher in searchers
                    if searcher in parallel_searchers
                ]
    return jobs


def run_campaign(
    tables: Mapping[str, BenchTable],
    jobs: Sequence[BenchJob],
    path: Path,
    *,
    workers: int = 0,
    asks_each: int = 5,
    progress: Callable[[int, int], None] = lambda done, of: None,
) -> list[FailedRun]:
    """Run the jobs that ``path`` does not hold yet, and add a line to it for each. ``workers`` 0: one a core.

    Returns the runs that ended in an error; the next campaign tries them again. Raises ``BenchError``.
    """
    done = finished_jobs(path)
    remaining = [job for job in jobs if job not in done]
    workers = min(workers or os.cpu_count() or 1, max(len(remaining), 1))
    if workers == 1:
        results: Iterator[dict[str, Any] | FailedRun] = (
            _run_job(tables[job.table], job, asks_each) for job in remaining
        )
    else:
        results = _run_parallel(tables, remaining, workers, asks_each)
    failures = []
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, CSV_COLUMNS, lineterminator="\n")
        if file.tell() == 0:
            writer.writeheader()
        for number, result in enumerate(results, start=1):
            if isinstance(result, FailedRun):
                failures.append(result)
            else:
                writer.writerow(result)
                file.flush()
            progress(number, len(remaining))
    return failures
