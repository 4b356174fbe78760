"""YOLO folders: ``data.yaml``, images, and a text beside each with its boxes or polygons, read within bounds."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from evaluators.data.folder import VALIDATION_NAMES, FolderFiles, check_both_splits, path_inside, read_text
from evaluators.data.images import is_image_name
from evaluators.data.listing import (
    MAX_MASK_CLASSES,
    AnnotationAsListed,
    DataRequest,
    ImageFile,
    Listing,
    ObjectBoxes,
    Regions,
    Sample,
)
from evaluators.evaluator import DataError

MAX_YAML_BYTES = 4_000_000
MAX_LABEL_BYTES = 16_000_000
MIN_DECIMALS_OF_A_ROUNDED_TEXT = 4
"""Texts with fewer are taken at their word: 0.5 is a half."""

Row = tuple[int, list[float]]


def open_yolo(request: DataRequest) -> Listing:
    """The boxes or masks of ``yolo:FOLDER`` with its ``data.yaml``, or of ``yolo:FILE.yaml``.

    ``train`` and ``val`` are folders of images, texts that list images, or lists of these, below ``path`` if given;
    the labels of ``.../images/.../a.jpg`` are in ``.../labels/.../a.txt``. A row is a class number and a box (x and y
    of the middle, width, height), or a polygon of x, y in turns, all in fractions of the image. An image without such
    a text has no objects. To detect, a polygon is the box around it; masks need polygons. Raises ``DataError``.
    """
    root, yaml_path = _places(request.location)
    settings = _settings(yaml_path)
    classes = _class_names(settings, yaml_path)
    masks = request.annotation == "masks"
    if masks and len(classes) >= MAX_MASK_CLASSES:
        raise DataError(f"{yaml_path}: {len(classes)} classes; masks can tell {MAX_MASK_CLASSES - 1} apart")
    reader = _Reader(root, _base(settings, root, yaml_path), yaml_path, len(classes), masks)
    train_entry = settings.get("train")
    validation_entry = next((settings[name] for name in VALIDATION_NAMES if settings.get(name)), None)
    train = reader.samples(train_entry, "train")
    validation = None if validation_entry is None else reader.samples(validation_entry, "val")
    if validation is not None:
        check_both_splits(train, validation, "images", yaml_path)
        if settings["train"] in [settings.get(name) for name in VALIDATION_NAMES]:
            raise DataError(f"{yaml_path}: train and val are the same images; take val out, and a fifth is held out")
    names = ("background", *classes) if masks else classes
    return Listing(names, train, validation, (root, yaml_path, *reader.read_from))


def _places(location: str) -> tuple[Path, Path]:
    """The folder that everything is in, and its yaml file."""
    path = Path(location).expanduser() if location and "\0" not in location else None
    if path is not None and os.path.isfile(path):
        return path.resolve().parent, path.resolve()
    if path is None or not os.path.isdir(path):
        raise DataError(f"'yolo:{location}': no folder {location!r}; give yolo:FOLDER with a folder that exists")
    root = path.resolve()
    candidates = [file for file in (root / "data.yaml", root / "data.yml") if file.is_file()]
    candidates = candidates or sorted((*root.glob("*.yaml"), *root.glob("*.yml")))
    if len(candidates) != 1:
        raise DataError(
            f"{root}: no data.yaml, but {len(candidates)} other yaml files; name the one to read, as in"
            " yolo:path/to/data.yaml"
        )
    return root, candidates[0]


def _settings(path: Path) -> Mapping[str, Any]:
    import yaml

    text = read_text(path, "it names the classes and the folders of images", MAX_YAML_BYTES)
    try:
        if any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(text, Loader=yaml.SafeLoader)):
            raise DataError(f"{path}: uses an alias, which can expand without bound; write out what it stands for")
        settings = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        if isinstance(error, DataError):
            raise
        reason = " ".join(str(error).split())
        raise DataError(f"{path}: no YAML ({reason}); correct it") from None
    if not isinstance(settings, dict):
        raise DataError(f"{path}: no names of settings; it needs train, val and names")
    return settings


def _class_names(settings: Mapping[str, Any], path: Path) -> tuple[str, ...]:
    """In the order of their numbers."""
    names = settings.get("names")
    if isinstance(names, dict):
        if sorted(names, key=str) != sorted(range(len(names)), key=str):
            raise DataError(f"{path}: names are numbered {sorted(names, key=str)!r:.60}; number them from 0 on")
        names = [names[number] for number in range(len(names))]
    if (
        not isinstance(names, list)
        or not names
        or not all(isinstance(name, str | int) and name != "" for name in names)
    ):
        raise DataError(f"{path}: names is {names!r:.60}; it lists the names of the classes")
    texts = tuple(str(name) for name in names)
    if len(set(texts)) != len(texts):
        raise DataError(f"{path}: two classes have the same name; rename one")
    count = settings.get("nc", len(texts))
    if count != len(texts):
        raise DataError(f"{path}: nc is {count!r}, but names has {len(texts)}; correct one of them")
    return texts


def _base(settings: Mapping[str, Any], root: Path, path: Path) -> Path:
    """The folder that ``path`` names, which is the root, or lies below it."""
    named = settings.get("path")
    if named in (None, "", "."):
        return root
    if not isinstance(named, str) or "\0" in named:
        raise DataError(f"{path}: path is {named!r}; it is the folder that train and val are in")
    base = (root / Path(named).expanduser()).resolve()
    if not base.is_relative_to(root):
        raise DataError(
            f"{path}: path {named!r} lies outside {root}; take the line out, or put the file into that folder and name"
            " it, as in yolo:folder/data.yaml"
        )
    if not base.is_dir():
        raise DataError(f"{path}: no folder {named!r}, which path names; take the line out if images are in {root}")
    return base


class _Reader:
    """Lists images and reads their labels."""

    def __init__(self, root: Path, base: Path, yaml_path: Path, classes: int, masks: bool) -> None:
        self._root, self._base, self._yaml_path = root, base, yaml_path
        self._classes, self._masks = classes, masks
        self._files = FolderFiles(root)
        self._label_files: list[str] = []
        self._folders: dict[Path, None] = {}

    @property
    def read_from(self) -> Sequence[Path]:
        return [*self._folders, *map(Path, self._label_files)]

    def samples(self, entry: object, key: str) -> list[Sample]:
        """The images of ``train`` or ``val`` with their labels."""
        entries = entry if isinstance(entry, list) else [entry]
        images: dict[tuple[str, str], str] = {}
        for each in entries:
            if not isinstance(each, str) or not each or "\0" in each:
                raise DataError(f"{self._yaml_path}: {key} is {entry!r:.60}; it names a folder of images, or a list")
            images.update(self._images(each, key))
        if not images:
            raise DataError(f"{self._yaml_path}: no image in {entry!r:.60}, which {key} names; add some")
        return [Sample(ImageFile(path), self._annotation(*place)) for place, path in images.items()]

    def _images(self, entry: str, key: str) -> Iterator[tuple[tuple[str, str], str]]:
        """The folder below the root and the name of each image, and its path."""
        place = self._place(entry, key)
        if place.is_file():
            yield from self._listed_images(place)
            return
        for folder, subfolders, _ in os.walk(place):
            subfolders.sort()
            self._folders[Path(folder)] = None
            below_root = os.path.relpath(folder, self._root)
            for path in self._files.images(below_root, str(self._yaml_path)):
                yield (below_root, os.path.basename(path)), path

    def _place(self, entry: str, key: str) -> Path:
        """The folder or list of a text, which exporters often write as if it were seen from a folder further down."""
        tried = [entry]
        while entry.startswith("../"):
            entry = entry[3:]
            tried.append(entry)
        for text in tried:
            path = (self._base / text).resolve()
            if path.exists() and path.is_relative_to(self._root):
                return path
        path_inside(self._root, str(self._base / tried[0]), str(self._yaml_path))
        raise DataError(f"{self._yaml_path}: no {tried[0]!r} in {self._base}, which {key} names; correct it")

    def _listed_images(self, path: Path) -> Iterator[tuple[tuple[str, str], str]]:
        """The images that a text names, one a line."""
        self._folders[path] = None
        for number, line in enumerate(read_text(path, "it lists one image a line").splitlines(), start=1):
            if not (name := line.strip()):
                continue
            source = f"{path}, line {number}"
            if not is_image_name(os.path.basename(name)):
                raise DataError(f"{source}: {name!r} is no image by its name; take the line out")
            for folder in (self._base, path.parent):
                below_root = os.path.relpath(os.path.join(folder, name), self._root)
                image = self._files.find(below_root, source)
                if image is not None:
                    yield os.path.split(below_root), image
                    break
            else:
                raise DataError(f"{source}: no file {name!r}; add it or take the line out")

    def _annotation(self, folder: str, name: str) -> AnnotationAsListed:
        rows, rounding_error = self._label_rows(folder, name)
        if self._masks:
            return Regions(
                tuple((np.array(numbers).reshape(-1, 2),) for _, numbers in rows),
                tuple(1 + number for number, _ in rows),
                True,
                rounding_error,
            )
        corners = np.array([_corners(numbers) for _, numbers in rows], np.float64).reshape(-1, 4)
        labels = np.array([number for number, _ in rows], np.int64)
        return ObjectBoxes(corners, labels, True, 1.5 * rounding_error)

    def _label_rows(self, folder: str, name: str) -> tuple[list[Row], float]:
        """The rows of an image's text, and by how much its fractions may be rounded."""
        path = self._files.find(os.path.splitext(name)[0] + ".txt", name, _label_folder(folder))
        if path is None:
            return [], 0.0
        self._label_files.append(path)
        rows: list[Row] = []
        decimals = 0
        text = read_text(path, "a row is a class number and four fractions, or a polygon", MAX_LABEL_BYTES)
        for number, line in enumerate(text.splitlines(), start=1):
            if words := line.split():
                source = f"{path}, line {number}"
                rows.append(_row(words, self._classes, source))
                if self._masks and len(words) == 5:
                    raise DataError(f"{source}: a box; masks need polygons, so write the outline of the object")
                decimals = max(decimals, *(len(word.partition(".")[2]) for word in words[1:]))
        return rows, 0.5 * 10.0**-decimals if decimals >= MIN_DECIMALS_OF_A_ROUNDED_TEXT else 0.0


@lru_cache(maxsize=256)
def _label_folder(folder: str) -> str:
    """The folder, with the last folder ``images`` in it named ``labels``."""
    parts = folder.split(os.sep)
    images = [number for number, part in enumerate(parts) if part == "images"]
    if images:
        parts[images[-1]] = "labels"
    return os.sep.join(parts)


def _row(words: Sequence[str], classes: int, source: str) -> Row:
    """The class number and the fractions of a row. Raises ``DataError``."""
    try:
        label = float(words[0])
        numbers = [float(word) for word in words[1:]]
    except ValueError:
        raise DataError(f"{source}: {' '.join(words)!r:.60} is no row of numbers; correct it") from None
    if not label.is_integer() or not 0 <= label < classes:
        raise DataError(f"{source}: class {words[0]} is not in 0..{classes - 1}, which data.yaml names; correct it")
    if not all(map(math.isfinite, numbers)):
        raise DataError(f"{source}: a number is not finite; correct it")
    if len(numbers) == 4:
        return int(label), numbers
    if len(numbers) < 6 or len(numbers) % 2:
        raise DataError(
            f"{source}: {len(numbers)} numbers follow the class; a box has four, a polygon pairs, three at least"
        )
    return int(label), numbers


def _corners(numbers: Sequence[float]) -> tuple[float, float, float, float]:
    """Of a box by its middle and extents, or around a polygon."""
    if len(numbers) == 4:
        x, y, width, height = numbers
        return x - width / 2, y - height / 2, x + width / 2, y + height / 2
    xs, ys = numbers[::2], numbers[1::2]
    return min(xs), min(ys), max(xs), max(ys)
