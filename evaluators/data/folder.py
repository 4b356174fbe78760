"""What formats that read folders share: paths that stay inside them, bounded reading, and boxes that are numbers."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from evaluators.data.images import is_image_name
from evaluators.evaluator import DataError

VALIDATION_NAMES = ("val", "valid", "validation", "test")
"""What validation splits are called; the first that a data set has is its validation split."""


def existing_folder(location: str, kind: str) -> Path:
    """The folder of ``kind:FOLDER``, absolute. Raises ``DataError`` where there is none."""
    root = _path(location)
    if root is None or not os.path.isdir(root):
        raise DataError(
            f"{f'{kind}:{location}'!r}: no folder {location!r}; give {kind}:FOLDER with a folder that exists"
        )
    return root.resolve()


def existing_file(location: str, kind: str) -> Path:
    """The file of ``kind:FILE``, absolute. Raises ``DataError`` where there is none."""
    path = _path(location)
    if path is None or not os.path.isfile(path):
        raise DataError(f"{f'{kind}:{location}'!r}: no file {location!r}; give {kind}:FILE with a file that exists")
    return path.resolve()


def _path(location: str) -> Path | None:
    return Path(location).expanduser() if location and "\0" not in location else None


def path_inside(folder: Path, name: object, source: str) -> Path:
    """``folder / name``. Raises ``DataError`` when it is outside the folder."""
    if not isinstance(name, str) or not name or "\0" in name:
        raise DataError(f"{source}: {name!r} is no file name; correct it")
    path = (folder / name).resolve()
    if not path.is_relative_to(folder):
        raise DataError(f"{source}: file {name!r} lies outside {folder}; keep every image inside the folder")
    return path


class FolderFiles:
    """The files below a folder, each subfolder listed once: to find one of 100,000 names takes no look at the disk.

    Names and links that lead outside are refused with ``DataError``. Paths are texts, for there may be many.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._folders: dict[str, tuple[str, dict[str, bool]]] = {}

    def find(self, name: object, source: str, folder: str = "") -> str | None:
        """The file ``folder/name`` below the root; ``None`` where there is none."""
        if not isinstance(name, str) or not name or "\0" in name:
            raise DataError(f"{source}: {name!r} is no file name; correct it")
        if "/" in name or os.sep in name:
            folder, name = os.path.split(os.path.join(folder, name))
        parent, is_link = self._listed(folder, source)
        if name not in is_link:
            return None
        path = f"{parent}{os.sep}{name}"
        if is_link[name]:
            path_inside(self._root, path, source)
        return path

    def names(self, folder: str, source: str) -> list[str]:
        """In order, what is in a folder below the root and is no folder; nothing where there is no such folder."""
        return sorted(self._listed(folder, source)[1])

    def images(self, folder: str, source: str) -> list[str]:
        """The images in a folder below the root, in the order of their names."""
        found = (self.find(name, source, folder) for name in self.names(folder, source) if is_image_name(name))
        return [path for path in found if path is not None]

    def _listed(self, folder: str, source: str) -> tuple[str, dict[str, bool]]:
        """The folder's path, and of each file in it whether it is a link."""
        listed = self._folders.get(folder)
        if listed is None:
            path = path_inside(self._root, folder or ".", source)
            listed = self._folders[folder] = str(path), _links_among_files(path)
        return listed


def _links_among_files(folder: Path) -> dict[str, bool]:
    try:
        with os.scandir(folder) as entries:
            return {entry.name: entry.is_symlink() for entry in entries if not entry.is_dir()}
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except OSError as error:
        raise DataError(f"{folder}: cannot be read ({error.strerror})") from None


def read_text(path: str | Path, what: str, max_bytes: int = 100_000_000) -> str:
    """A text file. ``what`` it should be ends the message of the ``DataError``."""
    try:
        with open(path, "rb") as file:
            content = file.read(max_bytes + 1)
        if len(content) > max_bytes:
            raise DataError(f"{path}: over {max_bytes} bytes; {what}")
        return content.decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read ({error}); {what}") from None


def read_json(path: Path, max_bytes: int) -> object:
    """A JSON file. Raises ``DataError``."""
    try:
        if path.stat().st_size > max_bytes:
            raise DataError(f"{path}: over {max_bytes} bytes; split it")
        return json.loads(path.read_bytes())
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from None
    except (ValueError, RecursionError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"{path}: no JSON ({error}); correct it") from None


def finite_box(numbers: Sequence[object], source: str) -> tuple[float, float, float, float]:
    """The four finite numbers of a box. Raises ``DataError``, which says that they stand in ``source``."""
    try:
        a, b, c, d = (float(number) for number in numbers)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        raise DataError(f"{source}: box {numbers!r} is not four numbers; correct it") from None
    if not all(map(math.isfinite, (a, b, c, d))):
        raise DataError(f"{source}: box {numbers!r} holds a number that is not finite; correct it")
    return a, b, c, d


def check_both_splits(train: Sequence[Any], validation: Sequence[Any], what: str, source: object) -> None:
    """Raise ``DataError`` where a split has none of ``what``."""
    if not train or not validation:
        raise DataError(f"{source}: {len(train)} training and {len(validation)} validation {what}; both need some")
