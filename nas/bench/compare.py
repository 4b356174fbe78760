"""One bench from its runs to its page: what ``nas bench searchers`` does."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from nas.bench.campaign import FailedRun, checkpoints, make_jobs, run_campaign
from nas.bench.contenders import contender, missing_package
from nas.bench.in_flight_cost import in_flight_costs
from nas.bench.markdown_page import render_markdown
from nas.bench.plots import draw_plots
from nas.bench.standings import checkpoint_figures, load_runs, overall_ranking, standings
from nas.bench.tables.table import BenchError, BenchTable

REPORTED_EVALUATIONS = (50, 100, 200, 500)


@dataclass(frozen=True)
class BenchResult:
    """The results of a bench: figures as frames, the page, the files written, runs that ended in an error."""

    standings: pd.DataFrame
    overall_ranking: pd.DataFrame
    in_flight_cost: pd.DataFrame
    page: str
    files: tuple[Path, ...]
    failures: tuple[FailedRun, ...]

    def to_document(self) -> dict[str, Any]:
        """The same as JSON-able data; unknown figures are ``None``."""
        frames = {"overall": self.overall_ranking, "standings": self.standings, "in_flight": self.in_flight_cost}
        records: dict[str, Any] = {
            name: frame.astype(object).where(frame.notna(), None).to_dict("records") for name, frame in frames.items()
        }
        failures = [{**failure.job._asdict(), "error": failure.text} for failure in self.failures]
        return {**records, "files": list(map(str, self.files)), "failures": failures}


def bench_searchers(
    tables: Mapping[str, BenchTable],
    searchers: Sequence[str],
    out: Path,
    *,
    seeds: int = 100,
    evaluations: int = 500,
    workers: int = 0,
    against: str = "auto",
    in_flight: int = 8,
    asks_each: int = 5,
    report_only: bool = False,
    source: str = "",
    print_line: Callable[[str], None] = lambda text: None,
) -> BenchResult:
    """Run the searchers on the tables and write everything into ``out``; runs that are there already stay.

    ``in_flight``: this package's own searchers run with as many evaluations in flight too. ``asks_each``: the limit of
    asks for each evaluation of the budget; runs with other limits are not distinguished. ``report_only``: nothing is
    run, the runs in ``out`` are reported. ``source``: the command's options that name the tables, for the page.
    Searchers whose packages are missing are skipped, and a line says so. Raises ``UnknownName``, ``BenchError``.
    """
    available = _available(searchers, print_line)
    own_searchers = [name for name in available if not contender(name).is_external]
    jobs = make_jobs(list(tables), available, seeds, evaluations, in_flight, own_searchers)
    path = out / "runs.csv"
    failures: list[FailedRun] = []
    if not report_only:
        failures = run_campaign(
            tables, jobs, path, workers=workers, asks_each=asks_each, progress=_ProgressPrinter(print_line)
        )
    for failure in failures[:3]:
        print_line(f"{failure.job.searcher} failed on {failure.job.table} with seed {failure.job.seed}: {failure.text}")
    runs = load_runs(path, tables, jobs)
    checkpoint_counts = [checkpoint for checkpoint in REPORTED_EVALUATIONS if checkpoint in checkpoints(evaluations)]
    table_standings = standings(runs, tables, against, checkpoint_counts)
    ranks, in_flight_cost = overall_ranking(table_standings), in_flight_costs(runs, tables)
    source = source or f"--tables {','.join(tables)}"
    command = f"nas bench searchers {source} --searchers {','.join(available)} --seeds {seeds}"
    command += f" --evaluations {evaluations} --asks-each {asks_each} --in-flight {in_flight}"
    page = render_markdown(command, tables, table_standings, ranks, in_flight_cost, against, evaluations)
    files = [
        path,
        *_write_files(out, checkpoint_figures(runs), table_standings, in_flight_cost, page),
        *draw_plots(runs, tables, out),
    ]
    return BenchResult(table_standings, ranks, in_flight_cost, page, tuple(files), tuple(failures))


def _available(searchers: Sequence[str], print_line: Callable[[str], None]) -> list[str]:
    reasons = {name: missing_package(name) for name in searchers}
    for name, reason in reasons.items():
        if reason:
            print_line(f"{name} is skipped: {reason}")
    available = [name for name, reason in reasons.items() if not reason]
    if not available:
        raise BenchError("none of the searchers is available here")
    return available


class _ProgressPrinter:
    """Prints the progress of a campaign, every quarter of a minute."""

    def __init__(self, print_line: Callable[[str], None]) -> None:
        self._print_line = print_line
        self._last = time.monotonic()

    def __call__(self, done: int, of: int) -> None:
        if time.monotonic() - self._last > 15:
            self._last = time.monotonic()
            self._print_line(f"{done} of {of} runs")


def _write_files(
    out: Path, figures: pd.DataFrame, table_standings: pd.DataFrame, in_flight_cost: pd.DataFrame, page: str
) -> list[Path]:
    paths = []
    for name, frame in (("figures", figures), ("standings", table_standings), ("in_flight", in_flight_cost)):
        if len(frame):
            paths.append(out / f"{name}.csv")
            frame.to_csv(paths[-1], index=False, float_format="%.6g")
    paths.append(out / "searchers.md")
    paths[-1].write_text(page, encoding="utf-8")
    return paths
