"""Folders of images with a folder for each class."""

from __future__ import annotations

import os
from pathlib import Path

from evaluators.data.folder import VALIDATION_NAMES, FolderFiles, existing_folder
from evaluators.data.images import IMAGE_SUFFIXES
from evaluators.data.listing import DataRequest, ImageFile, Listing, Sample
from evaluators.evaluator import DataError


def open_class_folders(request: DataRequest) -> Listing:
    """The images of ``folder:FOLDER``: ``train/CLASS/*`` and ``val`` or ``test`` likewise, or ``CLASS/*`` alone.

    Classes are in alphabetical order; files without an image's suffix are skipped. Raises ``DataError``.
    """
    root = existing_folder(request.location, "folder")
    files = FolderFiles(root)
    train_folder = root / "train"
    if not train_folder.is_dir():
        classes = _classes(root)
        return Listing(
            tuple(classes),
            _samples(files, root, "", classes),
            None,
            (root, *(root / name for name in classes)),
        )
    held_out = next((name for name in VALIDATION_NAMES if (root / name).is_dir()), None)
    if held_out is None:
        raise DataError(
            f"{root}: a folder train, but none of {', '.join(VALIDATION_NAMES)} beside it to validate on; add one"
        )
    classes = _classes(train_folder)
    validation_classes = _classes(root / held_out)
    if missing_classes := sorted(set(classes) - set(validation_classes)):
        raise DataError(f"{root / held_out}: no folder {missing_classes[0]!r}, a class of {train_folder}; add it")
    if extra_classes := sorted(set(validation_classes) - set(classes)):
        raise DataError(f"{train_folder}: no folder {extra_classes[0]!r}, a class of {root / held_out}; add it")
    parts = ("train", held_out)
    train, validation = (_samples(files, root, part, classes) for part in parts)
    read_from = (root, *(root / part / name for part in parts for name in ("", *classes)))
    return Listing(tuple(classes), train, validation, read_from)


def _classes(folder: Path) -> list[str]:
    try:
        names = sorted(e.name for e in os.scandir(folder) if e.is_dir() and not e.name.startswith("."))
    except OSError as error:
        raise DataError(f"{folder}: cannot be read ({error.strerror})") from None
    if len(names) < 2:
        raise DataError(f"{folder}: {len(names)} folders of images; two classes at least need one each")
    return names


def _samples(files: FolderFiles, root: Path, part: str, classes: list[str]) -> list[Sample]:
    """The images of each class below a folder of the root; a link that leaves the root is refused."""
    samples = []
    for number, name in enumerate(classes):
        folder = os.path.join(part, name)
        images = files.images(folder, str(root))
        if not images:
            suffixes = sorted({suffix.lower() for suffix in IMAGE_SUFFIXES})
            raise DataError(
                f"{root / folder}: no image in it ({', '.join(suffixes)}); add some, or take the folder out"
            )
        samples += [Sample(ImageFile(image), number) for image in images]
    return samples
