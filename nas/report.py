"""What a person sees: progress, tables, and the picture of a front."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text

from hardware_models.cost import Cost
from nas.baselines_beside import baselines_near, draw_baselines
from nas.candidate import Candidate
from nas.device_metrics import DEVICE_LATENCY
from nas.objectives import METRICS, Limit, Objective, metric_row
from nas.result import SearchResult, Tally, pareto_front
from nas.searchers.shares import exact
from nas.verification import Verified
from nas.verification_report import draw_measured, verification_lines, verification_table


def figure(metric: str, value: float | None) -> str:
    """A metric's value as people read it, without its name."""
    if value is None:
        return "-"
    if metric.partition("@")[0] in ("latency_ms", DEVICE_LATENCY):
        return f"{value:.2f}" if value >= 1 else f"{value:.3g}"
    if metric.partition("@")[0] in ("fallback_ops", "guessed_ops"):
        return f"{value:.0f}"
    if metric == "cut_bytes":
        return f"{value / 1024:.1f} KiB"
    if metric in ("macs", "params", "variables"):
        return f"{value / 1e9:.2f} G" if value >= 1e9 else f"{value / 1e6:.2f} M"
    if metric == "peak_activation_bytes":
        return f"{value / 2**20:.2f} MiB"
    if metric_row(metric).unit == "KiB":
        return f"{value:.0f}"
    return f"{value:.3f}"


def heading(metric: str) -> str:
    """A metric's column heading."""
    if metric == DEVICE_LATENCY:
        return "on the device (ms)"
    row, device = metric_row(metric), metric.partition("@")[2]
    label = f"{row.label} {device}".rstrip()
    return f"{label} ({row.unit})" if row.unit and row.unit != "B" else label


class _Rate(ProgressColumn):
    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        if not speed:
            return Text("")
        return Text(f"{speed:.0f}/s" if speed >= 1 else f"{1 / speed:.1f} s each", style="cyan")


class ProgressReporter:
    """Progress bars with rate, best so far and time left, on a terminal; a line a phase elsewhere."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._progress = Progress(
            TextColumn("{task.description:<9}"),
            BarColumn(bar_width=28),
            MofNCompleteColumn(),
            _Rate(),
            TextColumn("{task.fields[note]}", style="green"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=console,
        )
        self._task: Any = None

    def __enter__(self) -> ProgressReporter:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def phase(self, name: str, total: int) -> None:
        self._task = self._progress.add_task(name, total=total, note="")

    def advance(self, note: str = "") -> None:
        self._progress.update(self._task, advance=1, note=note)


def _columns(
    objectives: Sequence[Objective], limits: Sequence[Limit], trained: bool, shown: Iterable[Candidate] = ()
) -> list[str]:
    """The metrics of a table: what was asked for, each device's latency, what a device said, and sizes."""
    known = dict.fromkeys(name for c in shown for name in c.metrics)
    wanted = [o.metric for o in objectives]
    if trained:
        wanted += [name for name, metric in METRICS.items() if metric.origin == "quality" and name in known]
    wanted += [limit.metric for limit in limits if limit.metric not in wanted]
    wanted += [
        "latency_ms",
        *(n for n in known if n.startswith("latency_ms@")),
        *(n for n in known if n == DEVICE_LATENCY),
    ]
    wanted += ["macs", "params"]
    return list(dict.fromkeys(wanted))


def front_table(result: SearchResult) -> Table:
    """The front, best first objective first, then the published networks that were trained beside it."""
    columns = _columns(result.objectives, result.limits, bool(result.proxy), [*result.front, *result.references])
    table = _candidate_table(f"Pareto front of {result.study}", columns)
    for c in result.front:
        _add(table, c, columns)
    table.add_section()
    for c in result.references:
        _add(table, c, columns, style="dim")
    return table


def _candidate_table(title: str, columns: Sequence[str]) -> Table:
    table = Table(title=title, title_justify="left", header_style="bold")
    table.add_column("candidate", no_wrap=True)
    for metric in columns:
        table.add_column(heading(metric), justify="right")
    return table


def _add(table: Table, candidate: Candidate, columns: Sequence[str], style: str | None = None) -> None:
    figures = [figure(metric, candidate.metrics.get(metric)) for metric in columns]
    table.add_row(candidate.reference or f"#{candidate.number}", *figures, style=style)


def tables_beside(result: SearchResult) -> list[Table]:
    """What stands under the front, where there is any: predicted against measured, and the published networks."""
    tables = [verification_table(result.verified)] if result.verified else []
    if result.baselines:
        tables.append(baselines_near(result.baselines, [c.metrics["latency_ms"] for c in result.front]))
    return tables


def architecture_lines(candidates: Iterable[Candidate]) -> list[str]:
    """One line a candidate: its number and its architecture, to be read by ``space.parse``."""
    return [f"#{c.number}: {c.architecture}" for c in candidates]


def summary_lines(result: SearchResult) -> list[str]:
    """The search in a few sentences: what was done, and how to read the figures."""
    t = result.tally
    lines = [
        f"{t.scored} candidates costed, {t.infeasible} over a limit{_unsupported(t)},"
        f" {t.duplicates} repeats not costed again,"
        f" {t.trained - t.full_hits - t.in_flight_hits} trained{_short(t)}, {t.failed} failed"
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


def _unsupported(t: Tally) -> str:
    return f" ({t.unsupported} with operations that a device cannot run)" if t.unsupported else ""


def _short(t: Tally) -> str:
    return f" ({t.short} of them for a share of the steps)" if t.short else ""


def _cache_lines(t: Tally) -> list[str]:
    """What was paid for, and what was not paid for twice."""
    asked = t.full_hits + t.partial_hits + t.in_flight_hits + t.misses
    share = f" ({t.hash_seconds / t.seconds:.2%} of the time)" if t.seconds > 0 else ""
    line = f"Recognising networks took {t.hash_seconds:.2f} s{share}"
    if t.collisions:
        line += f"; {t.collisions} keys met by accident and were told apart"
    if not asked:
        return [line + "."]
    return [
        f"Evaluation cache: {t.full_hits} full, {t.partial_hits} partial and {t.in_flight_hits} in-flight hits,"
        f" {t.misses} misses; {t.saved_seconds:.0f} s of training saved. {line}."
    ]


def study_tables(
    study: str, candidates: Sequence[Candidate], document: dict[str, Any], verified: Sequence[Verified] = ()
) -> list[Table | str]:
    """A study as it stands: how many candidates are in which state, the front of those that are finished, and what was
    measured beside what was predicted."""
    counts: dict[str, int] = {}
    for c in candidates:
        kind: str = "published" if c.reference else c.status
        if c.status == "stopped":
            kind += f" after {exact(c.share)} of the steps"
        counts[kind] = counts.get(kind, 0) + 1
    told = ", ".join(f"{n} {status}" for status, n in counts.items()) or "no candidate yet"
    objectives = [Objective.parse(text) for text in document["objectives"]]
    trained = int(document["train"]) > 0
    best = pareto_front([c for c in candidates if not c.reference], objectives, trained=trained)
    columns = _columns(objectives, [], trained, best)
    table = _candidate_table("Front so far", columns)
    for c in best:
        _add(table, c, columns)
    failures = [f"#{c.number} failed: {c.reason}" for c in candidates if c.status == "failed"]
    measured: list[Table | str] = [verification_table(verified), *verification_lines(verified)] if verified else []
    return [f"{study}: {told}", *([table] if best else []), *architecture_lines(best), *failures, *measured]


def _why_empty(result: SearchResult) -> str:
    within = [c for c in result.candidates if c.status != "infeasible"]
    if not within and result.candidates:
        nearest = min(result.candidates, key=lambda c: c.excess)
        return f"No candidate is within the limits; the nearest: {nearest.reason}."
    if any(c.status == "stopped" for c in within):
        return (
            "The front is empty: no candidate was trained in full; give the search a larger train, or fewer rungs"
            " (--searching rungs=2)."
        )
    reasons = sorted({c.reason for c in within if c.status == "failed"})
    return "The front is empty: no candidate was trained" + (f" ({reasons[0]})." if reasons else ".")


def plot_front(result: SearchResult, path: Path) -> None:
    """A PNG of the first two objectives: candidates, front, limits, what was measured, and the published networks."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    x, y = (result.objectives * 2)[:2]
    finished = "trained" if result.proxy else "scored"

    def points(candidates: Iterable[Candidate]) -> tuple[list[float], list[float]]:
        known = [c.metrics for c in candidates if x.metric in c.metrics and y.metric in c.metrics]
        return [m[x.metric] for m in known], [m[y.metric] for m in known]

    figure_, axes = pyplot.subplots(figsize=(8, 5), dpi=150, layout="constrained")
    infeasible = [c for c in result.candidates if c.status == "infeasible"]
    others = [c for c in result.candidates if c.status == finished]
    if infeasible and points(infeasible)[0]:
        axes.scatter(*points(infeasible), s=8, color="#cccccc", label="over a limit")
    axes.scatter(*points(others), s=18 if result.proxy else 8, color="#8fb8de", label=f"{finished} candidates")
    xs, ys = points(result.front)
    line_style = "-o" if len(result.objectives) <= 2 else "o"  # of three objectives two make no line
    axes.plot(xs, ys, line_style, color="#c0392b", markersize=5, linewidth=1.5, label="Pareto front")
    for reference, marker in zip(result.references, "^sDvP*X<>", strict=False):
        rx, ry = points([reference])
        if rx:
            axes.scatter(
                rx, ry, s=60, marker=marker, facecolors="none", edgecolors="#333333", label=reference.reference
            )
    for limit in result.limits:
        if limit.metric in (x.metric, y.metric):
            line = axes.axvline if limit.metric == x.metric else axes.axhline
            line(limit.bound, color="#e67e22", linestyle="--", linewidth=1.2, label=f"limit: {limit}")
    draw_measured(axes, result, x.metric, y.metric)
    hw = str(result.settings.get("hw") or "")
    axes.set_xlabel(_axis_label(x.metric, hw))
    axes.set_ylabel(_axis_label(y.metric, hw))
    _keep_in_view(axes, points([*others, *result.front])[0], result, x)
    taken = [reference.reference for reference in result.references]
    draw_baselines(axes, result.baselines, x.metric, y.metric, taken)
    caption = "\n".join(textwrap.wrap(result.proxy, 110))
    axes.set_title(result.study + (f"\n{caption}" if caption else ""), fontsize=8)
    axes.grid(alpha=0.25)
    axes.legend(fontsize=7, loc="best")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure_.savefig(path)
    pyplot.close(figure_)


def plot_layers(cost: Cost, title: str, path: Path) -> None:
    """A picture of what every operation of a network takes, in order, coloured by what bounds it."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    rows = [row for row in cost.breakdown() if row.latency_ms > 0]
    bounds = dict.fromkeys(row.bound for row in rows)
    figure_, axes = pyplot.subplots(figsize=(9, max(2.5, 0.16 * len(rows) + 1)), dpi=120, layout="constrained")
    for bound in bounds:
        places = [i for i, row in enumerate(rows) if row.bound == bound]
        axes.barh(places, [rows[i].latency_ms for i in places], label=bound)
    names = [f"{row.op} {'x'.join(map(str, row.shape))}" for row in rows]
    axes.set_yticks(range(len(rows)), names, fontsize=6)
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.set_xlabel("predicted latency (ms)")
    axes.set_title(f"{title}: {cost.latency_ms:.2f} ms, {cost.source}", fontsize=9)
    if rows:
        axes.legend(fontsize=7, loc="lower right")
    axes.grid(axis="x", alpha=0.25)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure_.savefig(path)
    pyplot.close(figure_)


def _keep_in_view(axes: Any, xs: Sequence[float], result: SearchResult, x: Objective) -> None:
    """Cut off what lies far beyond the candidates, such as a network with a fallback, and say so in the picture."""
    bounds = [limit.bound for limit in result.limits if limit.metric == x.metric]
    if not xs:
        return
    reach = 1.5 * max([*xs, *bounds])
    beyond = [c for c in result.references if c.metrics.get(x.metric, 0.0) > reach]
    if beyond:
        axes.set_xlim(right=reach)
        told = ", ".join(f"{c.reference} at {figure(x.metric, c.metrics[x.metric])}" for c in beyond)
        axes.text(0.99, 0.01, f"beyond: {told}", transform=axes.transAxes, ha="right", va="bottom", fontsize=7)


def _axis_label(metric: str, hw: str) -> str:
    origin = metric_row(metric).origin
    if origin == "hardware":
        worst = "worst of " if "," in hw and "@" not in metric else ""
        return f"predicted {'' if '@' in metric else worst + hw.replace(',', ', ') + ' '}{heading(metric)}".strip()
    return ("proxy " if origin == "quality" else "") + heading(metric)
