"""A search space on a terminal, and as a JSON document."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from nas.report.space_summary import Ranges, Reference, stages
from search_spaces.space.genotype import Value
from search_spaces.space.space import Space

if TYPE_CHECKING:
    from rich.table import Table

_LONG = 100  # characters of options that are written once


def document(
    space: Space, found: Ranges | None, published: Iterable[Reference], hardware: str | None
) -> dict[str, Any]:
    """Everything as JSON-able data. ``size`` is exact; ``decisions`` are the choices one by one."""
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
            for stage in stages(space.decisions())
        ],
        "hardware": hardware,
        "ranges": None
        if found is None
        else {
            "samples": found.samples,
            "mutations": found.mutations,
            "complete": found.complete,
            "partly_priced": found.partly_priced,
            "metrics": {name: vars(reach) for name, reach in found.metrics.items()},
            "made": dict(found.made),
        },
        "networks": [
            {"network": r.name, **r.figures, "other_options": dict(r.otherwise), "reason": r.reason} for r in published
        ],
    }


def _scientific(size: int) -> str:
    digits = str(size)
    return f"{digits[0]}.{digits[1:3]}e+{len(digits) - 1}"


def stages_table(space: Space, found: Ranges | None = None) -> Table:
    """The choices for a terminal: a section a stage, alike layers in one row."""
    from rich.table import Table
    from rich.text import Text

    size = space.size()
    written = f"{size:.3g}" if size < 10**300 else _scientific(size)
    count = len(space.decisions())
    table = Table(title=f"{space.name}: {written} genotypes, {count} choices", title_justify="left")
    for heading in ("stage", "choice"):
        table.add_column(heading)
    table.add_column("choices", justify="right")
    table.add_column("options", justify="right")
    table.add_column("which", ratio=1)
    seen: dict[str, str] = {}
    for stage in stages(space.decisions()):
        table.add_section()
        for k, row in enumerate(stage.rows):
            sometimes = found is not None and any(found.made[name] < 1 for name in row.names)
            label = row.label + (" *" if sometimes else "")
            which = ", ".join(map(_written, row.options))
            first = seen.setdefault(which, f"{stage.name} {row.label}")
            if len(which) > _LONG and first != f"{stage.name} {row.label}":
                which = f"as {first}"
            cells = (stage.name if not k else "", label, str(len(row.names)), str(len(row.options)), which)
            table.add_row(*map(Text, cells))
    if found is not None and any(share < 1 for share in found.made.values()):
        table.caption, table.caption_justify = Text("* not made in every network"), "left"
    return table


def _written(option: Value) -> str:
    if isinstance(option, tuple):
        return "(" + ", ".join(map(_written, option)) + ")"
    return {True: "yes", False: "no"}[option] if isinstance(option, bool) else str(option)


def ranges_table(found: Ranges, published: Iterable[Reference], hardware: str | None) -> Table:
    """The ranges for a terminal, published networks below."""
    from rich.table import Table
    from rich.text import Text

    from nas.report.format import figure, heading

    metrics = list(found.metrics)
    title = "Reach" + (f", predicted latency on {hardware}" if hardware else "")
    table = Table(title=title, title_justify="left")
    table.add_column("")
    for metric in metrics:
        table.add_column(heading(metric), justify="right")
    whole = f"all {found.samples}" if found.complete else f"random {found.samples}"
    for word, name in (("minimum", "low"), ("median", "median"), ("maximum", "high")):
        table.add_row(f"{whole}: {word}", *[figure(m, getattr(found.metrics[m], name)) for m in metrics])
    if not found.complete:
        table.add_section()
        for word in ("lowest", "highest"):
            label = f"reached by {found.mutations} mutations: {word}"
            table.add_row(label, *[figure(m, getattr(found.metrics[m], word)) for m in metrics])
    table.add_section()
    notes = []
    for reference in published:
        mark = " +" if reference.otherwise else ""
        table.add_row(Text(reference.name + mark), *[figure(m, reference.figures.get(m)) for m in metrics], style="dim")
        if reference.otherwise:
            told = ", ".join(f"{n}={value}" for n, value in reference.otherwise.items())
            notes.append(f"+ {reference.name}: {told}")
        if reference.reason:
            notes.append(f"{reference.name}: {reference.reason}")
    if found.partly_priced:
        notes.append(f"{found.partly_priced} of {found.samples} priced in part by a guess or by the host's processor")
    table.caption, table.caption_justify = Text("\n".join(notes)), "left"
    return table
