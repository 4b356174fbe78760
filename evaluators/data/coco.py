"""Reads the annotations of a folder, Pascal VOC or COCO, without decoding an image.

Folders are hostile input: whatever is wrong with one ends in a ``DataError``.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from evaluators.data.folder import AnnotatedFolder, AnnotatedImage, finite_box, path_inside, random_split
from evaluators.data.voc import read_voc
from evaluators.evaluator import DataError

MAX_JSON_BYTES = 2_000_000_000


def read_annotations(text: str, seed: int) -> AnnotatedFolder:
    """What ``voc:FOLDER`` or ``coco:FOLDER`` holds; the seed splits a folder that comes without a split.

    Crowds, objects marked difficult, and boxes without area are left out. Raises ``DataError``.
    """
    kind, colon, folder = text.partition(":")
    if kind not in ANNOTATION_READERS or not colon:
        raise DataError(f"no detection data {text!r}; give digits, voc:FOLDER or coco:FOLDER")
    root = Path(folder).expanduser()
    if not folder or "\0" in folder or not root.is_dir():
        raise DataError(f"{text!r}: no folder {folder!r}; give {kind}:FOLDER with a folder that exists")
    return ANNOTATION_READERS[kind](root.resolve(), seed)


# -- COCO -----------------------------------------------------------------------------------------------------------


def _coco(root: Path, seed: int) -> AnnotatedFolder:
    """Class names in the order of their ids, training and validation records; crowds and empty boxes left out."""
    files = sorted(path for folder in (root, root / "annotations") for path in folder.glob("*.json"))
    train = [path for path in files if path.stem.startswith("instances_train")]
    validation = [path for path in files if path.stem.startswith("instances_val")]
    if train and validation:
        classes, first = _coco_records(root, train[0])
        other, second = _coco_records(root, validation[0])
        if classes != other:
            raise DataError(f"{train[0].name} and {validation[0].name} in {root} name different categories")
        return AnnotatedFolder(tuple(classes.values()), first, second)
    candidates = [path for path in files if path.stem.startswith("instances")] or files
    if len(candidates) != 1:
        raise DataError(
            f"{root}: found {len(candidates)} annotation files; give instances_train*.json and instances_val*.json, "
            "or one *.json, in the folder or its annotations/"
        )
    classes, records = _coco_records(root, candidates[0])
    if len(records) < 2:
        raise DataError(f"{candidates[0]}: {len(records)} images; a split needs two at least")
    first, second = random_split(records, seed)
    return AnnotatedFolder(tuple(classes.values()), first, second)


def _coco_records(root: Path, path: Path) -> tuple[dict[int, str], list[AnnotatedImage]]:
    try:
        if path.stat().st_size > MAX_JSON_BYTES:
            raise DataError(f"{path}: over {MAX_JSON_BYTES} bytes; split it")
        content = json.loads(path.read_bytes())
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from None
    except (ValueError, RecursionError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"{path}: no JSON ({error}); correct it") from None
    categories = _coco_table(content, "categories", path)
    images = _coco_table(content, "images", path)
    classes: dict[int, str] = {}
    for number, row in sorted(categories.items()):
        name = row.get("name")
        if not isinstance(name, str) or not name:
            raise DataError(f"{path}: category {number} has no name; correct it")
        classes[number] = name
    if len(set(classes.values())) != len(classes):
        raise DataError(f"{path}: two categories have the same name; rename one")
    boxes: dict[int, list[tuple[float, float, float, float]]] = {number: [] for number in images}
    labels: dict[int, list[str]] = {number: [] for number in images}
    for number, row in _coco_table(content, "annotations", path).items():
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
    split = path.stem.removeprefix("instances_")
    folders = [root / part for part in ("", "images", split, f"images/{split}")]
    records = [
        AnnotatedImage(
            _coco_image(root, folders, row.get("file_name"), f"{path}: image {number}"),
            np.array(boxes[number], np.float64),
            tuple(labels[number]),
        )
        for number, row in images.items()
    ]
    return classes, records


def _coco_image(root: Path, folders: Sequence[Path], name: object, source: str) -> Path:
    for folder in folders:
        path = path_inside(root, str(folder.relative_to(root) / name) if isinstance(name, str) else name, source)
        if path.is_file():
            return path
    raise DataError(f"{source}: no file {name!r} in {root} or its image folders; add it or take it out")


def _coco_table(content: object, key: str, path: Path) -> dict[int, Mapping[str, Any]]:
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


ANNOTATION_READERS: dict[str, Callable[[Path, int], AnnotatedFolder]] = {
    "voc": read_voc,
    "coco": _coco,
}
