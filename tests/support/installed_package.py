"""A package of somebody else's, installed beside the project: one module, and entry points that name what is in it."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

PACKAGE = "neighbour"


@contextmanager
def installed_package(
    folder: Path, source: str, entry_points: Mapping[str, Mapping[str, str]], *, package: str = PACKAGE
) -> Iterator[None]:
    """While this lasts, ``PACKAGE.py`` with that source can be imported, and its entry points are found.

    ``entry_points``: by group, the names and the objects of the module that they stand for.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{package}.py").write_text(source, encoding="utf-8")
    metadata = folder / f"{package}-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n", encoding="utf-8")
    groups = [
        "\n".join([f"[{group}]", *(f"{name} = {package}:{target}" for name, target in rows.items())])
        for group, rows in entry_points.items()
    ]
    (metadata / "entry_points.txt").write_text("\n\n".join(groups) + "\n", encoding="utf-8")
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        sys.path.remove(str(folder))
        sys.modules.pop(package, None)
