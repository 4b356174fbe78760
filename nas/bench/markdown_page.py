"""The page that a bench writes: the standings of its searchers, in Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isfinite

import pandas as pd

from nas.bench.contenders import contender
from nas.bench.standings import TARGET_VOLUME_SHARE
from nas.bench.tables.table import BenchTable

MIN_RUNS_FOR_BOLD = 10
"""Runs without which an interval by bootstrap says little."""


def render_markdown(
    command: str,
    tables: Mapping[str, BenchTable],
    table_standings: pd.DataFrame,
    ranks: pd.DataFrame,
    in_flight_cost: pd.DataFrame,
    against: str,
    budget: int,
) -> str:
    """The whole page, with every figure of the frames."""
    lines = [
        "# Search algorithms on tables of measured networks",
        "",
        f"`{command}`",
        "",
        "An evaluation is of a network that was not evaluated before, by its functional key; repeats are free for"
        " everybody. A run ends at the best network, at its budget, or when its searcher repeats itself only."
        f" Budget: {budget} evaluations. Figures after N evaluations are medians over seeds. Differences are"
        f" of means to `{against}`, paired by seed, with a 95 % bootstrap interval, bold where it does not hold 0 and"
        f" there are {MIN_RUNS_FOR_BOLD} runs or more (no correction for how many comparisons there are). Ask: a"
        " searcher's own time for an ask and a tell, median over runs, on a machine that ran others beside it.",
        "",
        "## Over all tables",
        "",
        *_markdown_table(
            ["searcher", "mean rank", "best on", "of tables", "ask, ms"],
            [[r.searcher, f"{r.mean_rank:.1f}", r.best, r.tables, f"{r.overhead_ms:.3g}"] for r in _rows(ranks)],
        ),
        "",
    ]
    for name, table in tables.items():
        lines += _section(name, table, table_standings[table_standings["table"] == name], against, budget)
    if len(in_flight_cost):
        lines += _in_flight_section(in_flight_cost)
    lines += ["## Who they are", ""]
    lines += [f"- `{searcher}`: {contender(searcher).about}." for searcher in ranks["searcher"]]
    return "\n".join(lines) + "\n"


def _rows(frame: pd.DataFrame) -> list[pd.Series]:
    return [row for _, row in frame.iterrows()]


def _markdown_table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> list[str]:
    return [f"| {' | '.join(map(str, line))} |" for line in (header, ["---"] * len(header), *rows)]


def _section(name: str, table: BenchTable, of_table: pd.DataFrame, against: str, budget: int) -> list[str]:
    single = len(table.objectives) == 1
    columns = [column for column in of_table.columns if column.startswith("value_") and of_table[column].notna().any()]
    kind = "regret" if single else "share"
    counted = ["found", "median", "mean", *(["median asks"] if single else [])]
    header = ["searcher", "runs", *counted, *(f"{kind} at {column.removeprefix('value_')}" for column in columns)]
    rows = []
    for row in _rows(of_table):
        values = [f"{row[column]:.3g}" if single else f"{row[column]:.4f}" for column in columns]
        median = f"{row.median_evaluations:.0f}" if row.median_evaluations <= budget else f"> {budget}"
        efforts = [f"{row.found:.0%}", median, f"{row.mean_evaluations:.0f}"]
        if single:
            efforts.append(f"{row.median_asks:.0f}" if isfinite(row.median_asks) else "")
        rows.append([row.searcher, row.runs, *efforts, *values, _difference(row, single), f"{row.overhead_ms:.3g}"])
    header += [f"to {against}", "ask, ms"]
    return [f"## {name}: {table.title}", "", _optimum_text(table), "", *_markdown_table(header, rows), ""]


def _optimum_text(table: BenchTable) -> str:
    optimum, count = table.optimum, table.networks
    networks = f"{count:,} networks" if count is not None else "networks without number"
    if len(table.objectives) == 1:
        return (
            f"{networks}; least {table.objectives[0]} {optimum.least_test_loss:.6g}. Found, median, mean: runs that"
            " evaluated the network that is best by what the search sees, and evaluations until then, at most the"
            " budget; asks count repeats."
        )
    front = "true front" if optimum.exact else "front, the best known (a long evolution and all runs),"
    errors = getattr(table, "errors", None) or {}
    held_out = "".join(f" {name} {value:.4g};" for name, value in errors.items() if name.endswith(("r2", "spearman")))
    reference = ", ".join(f"{x:.5g}" for x in optimum.reference)
    return (
        f"{networks}; {front} of {len(optimum.front)} networks; reference {reference}"
        f" ({', '.join(table.objectives)}). Found, median, mean: runs that have {TARGET_VOLUME_SHARE:.0%} of the"
        " front's hypervolume, and evaluations until then, in steps of 10. Ranked by the missing share, averaged"
        " over the run." + (f" Of the regressions on the validation split:{held_out.rstrip(';')}." if held_out else "")
    )


def _difference(row: pd.Series, single: bool) -> str:
    if "difference" not in row or pd.isna(row.difference):
        return ""
    digits = ".0f" if single else ".4f"
    text = f"{row.difference:+{digits}} ({row.low:+{digits}} to {row.high:+{digits}})"
    is_significant = row.low > 0 or row.high < 0
    return f"**{text}**" if is_significant and row.runs >= MIN_RUNS_FOR_BOLD else text


def _in_flight_section(in_flight_cost: pd.DataFrame) -> list[str]:
    header = ["table", "searcher", "runs", "in flight", "mean, one by one", "mean, in flight", "more"]
    header += ["median, one by one", "median, in flight", "more", "times sooner"]
    rows = []
    for row in _rows(in_flight_cost):
        more = f"{row.difference / row.mean_1:+.0%} ({row.low / row.mean_1:+.0%} to {row.high / row.mean_1:+.0%})"
        means = [f"{row.mean_1:.1f}", f"{row.mean_n:.1f}", more]
        rows.append(
            [
                row.table,
                row.searcher,
                row.runs,
                row.in_flight,
                *means,
                f"{row.evaluations_1:.0f}",
                *_speed_up_cells(row),
            ]
        )
    return [
        "## Several in flight",
        "",
        f"Means of evaluations until the best network or {TARGET_VOLUME_SHARE:.0%} of the front's hypervolume, at most"
        " the budget, and how much more that is, paired by seed, with a 95 % bootstrap interval. Medians: evaluations,"
        " in steps of 10,"
        " until the median run is as good as it is one by one after half of the budget, and how many times sooner that"
        " is in simulated seconds.",
        "",
        *_markdown_table(header, rows),
        "",
    ]


def _speed_up_cells(row: pd.Series) -> list[str]:
    if pd.isna(row.evaluations_n):
        return ["never", "", ""]
    speed_up = "" if pd.isna(row.speed_up) else f"{row.speed_up:.1f}"
    return [f"{row.evaluations_n:.0f}", f"{row.loss_percent:+.0f} %", speed_up]
