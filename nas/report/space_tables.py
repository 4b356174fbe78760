"""A search space on a terminal, and as a JSON document."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from nas.report.format import format_metric, metric_heading
from nas.report.space_summary import PublishedMember, SpaceRanges, choice_stages
from search_spaces.space.genotype import DecisionValue
from search_spaces.space.space import Space

if TYPE_CHECKING:
    from rich.table import Table

_MAX_OPTION_TEXT = 100  # characters of options that are written once


def space_document(
    space: Space, space_ranges: SpaceRanges | None, published: Iterable[PublishedMember], hardware: str | None
) -> dict[str, Any]:
    """Choices, ranges and published networks as JSON-able data; ``size`` is exact, ``decisions`` has every choice."""
    size = space.size()
    return {
        "space": space.name,
        "options": dict(space.options),
        "size": size,
        "size_rounded": f"{size:.3g}" if size < 10**300 else _scientific(size),
        "decisions": {name: list(options) for name, options in space.decisions().items()},
        "stages": [
            {
                "stage": stage.name,
                "choices": [{"label": r.label, "names": list(r.names), "options": list(r.options)} for r in stage.rows],
            }
            for stage in choice_stages(space.decisions())
        ],
        "hardware": hardware,
        "ranges": None
        if space_ranges is None
        else {
            "samples": space_ranges.samples,
            "mutations": space_ranges.mutations,
            "complete": space_ranges.complete,
            "partly_priced": space_ranges.partly_priced,
            "metrics": {name: vars(metric_range) for name, metric_range in space_ranges.metrics.items()},
            "made": dict(space_ranges.active_fraction),
        },
        "networks": [
            {"network": r.name, **r.figures, "other_options": dict(r.other_options), "reason": r.reason}
            for r in published
        ],
    }


def _scientific(size: int) -> str:
    digits = str(size)
    return f"{digits[0]}.{digits[1:3]}e+{len(digits) - 1}"


def stages_table(space: Space, space_ranges: SpaceRanges | None = None) -> Table:
    """The choices for a terminal: a section a stage, layers with the same options in one row."""
    from rich.table import Table
    from rich.text import Text

    size = space.size()
    size_text = f"{size:.3g}" if size < 10**300 else _scientific(size)
    count = len(space.decisions())
    table = Table(title=f"{space.name}: {size_text} genotypes, {count} choices", title_justify="left")
    for heading in ("stage", "choice"):
        table.add_column(heading)
    table.add_column("choices", justify="right")
    table.add_column("options", justify="right")
    table.add_column("which", ratio=1)
    first_row: dict[str, str] = {}  # where a list of options was written first
    for stage in choice_stages(space.decisions()):
        table.add_section()
        for k, row in enumerate(stage.rows):
            sometimes = space_ranges is not None and any(space_ranges.active_fraction[name] < 1 for name in row.names)
            label = row.label + (" *" if sometimes else "")
            which = ", ".join(map(_option_text, row.options))
            first = first_row.setdefault(which, f"{stage.name} {row.label}")
            if len(which) > _MAX_OPTION_TEXT and first != f"{stage.name} {row.label}":
                which = f"as {first}"
            cells = (stage.name if not k else "", label, str(len(row.names)), str(len(row.options)), which)
            table.add_row(*map(Text, cells))
    if space_ranges is not None and any(fraction < 1 for fraction in space_ranges.active_fraction.values()):
        table.caption, table.caption_justify = Text("* not made in every network"), "left"
    return table


def _option_text(option: DecisionValue) -> str:
    if isinstance(option, tuple):
        return "(" + ", ".join(map(_option_text, option)) + ")"
    return {True: "yes", False: "no"}[option] if isinstance(option, bool) else str(option)


def ranges_table(space_ranges: SpaceRanges, published: Iterable[PublishedMember], hardware: str | None) -> Table:
    """The ranges for a terminal, published networks below."""
    from rich.table import Table
    from rich.text import Text

    metrics = list(space_ranges.metrics)
    title = "Reach" + (f", predicted latency on {hardware}" if hardware else "")
    table = Table(title=title, title_justify="left")
    table.add_column("")
    for metric in metrics:
        table.add_column(metric_heading(metric), justify="right")
    samples_text = f"all {space_ranges.samples}" if space_ranges.complete else f"random {space_ranges.samples}"
    for word, name in (("minimum", "low"), ("median", "median"), ("maximum", "high")):
        table.add_row(
            f"{samples_text}: {word}", *[format_metric(m, getattr(space_ranges.metrics[m], name)) for m in metrics]
        )
    if not space_ranges.complete:
        table.add_section()
        for word in ("lowest", "highest"):
            label = f"reached by {space_ranges.mutations} mutations: {word}"
            table.add_row(label, *[format_metric(m, getattr(space_ranges.metrics[m], word)) for m in metrics])
    table.add_section()
    notes = []
    for reference in published:
        mark = " +" if reference.other_options else ""
        table.add_row(
            Text(reference.name + mark), *[format_metric(m, reference.figures.get(m)) for m in metrics], style="dim"
        )
        if reference.other_options:
            differences = ", ".join(f"{n}={value}" for n, value in reference.other_options.items())
            notes.append(f"+ {reference.name}: {differences}")
        if reference.reason:
            notes.append(f"{reference.name}: {reference.reason}")
    if space_ranges.partly_priced:
        count = f"{space_ranges.partly_priced} of {space_ranges.samples}"
        notes.append(f"{count} priced in part by a guess or by the host's processor")
    table.caption, table.caption_justify = Text("\n".join(notes)), "left"
    return table
