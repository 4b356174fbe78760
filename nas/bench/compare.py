"""One bench from its runs to its page: what ``nas bench searchers`` does."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from nas.bench.campaign import Failure, checkpoints, jobs_of, run_campaign
from nas.bench.contenders import contender, missing
from nas.bench.in_flight_cost import losses_of_efficiency
from nas.bench.markdown_page import markdown
from nas.bench.standings import load_runs, overall, standings, tidy
from nas.bench.tables.table import BenchError, BenchTable

AT = (50, 100, 200, 500)


@dataclass(frozen=True)
class BenchResult:
    """What a bench found: figures as frames, the page, what was written, runs that ended in an error."""

    standings: pd.DataFrame
    overall: pd.DataFrame
    apart: pd.DataFrame
    page: str
    files: tuple[Path, ...]
    failures: tuple[Failure, ...]

    def to_document(self) -> dict[str, Any]:
        """The same as JSON-able data; what is not known is ``None``."""
        frames = {"overall": self.overall, "standings": self.standings, "in_flight": self.apart}
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
    say: Callable[[str], None] = lambda text: None,
) -> BenchResult:
    """Run the searchers on the tables and write everything into ``out``; runs that are there already stay.

    ``in_flight``: searchers that are no rivals run with so many evaluations in flight too. ``asks_each``: a run asks at
    most so many times as often as it may evaluate; runs of another limit are not told apart. ``report_only``: nothing
    is run, what is there is reported. ``source``: the command's options that name the tables, for the page. Searchers
    whose packages are missing are skipped with a word. Raises ``UnknownName``, ``BenchError``.
    """
    there = _available(searchers, say)
    beside = [name for name in there if not contender(name).rival]
    jobs = jobs_of(list(tables), there, seeds, evaluations, in_flight, beside)
    path = out / "runs.csv"
    failures: list[Failure] = []
    if not report_only:
        failures = run_campaign(tables, jobs, path, workers=workers, asks_each=asks_each, progress=_Progress(say))
    for failure in failures[:3]:
        say(f"{failure.job.searcher} failed on {failure.job.table} with seed {failure.job.seed}: {failure.text}")
    runs = load_runs(path, tables, jobs)
    marks = [mark for mark in AT if mark in checkpoints(evaluations)]
    found = standings(runs, tables, against, marks)
    ranks, apart = overall(found), losses_of_efficiency(runs, tables)
    source = source or f"--tables {','.join(tables)}"
    command = f"nas bench searchers {source} --searchers {','.join(there)} --seeds {seeds}"
    command += f" --evaluations {evaluations} --asks-each {asks_each} --in-flight {in_flight}"
    page = markdown(command, tables, found, ranks, apart, against, evaluations)
    files = [path, *_written(out, tidy(runs), found, apart, page), *_drawn(runs, tables, out)]
    return BenchResult(found, ranks, apart, page, tuple(files), tuple(failures))


def _available(searchers: Sequence[str], say: Callable[[str], None]) -> list[str]:
    reasons = {name: missing(name) for name in searchers}
    for name, reason in reasons.items():
        if reason:
            say(f"{name} is skipped: {reason}")
    there = [name for name, reason in reasons.items() if not reason]
    if not there:
        raise BenchError("none of the searchers is available here")
    return there


class _Progress:
    """Says how far a campaign is, every quarter of a minute."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._last = time.monotonic()

    def __call__(self, done: int, of: int) -> None:
        if time.monotonic() - self._last > 15:
            self._last = time.monotonic()
            self._say(f"{done} of {of} runs")


def _written(out: Path, figures: pd.DataFrame, found: pd.DataFrame, apart: pd.DataFrame, page: str) -> list[Path]:
    paths = []
    for name, frame in (("figures", figures), ("standings", found), ("in_flight", apart)):
        if len(frame):
            paths.append(out / f"{name}.csv")
            frame.to_csv(paths[-1], index=False, float_format="%.6g")
    paths.append(out / "searchers.md")
    paths[-1].write_text(page, encoding="utf-8")
    return paths


def _drawn(runs: pd.DataFrame, tables: Mapping[str, BenchTable], out: Path) -> list[Path]:
    from nas.bench.plots import draw

    return draw(runs, tables, out)
