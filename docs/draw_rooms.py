"""Draws the rooms of each package and the imports between them, from the code itself: ``python docs/draw_rooms.py``.

A room is a folder of a package, or a file beside the folders. Boxes are rooms; an arrow points from the importer down
to what it imports, imports inside functions and for type checkers included. The height of a room is the longest way
down from it, so an arrow that ran up, or a circle, could not be drawn: ``room_levels`` refuses it.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from pathlib import Path

import grimp
import networkx
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch

PACKAGES = ("search_spaces", "hardware_models", "evaluators", "nas")
PICTURE = Path(__file__).with_name("rooms.png")
ROOT = Path(__file__).parents[1]


def room_of(module: str) -> str:
    """The room of a module: ``nas.cache.claims`` is in ``cache``, ``nas.version`` in ``version``."""
    return module.split(".")[1] if "." in module else "(package)"


def room_imports(package: str) -> networkx.DiGraph:
    """Rooms of a package as nodes; an edge from importer to imported has ``modules``, how many modules import so."""
    if str(ROOT) not in sys.path:
        sys.path.insert(0, str(ROOT))
    imports = grimp.build_graph(package, cache_dir=None)
    arrows: dict[tuple[str, str], set[str]] = defaultdict(set)
    rooms = networkx.DiGraph()
    for module in sorted(imports.modules):
        if module == package:  # the package's lazy names are its face, not a room
            continue
        rooms.add_node(room_of(module))
        for imported in imports.find_modules_directly_imported_by(module):
            if imported != package and room_of(imported) != room_of(module):
                arrows[room_of(module), room_of(imported)].add(module)
    for (importer, imported), modules in sorted(arrows.items()):
        rooms.add_edge(importer, imported, modules=len(modules))
    return rooms


def room_levels(rooms: networkx.DiGraph) -> list[list[str]]:
    """Rooms from the bottom up: each above all that it imports. Raises ``ValueError`` where there is a circle."""
    if not networkx.is_directed_acyclic_graph(rooms):
        circle = [importer for importer, _ in networkx.find_cycle(rooms)]
        raise ValueError(f"rooms that import each other: {' -> '.join([*circle, circle[0]])}")
    return [sorted(level) for level in networkx.topological_generations(rooms.reverse())]


def draw(path: Path) -> None:
    """One picture of all packages, the lowest package first."""
    figure = Figure(figsize=(15, 13), layout="constrained")
    FigureCanvasAgg(figure)
    for axes, package in zip(figure.subplots(2, 2).flat, PACKAGES, strict=True):
        rooms = room_imports(package)
        levels = room_levels(rooms)
        width = max(map(len, levels))
        positions = {
            room: ((index + 0.5 + 0.2 * (height % 2 - 0.5)) * width / len(level), float(height))
            for height, level in enumerate(levels)
            for index, room in enumerate(level)
        }
        direct = networkx.transitive_reduction(rooms)
        for importer, imported in rooms.edges:
            shown = direct.has_edge(importer, imported)
            axes.add_patch(
                FancyArrowPatch(
                    positions[importer],
                    positions[imported],
                    arrowstyle="-|>",
                    mutation_scale=9,
                    shrinkA=9,
                    shrinkB=11,
                    connectionstyle="arc3,rad=0.08",
                    color="#5b6b82" if shown else "#d4dae2",
                    linewidth=0.9 if shown else 0.6,
                    zorder=1 if shown else 0,
                )
            )
        folders = {path.name for path in (ROOT / package).iterdir() if (path / "__init__.py").is_file()}
        for room, (x, y) in positions.items():
            box = {"boxstyle": "round,pad=0.35", "facecolor": "#eaf1fb" if room in folders else "white"}
            axes.text(
                x, y, room, ha="center", va="center", fontsize=8.5, bbox={**box, "edgecolor": "#5b6b82"}, zorder=2
            )
        axes.set_xlim(-0.3, width + 0.3)
        axes.set_ylim(-0.6, len(levels) - 0.4)
        axes.set_title(package, fontsize=12)
        axes.set_axis_off()
    figure.savefig(path, dpi=110, metadata={"Software": None})


if __name__ == "__main__":
    draw(PICTURE)
