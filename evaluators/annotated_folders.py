"""Reads the annotations of a folder, Pascal VOC or COCO, without decoding an image.

Folders are hostile input: whatever is wrong with one ends in a ``DataError``.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from evaluators.quality import DataError

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".JPG", ".JPEG", ".PNG")
MAX_XML_BYTES = 4_000_000
MAX_JSON_BYTES = 2_000_000_000


@dataclass(frozen=True, eq=False)
class Record:
    """One annotated image: boxes [M, 4] of x1, y1, x2, y2 in its pixels, each with area, and M class names."""

    image: Path
    boxes: npt.NDArray[np.float64]
    classes: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Annotations:
    """The classes of a folder and the images of its two splits."""

    class_names: tuple[str, ...]
    train: list[Record]
    validation: list[Record]


def read_annotations(text: str, seed: int) -> Annotations:
    """What ``voc:FOLDER`` or ``coco:FOLDER`` holds; the seed splits a folder that comes without a split.

    Crowds, objects marked difficult, and boxes without area are left out. Raises ``DataError``.
    """
    kind, colon, folder = text.partition(":")
    if kind not in READERS or not colon:
        raise DataError(f"no detection data {text!r}; give digits, voc:FOLDER or coco:FOLDER")
    root = Path(folder).expanduser()
    if not folder or "\0" in folder or not root.is_dir():
        raise DataError(f"{text!r}: no folder {folder!r}; give {kind}:FOLDER with a folder that exists")
    return READERS[kind](root.resolve(), seed)


def random_split(items: Sequence[Any], seed: int) -> tuple[list[Any], list[Any]]:
    """Four fifths and one fifth of the items, each in the order given."""
    held_out = set(np.random.default_rng([seed, 3]).permutation(len(items))[: max(1, len(items) // 5)].tolist())
    first = [item for index, item in enumerate(items) if index not in held_out]
    return first, [item for index, item in enumerate(items) if index in held_out]


def inside(folder: Path, name: object, source: str) -> Path:
    """``folder / name``, refused when it leaves the folder."""
    if not isinstance(name, str) or not name or "\0" in name:
        raise DataError(f"{source}: {name!r} is no file name; correct it")
    path = (folder / name).resolve()
    if not path.is_relative_to(folder):
        raise DataError(f"{source}: file {name!r} lies outside {folder}; keep every image inside the folder")
    return path


def _box(numbers: Sequence[object], source: str) -> tuple[float, float, float, float]:
    try:
        a, b, c, d = (float(number) for number in numbers)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        raise DataError(f"{source}: box {numbers!r} is not four numbers; correct it") from None
    if not all(map(math.isfinite, (a, b, c, d))):
        raise DataError(f"{source}: box {numbers!r} holds a number that is not finite; correct it")
    return a, b, c, d


# -- Pascal VOC -----------------------------------------------------------------------------------------------------


def _voc(root: Path, seed: int) -> Annotations:
    """Class names in alphabetical order, training and validation records.

    Corner coordinates are taken as edges in pixels; ``difficult`` objects and boxes without area are left out.
    """
    for part in ("Annotations", "JPEGImages"):
        if not (root / part).is_dir():
            raise DataError(f"{root}: no folder {part} in it; a VOC data set has Annotations and JPEGImages")
    lists = [root / "ImageSets" / "Main" / f"{part}.txt" for part in ("train", "val")]
    if all(path.is_file() for path in lists):
        train, validation = (voc_names(path) for path in lists)
    else:
        train, validation = random_split(sorted(path.stem for path in (root / "Annotations").glob("*.xml")), seed)
    if shared := set(train) & set(validation):
        raise DataError(f"{root}: {min(shared)} is in train.txt and in val.txt; each image belongs to one of them")
    if not train or not validation:
        raise DataError(f"{root}: {len(train)} training and {len(validation)} validation images; both need some")
    records = [[_voc_record(root, name) for name in names] for names in (train, validation)]
    classes = sorted({name for part in records for record in part for name in record.classes})
    return Annotations(tuple(classes), records[0], records[1])


def voc_names(path: Path) -> list[str]:
    """The names in a list of VOC's ImageSets. Raises ``DataError``."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read ({error}); it lists one image name a line") from None
    return list(dict.fromkeys(line.split()[0] for line in lines if line.strip()))


def _voc_record(root: Path, name: str) -> Record:
    if Path(name).name != name:
        raise DataError(f"{root}: image name {name!r} is a path; list names without folders")
    annotation = inside(root, f"Annotations/{name}.xml", str(root))
    tree = _parse_xml(annotation)
    boxes: list[tuple[float, float, float, float]] = []
    classes: list[str] = []
    for item in tree.iter("object"):
        if (item.findtext("difficult") or "0").strip() == "1":
            continue
        label = (item.findtext("name") or "").strip()
        if not label:
            raise DataError(f"{annotation}: an object has no name; correct it")
        corners = [item.findtext(f"bndbox/{key}") for key in ("xmin", "ymin", "xmax", "ymax")]
        x1, y1, x2, y2 = _box(corners, str(annotation))
        if x1 < x2 and y1 < y2:
            boxes.append((x1, y1, x2, y2))
            classes.append(label)
    for suffix in IMAGE_SUFFIXES:
        image = inside(root, f"JPEGImages/{name}{suffix}", str(root))
        if image.is_file():
            return Record(image, np.array(boxes, np.float64), tuple(classes))
    raise DataError(f"{root / 'JPEGImages'}: no image {name}{IMAGE_SUFFIXES[0]}, which {annotation.name} describes")


def _parse_xml(path: Path) -> Element:
    """The root element. A document type is refused: entities in it can expand without bound."""
    from defusedxml import DefusedXmlException
    from defusedxml.ElementTree import ParseError, fromstring

    try:
        if path.stat().st_size > MAX_XML_BYTES:
            raise DataError(f"{path}: over {MAX_XML_BYTES} bytes; no annotation of one image is that large")
        root: Element = fromstring(path.read_bytes(), forbid_dtd=True)
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); each listed image needs its annotation") from None
    except DefusedXmlException:
        raise DataError(f"{path}: declares a document type; annotations need none, take it out") from None
    except (ParseError, LookupError, UnicodeError) as error:
        raise DataError(f"{path}: no well-formed XML ({error}); correct it") from None
    return root


# -- COCO -----------------------------------------------------------------------------------------------------------


def _coco(root: Path, seed: int) -> Annotations:
    """Class names in the order of their ids, training and validation records; crowds and empty boxes left out."""
    files = sorted(path for folder in (root, root / "annotations") for path in folder.glob("*.json"))
    train = [path for path in files if path.stem.startswith("instances_train")]
    validation = [path for path in files if path.stem.startswith("instances_val")]
    if train and validation:
        classes, first = _coco_records(root, train[0])
        other, second = _coco_records(root, validation[0])
        if classes != other:
            raise DataError(f"{train[0].name} and {validation[0].name} in {root} name different categories")
        return Annotations(tuple(classes.values()), first, second)
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
    return Annotations(tuple(classes.values()), first, second)


def _coco_records(root: Path, path: Path) -> tuple[dict[int, str], list[Record]]:
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
        x, y, width, height = _box(box if isinstance(box, list) else [box], source)
        if not row.get("iscrowd") and width > 0 and height > 0:
            boxes[image].append((x, y, x + width, y + height))
            labels[image].append(classes[category])
    split = path.stem.removeprefix("instances_")
    folders = [root / part for part in ("", "images", split, f"images/{split}")]
    records = [
        Record(
            _coco_image(root, folders, row.get("file_name"), f"{path}: image {number}"),
            np.array(boxes[number], np.float64),
            tuple(labels[number]),
        )
        for number, row in images.items()
    ]
    return classes, records


def _coco_image(root: Path, folders: Sequence[Path], name: object, source: str) -> Path:
    for folder in folders:
        path = inside(root, str(folder.relative_to(root) / name) if isinstance(name, str) else name, source)
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


READERS: dict[str, Callable[[Path, int], Annotations]] = {
    "voc": _voc,
    "coco": _coco,
}
