"""COCO folders: boxes, polygons and runs of pixels from JSON, read within bounds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from evaluators.data.folder import VALIDATION_NAMES, FolderFiles, existing_file, existing_folder, finite_box, read_json
from evaluators.data.listing import (
    MAX_MASK_CLASSES,
    AnnotationAsListed,
    DataRequest,
    ImageFile,
    Listing,
    ObjectBoxes,
    Regions,
    Runs,
    Sample,
)
from evaluators.data.orientation import DrawnOn
from evaluators.data.polygons import polygon_of
from evaluators.evaluator import DataError

MAX_JSON_BYTES = 2_000_000_000

Row = Mapping[str, Any]
Shape = Runs | tuple[Any, ...]


def open_coco(request: DataRequest) -> Listing:
    """The boxes or masks of ``coco:FOLDER``, or of ``coco:FILE.json``, which is then split.

    Files in a folder: ``instances_train*.json`` with ``instances_val*.json`` or ``instances_test*.json``, or
    ``train.json`` with ``val.json``, in the folder or its ``annotations/``; ``train/*.json`` with ``valid/*.json``; or
    one file, which is then split. Images of a file in ``annotations/`` are beside that folder. Class names are in the
    order of their ids, without one that no object has and that only names other classes' ``supercategory``. Crowds have
    no boxes; in masks they are like any other object. Raises ``DataError``.
    """
    root, paths = _places(request.location)
    contents = [_Content(path) for path in paths]
    if any(content.category_names != contents[0].category_names for content in contents):
        raise DataError(f"{' and '.join(path.name for path in paths)} in {root} name different categories")
    classes = _classes(contents)
    files = FolderFiles(root)
    masks = request.annotation == "masks"
    splits = [_samples(root, files, content, list(classes), masks) for content in contents]
    names = ("background", *classes.values()) if masks else tuple(classes.values())
    if masks and len(names) > MAX_MASK_CLASSES:
        raise DataError(f"{paths[0]}: {len(names) - 1} categories; masks can tell {MAX_MASK_CLASSES - 1} apart")
    read_from = (root, root / "annotations", *paths)
    return Listing(names, splits[0], splits[1] if len(splits) == 2 else None, read_from)


def _places(location: str) -> tuple[Path, list[Path]]:
    """The folder that everything is in, and its annotation files."""
    if location.lower().endswith(".json") and not Path(location).expanduser().is_dir():
        path = existing_file(location, "coco")
        return path.parent.parent if path.parent.name == "annotations" else path.parent, [path]
    root = existing_folder(location, "coco")
    return root, _annotation_files(root)


def _annotation_files(root: Path) -> list[Path]:
    """The file to train with and that to validate with; or one file for both."""
    here = sorted(path for folder in (root, root / "annotations") for path in folder.glob("*.json"))
    train = [path for path in here if path.stem.startswith("instances_train")]
    for name in VALIDATION_NAMES:
        validation = [path for path in here if path.stem.startswith(f"instances_{name}")]
        if train and validation:
            return [train[0], validation[0]]
    named = {path.stem: path for path in here}
    for name in VALIDATION_NAMES:
        if "train" in named and name in named:
            return [named["train"], named[name]]
    train = sorted((root / "train").glob("*.json"))
    for name in VALIDATION_NAMES:
        validation = sorted((root / name).glob("*.json"))
        if len(train) == len(validation) == 1:
            return [train[0], validation[0]]
    candidates = [path for path in here if path.stem.startswith("instances")] or here or train
    if len(candidates) != 1:
        raise DataError(
            f"{root}: found {len(candidates)} annotation files; give instances_train*.json and instances_val*.json, "
            "or one *.json, in the folder or its annotations/"
        )
    return candidates


class _Content:
    """One annotation file: its rows by id, checked as far as they refer to each other."""

    def __init__(self, path: Path) -> None:
        content = read_json(path, MAX_JSON_BYTES)
        self.path = path
        self.categories = _rows_by_id(content, "categories", path)
        self.images = _rows_by_id(content, "images", path)
        self.category_names = _category_names(self.categories, path)
        self.annotations: dict[int, list[tuple[str, Row]]] = {number: [] for number in self.images}
        self.used_categories: set[int] = set()
        for number, row in _rows_by_id(content, "annotations", path).items():
            source = f"{path}: annotation {number}"
            image, category = row.get("image_id"), row.get("category_id")
            if type(image) is not int or image not in self.images:
                raise DataError(f"{source} names image {image!r}, which is not listed; correct it")
            if type(category) is not int or category not in self.categories:
                raise DataError(f"{source} names category {category!r}, which is not listed; correct it")
            self.annotations[image].append((source, row))
            self.used_categories.add(category)


def _classes(contents: Sequence[_Content]) -> dict[int, str]:
    """Names by category id in the order of ids, without categories that only group others."""
    used = set().union(*(content.used_categories for content in contents))
    groups = {
        row["supercategory"]
        for content in contents
        for row in content.categories.values()
        if isinstance(row.get("supercategory"), str) and row["supercategory"] != row["name"]
    }
    return {number: name for number, name in contents[0].category_names.items() if number in used or name not in groups}


def _samples(root: Path, files: FolderFiles, content: _Content, classes: list[int], masks: bool) -> list[Sample]:
    split = content.path.stem.removeprefix("instances_")
    beside = str(content.path.parent.relative_to(root))
    folders = list(dict.fromkeys(["", "images", split, f"images/{split}", "" if beside == "." else beside]))
    number = {category: index for index, category in enumerate(classes)}
    samples = []
    for image, row in content.images.items():
        source = f"{content.path}: image {image}"
        path = _image_path(root, files, folders, row.get("file_name"), source)
        annotation: AnnotationAsListed = (
            _regions(content.annotations[image], number) if masks else _boxes(content.annotations[image], number)
        )
        samples.append(Sample(ImageFile(path, _drawn_on(row, annotation)), annotation))
    return samples


def _drawn_on(row: Row, annotation: AnnotationAsListed) -> DrawnOn | None:
    """What a row of an image says of it; ``None`` where that is nothing, or zeros, which some tools write."""
    width, height = row.get("width"), row.get("height")
    if type(width) is not int or type(height) is not int or width <= 0 or height <= 0:
        return None
    if isinstance(annotation, ObjectBoxes):
        return DrawnOn(width, height, *annotation.corners[:, 2:].max(axis=0, initial=0).tolist())
    return DrawnOn(width, height)


def _boxes(annotations: Sequence[tuple[str, Row]], number: Mapping[int, int]) -> ObjectBoxes:
    corners: list[tuple[float, float, float, float]] = []
    labels: list[int] = []
    for source, row in annotations:
        box = row.get("bbox")
        x, y, width, height = finite_box(box if isinstance(box, list) else [box], source)
        if not row.get("iscrowd") and width > 0 and height > 0:
            corners.append((x, y, x + width, y + height))
            labels.append(number[row["category_id"]])
    return ObjectBoxes(np.array(corners, np.float64).reshape(-1, 4), np.array(labels, np.int64))


def _regions(annotations: Sequence[tuple[str, Row]], number: Mapping[int, int]) -> Regions:
    shapes = tuple(_shape(row.get("segmentation"), source) for source, row in annotations)
    return Regions(shapes, tuple(1 + number[row["category_id"]] for _, row in annotations))


def _shape(segmentation: object, source: str) -> Shape:
    """Polygons, or the runs of a mask."""
    if isinstance(segmentation, list) and segmentation:
        return tuple(polygon_of(numbers, source) for numbers in segmentation)
    if isinstance(segmentation, dict):
        size, counts = segmentation.get("size"), segmentation.get("counts")
        if isinstance(size, list) and len(size) == 2 and all(type(extent) is int and extent > 0 for extent in size):
            runs: Any = _decoded_counts(counts) if isinstance(counts, str) else counts
            whole = isinstance(runs, list) and all(type(run) is int and run >= 0 for run in runs)
            if whole and sum(runs) == size[0] * size[1]:
                return Runs(size[1], size[0], tuple(runs))
        raise DataError(f"{source}: its mask of runs does not add up to its size {size!r}; correct it")
    raise DataError(f"{source}: segmentation {segmentation!r:.60} is neither polygons nor runs; a mask needs one")


def _decoded_counts(text: str) -> list[int] | None:
    """Runs from COCO's text: six-bit characters, the fifth a sign and the sixth for more; differences to the last but
    one from the third run on. ``None`` where it is no such text."""
    counts: list[int] = []
    value = shift = 0
    for character in text:
        code = ord(character) - 48
        if not 0 <= code < 64 or shift > 60:
            return None
        value |= (code & 31) << shift
        shift += 5
        if code & 32:
            continue
        if code & 16:
            value -= 1 << shift
        counts.append(value + (counts[-2] if len(counts) > 2 else 0))
        value = shift = 0
    return counts if shift == 0 else None


def _category_names(categories: Mapping[int, Row], path: Path) -> dict[int, str]:
    """Names by category id, in the order of ids."""
    names: dict[int, str] = {}
    for number, row in sorted(categories.items()):
        name = row.get("name")
        if not isinstance(name, str) or not name:
            raise DataError(f"{path}: category {number} has no name; correct it")
        names[number] = name
    if len(set(names.values())) != len(names):
        raise DataError(f"{path}: two categories have the same name; rename one")
    return names


def _image_path(root: Path, files: FolderFiles, folders: Sequence[str], name: object, source: str) -> str:
    for folder in folders:
        path = files.find(name, source, folder)
        if path is not None:
            return path
    raise DataError(f"{source}: no file {name!r} in {root} or its image folders; add it or take it out")


def _rows_by_id(content: object, key: str, path: Path) -> dict[int, Row]:
    """The rows of one list of the file by id."""
    rows = content.get(key) if isinstance(content, dict) else None
    if not isinstance(rows, list) or (not rows and key != "annotations"):
        raise DataError(f"{path}: no list {key!r}; a COCO file has images, annotations and categories")
    table: dict[int, Row] = {}
    for row in rows:
        number = row.get("id") if isinstance(row, dict) else None
        if type(number) is not int or number in table:
            raise DataError(f"{path}: id {number!r} in {key!r} is missing, no whole number, or used twice; correct it")
        table[number] = row
    return table
