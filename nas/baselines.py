"""The published networks side by side: size, predicted latency, and the accuracy that was published for them."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hardware_models.catalog import load_hardware
from hardware_models.cost import HardwareModel
from hardware_models.device_file import HardwareError
from search_spaces.catalog import UnknownName, load_network, named_row, networks, spaces, unknown
from search_spaces.ops import GraphError
from search_spaces.published import Published, published
from search_spaces.space import GenotypeError, SpaceError

if TYPE_CHECKING:
    import pandas
    from rich.table import Table

# Columns and their types in a frame; whole numbers stay whole beside missing ones
COLUMNS: dict[str, str] = {
    "network": "object",
    "space": "object",
    "resolution": "Int64",
    "macs": "Int64",
    "params": "Int64",
    "hardware": "object",
    "latency_ms": "float64",
    "latency_low_ms": "float64",
    "latency_high_ms": "float64",
    "latency_source": "object",
    "guessed_ops": "object",
    "fallback_ops": "object",
    "published_metric": "object",
    "published_value": "float64",
    "published_resolution": "Int64",
    "published_note": "object",
    "published_source": "object",
    "reason": "object",
}
# Planned failures of networks and devices, and of plug-ins that miss a package: each is its row's reason
_FAILURES = (GenotypeError, GraphError, SpaceError, UnknownName, HardwareError, ImportError)


def baselines(
    hw: str | Path | HardwareModel | None, names: Sequence[str] | None = None, space: str | None = None
) -> pandas.DataFrame:
    """A row for each published network, or those of ``names`` and of ``space``: the fastest on ``hw`` first.

    Without hardware, or where it cannot price a network, there is no latency; such rows come last, fewest MACs first,
    after them networks that cannot be built. ``reason`` says what failed. The published figure is the network's own,
    in per cent, for the resolution of the row where there is one; ``published_resolution`` tells where there is not.
    Raises ``UnknownName`` and, for a device file that cannot be used, ``HardwareError``.
    """
    import pandas

    model = None if hw is None else load_hardware(hw)
    known = networks()
    for name in names or ():
        named_row("network", name, known)
    if space is not None and space not in (of_space := {*spaces(), *(row.space for row in known.values())}):
        raise unknown("space", space, sorted(of_space))
    wanted = known if names is None else dict.fromkeys(names)
    rows = [_row(name, known[name].space, model) for name in wanted if space in (None, known[name].space)]
    rows.sort(key=lambda row: (_or_inf(row["latency_ms"]), _or_inf(row["macs"]), row["network"]))
    return pandas.DataFrame(rows, columns=list(COLUMNS), dtype=object).astype(COLUMNS)


def _or_inf(value: float | None) -> float:
    return inf if value is None else value


def _row(name: str, space: str, model: HardwareModel | None) -> dict[str, Any]:
    row: dict[str, Any] = dict.fromkeys(COLUMNS)
    row |= {"network": name, "space": space, "hardware": None if model is None else model.name, "reason": ""}
    try:
        graph = load_network(name)
        row |= {"resolution": graph.input_shape[-1], "macs": graph.macs, "params": graph.params}
        if model is not None:
            cost = model.estimate(graph)
            row |= {column: getattr(cost, column) for column in ("latency_ms", "latency_low_ms", "latency_high_ms")}
            row |= {"latency_source": cost.source}
            row |= {"guessed_ops": ", ".join(cost.guessed_ops), "fallback_ops": ", ".join(cost.fallback_ops)}
    except _FAILURES as error:
        row["reason"] = str(error)
    figure = _own_figure(name, row["resolution"])
    if figure is not None:
        row |= {
            f"published_{fact}": getattr(figure, fact) for fact in ("metric", "value", "resolution", "note", "source")
        }
    return row


def _own_figure(name: str, resolution: int | None) -> Published | None:
    """The first figure that is the network's own, at this resolution where there is one."""
    own = [figure for figure in published(name) if not figure.backbone_of]
    fitting = [figure for figure in own if figure.resolution in (None, resolution)]
    return next(iter(fitting or own), None)


def baselines_table(frame: pandas.DataFrame) -> Table:
    """The frame of ``baselines`` for a terminal: sources by number, and they and what failed below the table."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    from nas.report import figure

    hardware = next(iter(frame["hardware"].dropna()), None)
    title = "Published networks" + (f" on {hardware}" if hardware else "")
    table = Table(title=title, title_justify="left", header_style="bold", box=box.SIMPLE, show_edge=False)
    table.add_column("network", no_wrap=True)
    for heading in ("input", "MACs", "parameters", "latency (ms)", "range"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("published (%)")
    notes = []
    sources: dict[str, int] = {}
    in_part = False
    for row in frame.astype(object).where(frame.notna(), None).to_dict("records"):
        mark = "*" if row["guessed_ops"] or row["fallback_ops"] else ""
        in_part = in_part or bool(mark)
        low, high = row["latency_low_ms"], row["latency_high_ms"]
        published_figure = ""
        if row["published_metric"] is not None:
            number = sources.setdefault(row["published_source"], len(sources) + 1)
            size = row["published_resolution"]
            at = "" if size in (None, row["resolution"]) else f" at {size}"
            published_figure = f"{row['published_value']:.1f} {row['published_metric']}{at} [{number}]"
        table.add_row(
            row["network"],
            "-" if row["resolution"] is None else str(row["resolution"]),
            figure("macs", row["macs"]),
            figure("params", row["params"]),
            figure("latency_ms", row["latency_ms"]) + mark,
            "-" if low is None or high is None else f"{low:.1f}-{high:.1f}",
            Text(published_figure),
        )
        if row["reason"]:
            notes.append(f"{row['network']}: {row['reason']}")
    if in_part:
        notes.append("* in part on the host's processor, or priced by a guess; nas hw predict names the operations")
    notes += [f"[{number}] {source}" for source, number in sources.items()]
    table.caption, table.caption_justify = Text("\n".join(notes)), "left"
    return table
