"""Fronts, candidates and summaries of a search as tables and lines of text."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rich.table import Table

from nas.candidates.candidate import Candidate
from nas.candidates.constraints import Limit
from nas.candidates.fidelity import exact_fraction
from nas.candidates.metrics import METRICS, MetricTable, quality_names
from nas.candidates.objectives import Objective
from nas.candidates.untrained_metrics import DEVICE_LATENCY
from nas.candidates.verified import VerifiedCandidate
from nas.engine.result import SearchResult, Tally, pareto_front
from nas.report.baselines import baselines_near_front
from nas.report.format import format_metric, metric_heading
from nas.report.verification import verification_lines, verification_table


def _metric_columns(
    objectives: Sequence[Objective],
    limits: Sequence[Limit],
    trained: bool,
    metrics: MetricTable,
    candidates: Iterable[Candidate] = (),
) -> list[str]:
    """The metrics of a table: what was asked for, each device's latency, what a device said, and sizes."""
    available = dict.fromkeys(name for c in candidates for name in c.metrics)
    columns = [o.metric for o in objectives]
    if trained:
        columns += [name for name in quality_names(metrics) if name in available and not metrics[name].detail]
    columns += [limit.metric for limit in limits if limit.metric not in columns]
    columns += [
        "latency_ms",
        *(n for n in available if n.startswith("latency_ms@")),
        *(n for n in available if n == DEVICE_LATENCY),
    ]
    columns += ["macs", "params"]
    return list(dict.fromkeys(columns))


def front_table(result: SearchResult) -> Table:
    """The front, best first objective first, then the published networks that were trained beside it."""
    metrics, shown = result.metrics, [*result.front, *result.references]
    columns = _metric_columns(result.objectives, result.limits, bool(result.proxy), metrics, shown)
    table = _candidate_table(f"Pareto front of {result.study}", columns, metrics)
    for c in result.front:
        _add_candidate_row(table, c, columns, metrics)
    table.add_section()
    for c in result.references:
        _add_candidate_row(table, c, columns, metrics, style="dim")
    return table


def _candidate_table(title: str, columns: Sequence[str], metrics: MetricTable) -> Table:
    table = Table(title=title, title_justify="left", header_style="bold")
    table.add_column("candidate", no_wrap=True)
    for metric in columns:
        table.add_column(metric_heading(metric, metrics), justify="right")
    return table


def _add_candidate_row(
    table: Table, candidate: Candidate, columns: Sequence[str], metrics: MetricTable, style: str | None = None
) -> None:
    figures = [format_metric(metric, candidate.metrics.get(metric), metrics) for metric in columns]
    table.add_row(candidate.reference or f"#{candidate.number}", *figures, style=style)


def supplementary_tables(result: SearchResult) -> list[Table]:
    """The tables below the front, where there is anything to show: predicted against measured, published networks."""
    tables = [verification_table(result.verified)] if result.verified else []
    if result.baselines:
        tables.append(baselines_near_front(result.baselines, [c.metrics["latency_ms"] for c in result.front]))
    return tables


def architecture_lines(candidates: Iterable[Candidate]) -> list[str]:
    """One line a candidate: its number and its architecture, to be read by ``space.parse``."""
    return [f"#{c.number}: {c.architecture}" for c in candidates]


def summary_lines(result: SearchResult) -> list[str]:
    """The search in a few sentences: what was done, and how to read the figures."""
    t = result.tally
    lines = [
        f"{t.scored} candidates costed, {t.infeasible} over a limit{_unsupported_text(t)},"
        f" {t.duplicates} repeats not costed again,"
        f" {t.trained - t.full_hits - t.in_flight_hits} trained{_partial_training_text(t)}, {t.failed} failed"
        + (f", {t.resumed} taken over from an earlier run" if t.resumed else "")
        + f"; {t.seconds:.0f} s.",
        *_cache_lines(t),
        *verification_lines(result.verified),
    ]
    if result.proxy:
        lines.append(
            f"Quality is that after training at a proxy scale: {result.proxy}. It ranks; it is no published figure."
        )
    if not result.front:
        lines.append(_why_empty(result))
    return lines


def _unsupported_text(t: Tally) -> str:
    return f" ({t.unsupported} with operations that a device cannot run)" if t.unsupported else ""


def _partial_training_text(t: Tally) -> str:
    return f" ({t.short} of them at a lower fidelity)" if t.short else ""


def _cache_lines(t: Tally) -> list[str]:
    """What identifying networks cost, and which trainings the evaluation cache saved."""
    lookups = t.full_hits + t.partial_hits + t.in_flight_hits + t.misses
    fraction = f" ({t.hash_seconds / t.seconds:.2%} of the time)" if t.seconds > 0 else ""
    line = f"Recognising networks took {t.hash_seconds:.2f} s{fraction}"
    if t.collisions:
        line += f"; {t.collisions} keys met by accident and were told apart"
    if t.undecided:
        line += f"; {t.undecided} networks may be ones met before, which could not be decided, and share no result"
    if not lookups:
        return [line + "."]
    return [
        f"Evaluation cache: {t.full_hits} full, {t.partial_hits} partial and {t.in_flight_hits} in-flight hits,"
        f" {t.misses} misses; {t.saved_seconds:.0f} s of training saved. {line}."
    ]


def study_tables(
    study: str,
    candidates: Sequence[Candidate],
    document: Mapping[str, Any],
    verified: Sequence[VerifiedCandidate] = (),
    metrics: MetricTable = METRICS,
) -> list[Table | str]:
    """A study as it stands: candidates in each state, the front of the finished ones, predicted against measured.

    ``metrics``: those that the study's search had.
    """
    counts: dict[str, int] = {}
    for c in candidates:
        kind: str = "published" if c.reference else c.status
        if c.status == "stopped":
            kind += f" after {exact_fraction(c.fidelity)} of the steps"
        counts[kind] = counts.get(kind, 0) + 1
    status_text = ", ".join(f"{n} {status}" for status, n in counts.items()) or "no candidate yet"
    objectives = [Objective.parse(text, metrics) for text in document["objectives"]]
    trained = int(document["train"]) > 0
    best = pareto_front([c for c in candidates if not c.reference], objectives, trained=trained)
    columns = _metric_columns(objectives, [], trained, metrics, best)
    table = _candidate_table("Front so far", columns, metrics)
    for c in best:
        _add_candidate_row(table, c, columns, metrics)
    failures = [f"#{c.number} failed: {c.reason}" for c in candidates if c.status == "failed"]
    measured: list[Table | str] = [verification_table(verified), *verification_lines(verified)] if verified else []
    return [f"{study}: {status_text}", *([table] if best else []), *architecture_lines(best), *failures, *measured]


def nearest_miss_text(nearest: Candidate, limits: Sequence[Limit]) -> str:
    """A sentence for a search whose limits leave nothing: what the nearest candidate breaks, and by how much."""
    what = "No trained candidate" if nearest.was_trained else "No candidate"
    violations = [(limit, limit.constraint_violation(nearest.metrics)) for limit in limits]
    misses = [f"{limit.metric} by {_violation_text(limit, violation)}" for limit, violation in violations if violation]
    missed = f"; it misses {', '.join(misses)}" if misses else ""
    return f"{what} is within the limits; the nearest: {nearest.reason}{missed}."


def _violation_text(limit: Limit, violation: float) -> str:
    if limit.bound == 0:
        return f"{violation:.4g}"
    return f"{100 * violation:,.0f} %" if violation >= 0.1 else f"{100 * violation:.2g} %"


def _why_empty(result: SearchResult) -> str:
    if result.nearest_miss is not None:
        return nearest_miss_text(result.nearest_miss, result.limits)
    within = [c for c in result.candidates if c.status != "infeasible"]
    if any(c.status == "stopped" for c in within):
        return (
            "The front is empty: no candidate was trained in full; give the search a larger train, or fewer rungs"
            " (--searching rungs=2)."
        )
    reasons = sorted({c.reason for c in within if c.status == "failed"})
    return "The front is empty: no candidate was trained" + (f" ({reasons[0]})." if reasons else ".")
