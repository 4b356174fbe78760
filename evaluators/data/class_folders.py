"""Finds the images of a folder, and what stands beside each: a class's folder, or a mask of classes.

Folders are hostile input: whatever is wrong with one ends in a ``DataError``.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from evaluators.data.folder import (
    IMAGE_SUFFIXES,
    ImageFolder,
    LabelledExample,
    path_inside,
    random_split,
    resolve_folder,
)
from evaluators.evaluator import DataError

VALIDATION_FOLDERS = ("val", "validation", "test")
"""Folders beside ``train``; the first that exists is validated on."""


_SUFFIXES = frozenset(suffix.lower() for suffix in IMAGE_SUFFIXES)


# -- a folder for each class ------------------------------------------------------------------------------------------


def read_class_folders(text: str, seed: int) -> ImageFolder:
    """What ``folder:FOLDER`` holds: ``train/CLASS/*`` and ``val`` or ``test`` alike, or ``CLASS/*`` alone.

    The seed splits a folder that comes without a split, four fifths of each class to train. Classes are in
    alphabetical order; files that are no image by their names are left out. Raises ``DataError``.
    """
    root = resolve_folder(text, "folder")
    if not (root / "train").is_dir():
        classes = _classes(root)
        found = {name: _images(root, root / name) for name in classes}
        for name, images in found.items():
            if len(images) < 2:
                raise DataError(f"{root / name}: one image; a split needs two at least of each class")
        parts = [random_split(images, seed) for images in found.values()]
        return ImageFolder(tuple(classes), _labelled(p[0] for p in parts), _labelled(p[1] for p in parts))
    held_out = next((root / name for name in VALIDATION_FOLDERS if (root / name).is_dir()), None)
    if held_out is None:
        raise DataError(
            f"{root}: a folder train, but none of {', '.join(VALIDATION_FOLDERS)} beside it to validate on; add one"
        )
    classes = _classes(root / "train")
    other = _classes(held_out)
    if missing_classes := sorted(set(classes) - set(other)):
        raise DataError(f"{held_out}: no folder {missing_classes[0]!r}, a class of {root / 'train'}; add it")
    if extra_classes := sorted(set(other) - set(classes)):
        raise DataError(f"{root / 'train'}: no folder {extra_classes[0]!r}, a class of {held_out}; add it")
    train, validation = (
        _labelled(_images(root, part / name) for name in classes) for part in (root / "train", held_out)
    )
    return ImageFolder(tuple(classes), train, validation)


def class_folder_names(text: str) -> tuple[str, ...]:
    """The classes of ``folder:FOLDER``, without a look at its images. Raises ``DataError``."""
    root = resolve_folder(text, "folder")
    return tuple(_classes(root / "train" if (root / "train").is_dir() else root))


def _classes(folder: Path) -> list[str]:
    try:
        found = sorted(e.name for e in os.scandir(folder) if e.is_dir() and not e.name.startswith("."))
    except OSError as error:
        raise DataError(f"{folder}: cannot be read ({error.strerror})") from None
    if len(found) < 2:
        raise DataError(f"{folder}: {len(found)} folders of images; two classes at least need one each")
    return found


def _images(root: Path, folder: Path) -> list[Path]:
    """The images of one class, in the order of their names; a link that leaves ``root`` is refused."""
    folder_inside = path_inside(root, str(folder.relative_to(root)), str(root))
    try:
        entries = sorted(os.scandir(folder_inside), key=lambda entry: entry.name)
    except OSError as error:
        raise DataError(f"{folder}: cannot be read ({error.strerror})") from None
    found = []
    for entry in entries:
        if os.path.splitext(entry.name)[1].lower() in _SUFFIXES and not entry.name.startswith("."):
            path = Path(entry.path)
            found.append(path_inside(root, str(path.relative_to(root)), str(root)) if entry.is_symlink() else path)
    if not found:
        raise DataError(f"{folder}: no image in it ({', '.join(sorted(_SUFFIXES))}); add some, or take the folder out")
    return found


def _labelled(classes: Iterable[Sequence[Path]]) -> list[LabelledExample]:
    return [LabelledExample(image, label) for label, images in enumerate(classes) for image in images]
