"""Folders of images with a folder for each class.

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
"""Folders beside ``train``; the first that exists is the validation split."""

_SUFFIXES = frozenset(suffix.lower() for suffix in IMAGE_SUFFIXES)


def read_class_folders(text: str, seed: int) -> ImageFolder:
    """The images of ``folder:FOLDER``: ``train/CLASS/*`` and ``val`` or ``test`` likewise, or ``CLASS/*`` alone.

    The seed splits a folder that has no split, four fifths of each class to train. Classes are in alphabetical order;
    files without an image's suffix are skipped. Raises ``DataError``.
    """
    root = resolve_folder(text, "folder")
    if not (root / "train").is_dir():
        classes = _classes(root)
        images_by_class = {name: _images(root, root / name) for name in classes}
        for name, images in images_by_class.items():
            if len(images) < 2:
                raise DataError(f"{root / name}: one image; a split needs two at least of each class")
        parts = [random_split(images, seed) for images in images_by_class.values()]
        return ImageFolder(tuple(classes), _labelled(p[0] for p in parts), _labelled(p[1] for p in parts))
    held_out = next((root / name for name in VALIDATION_FOLDERS if (root / name).is_dir()), None)
    if held_out is None:
        raise DataError(
            f"{root}: a folder train, but none of {', '.join(VALIDATION_FOLDERS)} beside it to validate on; add one"
        )
    classes = _classes(root / "train")
    validation_classes = _classes(held_out)
    if missing_classes := sorted(set(classes) - set(validation_classes)):
        raise DataError(f"{held_out}: no folder {missing_classes[0]!r}, a class of {root / 'train'}; add it")
    if extra_classes := sorted(set(validation_classes) - set(classes)):
        raise DataError(f"{root / 'train'}: no folder {extra_classes[0]!r}, a class of {held_out}; add it")
    train, validation = (
        _labelled(_images(root, part / name) for name in classes) for part in (root / "train", held_out)
    )
    return ImageFolder(tuple(classes), train, validation)


def class_folder_names(text: str) -> tuple[str, ...]:
    """The classes of ``folder:FOLDER``, without opening its images. Raises ``DataError``."""
    root = resolve_folder(text, "folder")
    return tuple(_classes(root / "train" if (root / "train").is_dir() else root))


def _classes(folder: Path) -> list[str]:
    try:
        names = sorted(e.name for e in os.scandir(folder) if e.is_dir() and not e.name.startswith("."))
    except OSError as error:
        raise DataError(f"{folder}: cannot be read ({error.strerror})") from None
    if len(names) < 2:
        raise DataError(f"{folder}: {len(names)} folders of images; two classes at least need one each")
    return names


def _images(root: Path, folder: Path) -> list[Path]:
    """The images of one class, in the order of their names; a link that leaves ``root`` is refused."""
    folder_inside = path_inside(root, str(folder.relative_to(root)), str(root))
    try:
        entries = sorted(os.scandir(folder_inside), key=lambda entry: entry.name)
    except OSError as error:
        raise DataError(f"{folder}: cannot be read ({error.strerror})") from None
    images = []
    for entry in entries:
        if os.path.splitext(entry.name)[1].lower() in _SUFFIXES and not entry.name.startswith("."):
            path = Path(entry.path)
            images.append(path_inside(root, str(path.relative_to(root)), str(root)) if entry.is_symlink() else path)
    if not images:
        raise DataError(f"{folder}: no image in it ({', '.join(sorted(_SUFFIXES))}); add some, or take the folder out")
    return images


def _labelled(classes: Iterable[Sequence[Path]]) -> list[LabelledExample]:
    return [LabelledExample(image, label) for label, images in enumerate(classes) for image in images]
