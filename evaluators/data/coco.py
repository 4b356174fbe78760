"""COCO folders: boxes from JSON, read within bounds. Crowds and boxes without area are left out."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from evaluators.data.folder import AnnotatedFolder, AnnotatedImage, finite_box, path_inside, random_split
from evaluators.evaluator import DataError

MAX_JSON_BYTES = 2_000_000_000

Box = tuple[float, float, float, float]


def read_coco(root: Path, seed: int) -> AnnotatedFolder:
    """Class names in the order of their ids, training and validation images; crowds and empty boxes are left out."""
    files = sorted(path for folder in (root, root / "annotations") for path in folder.glob("*.json"))
    train = [path for path in files if path.stem.startswith("instances_train")]
    validation = [path for path in files if path.stem.startswith("instances_val")]
    if train and validation:
        classes, train_images = _read_annotation_file(root, train[0])
        validation_classes, validation_images = _read_annotation_file(root, validation[0])
        if classes != validation_classes:
            raise DataError(f"{train[0].name} and {validation[0].name} in {root} name different categories")
        return AnnotatedFolder(tuple(classes.values()), train_images, validation_images)
    candidates = [path for path in files if path.stem.startswith("instances")] or files
    if len(candidates) != 1:
        raise DataError(
            f"{root}: found {len(candidates)} annotation files; give instances_train*.json and instances_val*.json, "
            "or one *.json, in the folder or its annotations/"
        )
    classes, images = _read_annotation_file(root, candidates[0])
    if len(images) < 2:
        raise DataError(f"{candidates[0]}: {len(images)} images; a split needs two at least")
    train_images, validation_images = random_split(images, seed)
    return AnnotatedFolder(tuple(classes.values()), train_images, validation_images)


def _read_annotation_file(root: Path, path: Path) -> tuple[dict[int, str], list[AnnotatedImage]]:
    """Class names by id in the order of ids, and the images in the file's order."""
    content = _load_json(path)
    categories = _rows_by_id(content, "categories", path)
    images = _rows_by_id(content, "images", path)
    classes = _class_names(categories, path)
    boxes, labels = _boxes_of_images(_rows_by_id(content, "annotations", path), images, classes, path)
    split = path.stem.removeprefix("instances_")
    folders = [root / part for part in ("", "images", split, f"images/{split}")]
    annotated_images = [
        AnnotatedImage(
            _image_path(root, folders, row.get("file_name"), f"{path}: image {number}"),
            np.array(boxes[number], np.float64),
            tuple(labels[number]),
        )
        for number, row in images.items()
    ]
    return classes, annotated_images


def _load_json(path: Path) -> object:
    try:
        if path.stat().st_size > MAX_JSON_BYTES:
            raise DataError(f"{path}: over {MAX_JSON_BYTES} bytes; split it")
        return json.loads(path.read_bytes())
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from None
    except (ValueError, RecursionError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"{path}: no JSON ({error}); correct it") from None


def _class_names(categories: Mapping[int, Mapping[str, Any]], path: Path) -> dict[int, str]:
    """Names by category id, in the order of ids."""
    classes: dict[int, str] = {}
    for number, row in sorted(categories.items()):
        name = row.get("name")
        if not isinstance(name, str) or not name:
            raise DataError(f"{path}: category {number} has no name; correct it")
        classes[number] = name
    if len(set(classes.values())) != len(classes):
        raise DataError(f"{path}: two categories have the same name; rename one")
    return classes


def _boxes_of_images(
    annotations: Mapping[int, Mapping[str, Any]],
    images: Mapping[int, Mapping[str, Any]],
    classes: Mapping[int, str],
    path: Path,
) -> tuple[dict[int, list[Box]], dict[int, list[str]]]:
    """Boxes as x1, y1, x2, y2 and class names by image id."""
    boxes: dict[int, list[Box]] = {number: [] for number in images}
    labels: dict[int, list[str]] = {number: [] for number in images}
    for number, row in annotations.items():
        source = f"{path}: annotation {number}"
        image, category = row.get("image_id"), row.get("category_id")
        if type(image) is not int or image not in images:
            raise DataError(f"{source} names image {image!r}, which is not listed; correct it")
        if type(category) is not int or category not in classes:
            raise DataError(f"{source} names category {category!r}, which is not listed; correct it")
        box = row.get("bbox")
        x, y, width, height = finite_box(box if isinstance(box, list) else [box], source)
        if not row.get("iscrowd") and width > 0 and height > 0:
            boxes[image].append((x, y, x + width, y + height))
            labels[image].append(classes[category])
    return boxes, labels


def _image_path(root: Path, folders: Sequence[Path], name: object, source: str) -> Path:
    for folder in folders:
        path = path_inside(root, str(folder.relative_to(root) / name) if isinstance(name, str) else name, source)
        if path.is_file():
            return path
    raise DataError(f"{source}: no file {name!r} in {root} or its image folders; add it or take it out")


def _rows_by_id(content: object, key: str, path: Path) -> dict[int, Mapping[str, Any]]:
    """The rows of one list of the file by id."""
    rows = content.get(key) if isinstance(content, dict) else None
    if not isinstance(rows, list) or (not rows and key != "annotations"):
        raise DataError(f"{path}: no list {key!r}; a COCO file has images, annotations and categories")
    table: dict[int, Mapping[str, Any]] = {}
    for row in rows:
        number = row.get("id") if isinstance(row, dict) else None
        if type(number) is not int or number in table:
            raise DataError(f"{path}: id {number!r} in {key!r} is missing, no whole number, or used twice; correct it")
        table[number] = row
    return table
