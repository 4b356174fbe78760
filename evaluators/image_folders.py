"""Finds the images of a folder, and what stands beside each: a class's folder, or a mask of classes.

Folders are hostile input: whatever is wrong with one ends in a ``DataError``.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from evaluators.annotated_folders import IMAGE_SUFFIXES, inside, random_split, voc_names
from evaluators.quality import DataError

HELD_OUT = ("val", "validation", "test")
"""Folders beside ``train``; the first that exists is validated on."""
# fmt: off
VOC_CLASSES = (
    "background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow",
    "diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train",
    "tvmonitor",
)
# fmt: on
MAX_CLASSES = 255
"""Masks hold a class a byte, and 255 is no class."""

_SUFFIXES = frozenset(suffix.lower() for suffix in IMAGE_SUFFIXES)


@dataclass(frozen=True)
class Example:
    """One image, and its class or the file of its mask."""

    image: Path
    target: int | Path


@dataclass(frozen=True)
class ImageFolder:
    """The classes of a folder and the examples of its two splits."""

    class_names: tuple[str, ...]
    train: list[Example]
    validation: list[Example]


def folder_of(text: str, kind: str) -> Path:
    """The folder of ``kind:FOLDER``, absolute. Raises ``DataError`` where it is none."""
    given, colon, folder = text.partition(":")
    if given != kind or not colon:
        raise DataError(f"no such data {text!r}; give digits or {kind}:FOLDER")
    root = Path(folder).expanduser()
    if not folder or "\0" in folder or not root.is_dir():
        raise DataError(f"{text!r}: no folder {folder!r}; give {kind}:FOLDER with a folder that exists")
    return root.resolve()


# -- a folder for each class ------------------------------------------------------------------------------------------


def read_class_folders(text: str, seed: int) -> ImageFolder:
    """What ``folder:FOLDER`` holds: ``train/CLASS/*`` and ``val`` or ``test`` alike, or ``CLASS/*`` alone.

    The seed splits a folder that comes without a split, four fifths of each class to train. Classes are in
    alphabetical order; files that are no image by their names are left out. Raises ``DataError``.
    """
    root = folder_of(text, "folder")
    if not (root / "train").is_dir():
        classes = _classes(root)
        found = {name: _images(root, root / name) for name in classes}
        for name, images in found.items():
            if len(images) < 2:
                raise DataError(f"{root / name}: one image; a split needs two at least of each class")
        parts = [random_split(images, seed) for images in found.values()]
        return ImageFolder(tuple(classes), _labelled(p[0] for p in parts), _labelled(p[1] for p in parts))
    held_out = next((root / name for name in HELD_OUT if (root / name).is_dir()), None)
    if held_out is None:
        raise DataError(f"{root}: a folder train, but none of {', '.join(HELD_OUT)} beside it to validate on; add one")
    classes = _classes(root / "train")
    other = _classes(held_out)
    if lacking := sorted(set(classes) - set(other)):
        raise DataError(f"{held_out}: no folder {lacking[0]!r}, a class of {root / 'train'}; add it")
    if surplus := sorted(set(other) - set(classes)):
        raise DataError(f"{root / 'train'}: no folder {surplus[0]!r}, a class of {held_out}; add it")
    train, validation = (
        _labelled(_images(root, part / name) for name in classes) for part in (root / "train", held_out)
    )
    return ImageFolder(tuple(classes), train, validation)


def class_folder_names(text: str) -> tuple[str, ...]:
    """The classes of ``folder:FOLDER``, without a look at its images. Raises ``DataError``."""
    root = folder_of(text, "folder")
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
    place = inside(root, str(folder.relative_to(root)), str(root))
    try:
        entries = sorted(os.scandir(place), key=lambda entry: entry.name)
    except OSError as error:
        raise DataError(f"{folder}: cannot be read ({error.strerror})") from None
    found = []
    for entry in entries:
        if os.path.splitext(entry.name)[1].lower() in _SUFFIXES and not entry.name.startswith("."):
            path = Path(entry.path)
            found.append(inside(root, str(path.relative_to(root)), str(root)) if entry.is_symlink() else path)
    if not found:
        raise DataError(f"{folder}: no image in it ({', '.join(sorted(_SUFFIXES))}); add some, or take the folder out")
    return found


def _labelled(classes: Iterable[Sequence[Path]]) -> list[Example]:
    return [Example(image, label) for label, images in enumerate(classes) for image in images]


# -- Pascal VOC's masks -----------------------------------------------------------------------------------------------


def read_voc_masks(text: str, seed: int) -> ImageFolder:
    """What ``voc:FOLDER`` holds to segment: ``JPEGImages``, ``SegmentationClass``, ``ImageSets/Segmentation``.

    Without ``train.txt`` and ``val.txt`` there, the seed splits the masks, four fifths to train. Raises ``DataError``.
    """
    root = folder_of(text, "voc")
    for part in ("JPEGImages", "SegmentationClass"):
        if not (root / part).is_dir():
            raise DataError(
                f"{root}: no folder {part} in it; to segment, a VOC data set has JPEGImages and SegmentationClass"
            )
    lists = [root / "ImageSets" / "Segmentation" / f"{part}.txt" for part in ("train", "val")]
    if all(path.is_file() for path in lists):
        train, validation = (voc_names(path) for path in lists)
    else:
        train, validation = random_split(sorted(p.stem for p in (root / "SegmentationClass").glob("*.png")), seed)
    if shared := set(train) & set(validation):
        raise DataError(f"{root}: {min(shared)} is in train.txt and in val.txt; each image belongs to one of them")
    if not train or not validation:
        raise DataError(f"{root}: {len(train)} training and {len(validation)} validation masks; both need some")
    examples = [[_voc_example(root, name) for name in names] for names in (train, validation)]
    return ImageFolder(voc_mask_names(text), *examples)


def voc_mask_names(text: str) -> tuple[str, ...]:
    """The classes of masks, background first: the lines of ``class_names.txt``, or Pascal VOC's own 21."""
    path = folder_of(text, "voc") / "class_names.txt"
    if not path.is_file():
        return VOC_CLASSES
    try:
        names = [line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read ({error}); it names one class a line, background first") from None
    if not 2 <= len(names) <= MAX_CLASSES or len(set(names)) != len(names):
        raise DataError(
            f"{path}: {len(names)} names; give 2 to {MAX_CLASSES} that differ, one a line, background first"
        )
    return tuple(names)


def _voc_example(root: Path, name: str) -> Example:
    if Path(name).name != name:
        raise DataError(f"{root}: image name {name!r} is a path; list names without folders")
    mask = inside(root, f"SegmentationClass/{name}.png", str(root))
    if not mask.is_file():
        raise DataError(f"{root / 'SegmentationClass'}: no mask {name}.png, which the lists name; add it")
    for suffix in IMAGE_SUFFIXES:
        image = inside(root, f"JPEGImages/{name}{suffix}", str(root))
        if image.is_file():
            return Example(image, mask)
    raise DataError(f"{root / 'JPEGImages'}: no image {name}{IMAGE_SUFFIXES[0]} to the mask {mask.name}; add it")
