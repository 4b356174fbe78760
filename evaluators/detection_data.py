"""Detection data sets held in memory: drawn digits, Pascal VOC folders, COCO folders.

Every image is squashed to one square size, as SSD's fixed-shape resizer does; boxes follow.
Folders are hostile input: whatever is wrong with one ends in a `DataError`.
"""

import json
import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree
from xml.parsers import expat

import numpy as np
import numpy.typing as npt
import xxhash
from PIL import Image, UnidentifiedImageError

IMAGE_FORMATS = ("JPEG", "PNG", "BMP", "WEBP")
IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".JPG", ".JPEG", ".PNG")
MAX_IMAGE_PIXELS = 64_000_000
MAX_XML_BYTES = 4_000_000
MAX_JSON_BYTES = 2_000_000_000
SIZES = range(16, 1025)
"""Image sizes in pixels that are accepted."""


class DataError(ValueError):
    """The data set cannot be used as it is; the message says where, why, and what to do."""


@dataclass(frozen=True)
class Split:
    """Images with their boxes; the arrays are read-only.

    images: uint8 [N, 3, S, S]. boxes: N float32 arrays [M, 4] of x1, y1, x2, y2 in pixels of the resized image.
    labels: N int64 arrays [M] with values in 0..C-1.
    """

    images: npt.NDArray[np.uint8]
    boxes: tuple[npt.NDArray[np.float32], ...]
    labels: tuple[npt.NDArray[np.int64], ...]

    def __len__(self) -> int:
        return len(self.images)


@dataclass(frozen=True)
class DetectionData:
    """A data set ready to train on. `digest` is a hash (hex) of every pixel, box, label and class name."""

    name: str
    class_names: tuple[str, ...]
    image_size: int
    train: Split
    validation: Split
    digest: str


@dataclass(frozen=True)
class _Record:
    """One annotated image that is not decoded yet; boxes in pixels of the original image."""

    image: Path
    boxes: npt.NDArray[np.float64]
    classes: tuple[str, ...]


def load_detection_data(
    text: str, *, image_size: int, seed: int, max_train_images: int = 2048, max_val_images: int = 256
) -> DetectionData:
    """The data set that `text` names: `digits`, `voc:FOLDER` or `coco:FOLDER`.

    The seed draws the digits, the split of a folder that has none, and the images kept when there are more than
    the given maxima. Same arguments and same files, same `digest`. Raises `DataError`.
    """
    if image_size not in SIZES:
        raise DataError(f"image_size {image_size} px is outside {SIZES.start}..{SIZES.stop - 1}; choose one inside")
    if min(max_train_images, max_val_images) < 1:
        raise DataError(f"at least one image a split, not {max_train_images} to train and {max_val_images} to validate")
    kind, colon, folder = text.partition(":")
    if text == "digits":
        class_names = tuple("0123456789")
        train, validation = _digits(image_size, seed, max_train_images, max_val_images)
    elif kind in _FOLDER_READERS and colon:
        root = Path(folder).expanduser()
        if not folder or not root.is_dir():
            raise DataError(f"{text!r}: no folder {folder!r}; give {kind}:FOLDER with a folder that exists")
        class_names, first, second = _FOLDER_READERS[kind](root.resolve(), seed)
        rng = np.random.default_rng([seed, 2])
        train = _decode(_subset(first, max_train_images, rng), class_names, image_size)
        validation = _decode(_subset(second, max_val_images, rng), class_names, image_size)
    else:
        raise DataError(f"no detection data {text!r}; give digits, voc:FOLDER or coco:FOLDER")
    for split, part in ((train, "training"), (validation, "validation")):
        if sum(map(len, split.labels)) == 0:
            raise DataError(f"{text!r}: none of its {len(split)} {part} images has a usable box; check its annotations")
    return DetectionData(
        text, class_names, image_size, train, validation, _digest(class_names, image_size, train, validation)
    )


def _digest(class_names: Sequence[str], image_size: int, *splits: Split) -> str:
    content = xxhash.xxh3_128(json.dumps([list(class_names), image_size]).encode())
    for split in splits:
        content.update(split.images.data)
        content.update(np.array([len(labels) for labels in split.labels], dtype="<i8").tobytes())
        for boxes, labels in zip(split.boxes, split.labels, strict=True):
            content.update(boxes.tobytes())
            content.update(labels.tobytes())
    return content.hexdigest()


def _frozen_split(
    images: npt.NDArray[np.uint8], boxes: list[npt.NDArray[np.float32]], labels: list[npt.NDArray[np.int64]]
) -> Split:
    for array in (images, *boxes, *labels):
        array.flags.writeable = False
    return Split(images, tuple(boxes), tuple(labels))


# -- digits ---------------------------------------------------------------------------------------------------------


def _digits(size: int, seed: int, train_images: int, val_images: int) -> tuple[Split, Split]:
    """Handwritten digits of scikit-learn on noisy canvases; training and validation share no handwriting."""
    from sklearn.datasets import load_digits  # type: ignore[import-untyped]

    bunch = load_digits()
    order = np.random.default_rng([seed, 0]).permutation(len(bunch.target))
    held_out = len(order) // 5
    return (
        _draw(bunch, order[held_out:], size, train_images, np.random.default_rng([seed, 1, 0])),
        _draw(bunch, order[:held_out], size, val_images, np.random.default_rng([seed, 1, 1])),
    )


DIGITS_AN_IMAGE = (2, 5)
DIGIT_HEIGHT = (0.25, 0.5)
"""Smallest and largest height of a drawn digit, as a share of the image's side."""


def _draw(bunch: Any, source: npt.NDArray[np.int64], size: int, count: int, rng: np.random.Generator) -> Split:
    images = np.empty((count, 3, size, size), np.uint8)
    all_boxes: list[npt.NDArray[np.float32]] = []
    all_labels: list[npt.NDArray[np.int64]] = []
    for number in range(count):
        canvas = np.full((3, size, size), 0.0, np.float32) + rng.uniform(10, 110, (3, 1, 1))
        canvas += np.linspace(-1, 1, size) * rng.uniform(-30, 30)
        canvas += np.linspace(-1, 1, size)[:, None] * rng.uniform(-30, 30)
        boxes: list[tuple[int, int, int, int]] = []
        labels: list[int] = []
        for _ in range(rng.integers(DIGITS_AN_IMAGE[0], DIGITS_AN_IMAGE[1] + 1)):
            which = int(rng.choice(source))
            ink = _scaled_ink(bunch.images[which], rng.uniform(*DIGIT_HEIGHT) * size)
            height, width = ink.shape
            place = _free_place(size, height, width, boxes, rng)
            colour = rng.uniform(150, 255, (3, 1, 1))
            if place is None:
                continue
            x, y = place
            patch = canvas[:, y : y + height, x : x + width]
            patch += (colour - patch) * ink
            boxes.append((x, y, x + width, y + height))
            labels.append(int(bunch.target[which]))
        canvas += rng.normal(0, rng.uniform(0, 12), canvas.shape)
        images[number] = canvas.clip(0, 255).astype(np.uint8)
        all_boxes.append(np.array(boxes, np.float32).reshape(-1, 4))
        all_labels.append(np.array(labels, np.int64))
    return _frozen_split(images, all_boxes, all_labels)


def _scaled_ink(digit: npt.NDArray[np.float64], height: float) -> npt.NDArray[np.float32]:
    """Opacity 0..1 of a digit cropped to its ink and scaled to the height in pixels."""
    rows, columns = np.nonzero(digit.max(1) > 4)[0], np.nonzero(digit.max(0) > 4)[0]
    ink = digit[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].astype(np.float32) / 16
    shape = max(2, round(height * ink.shape[1] / ink.shape[0])), max(2, round(height))
    return np.asarray(Image.fromarray(ink).resize(shape, Image.Resampling.BILINEAR))


def _free_place(
    size: int, height: int, width: int, taken: list[tuple[int, int, int, int]], rng: np.random.Generator
) -> tuple[int, int] | None:
    """A corner x, y where the box covers at most a tenth of any other; None when 20 draws find none."""
    for _ in range(20):
        x, y = int(rng.integers(0, size - width + 1)), int(rng.integers(0, size - height + 1))
        overlaps = (
            max(0, min(x + width, x2) - max(x, x1)) * max(0, min(y + height, y2) - max(y, y1))
            <= 0.1 * min(width * height, (x2 - x1) * (y2 - y1))
            for x1, y1, x2, y2 in taken
        )
        if all(overlaps):
            return x, y
    return None


# -- folders --------------------------------------------------------------------------------------------------------


def _subset(records: list[_Record], most: int, rng: np.random.Generator) -> list[_Record]:
    if len(records) <= most:
        return records
    return [records[index] for index in sorted(rng.permutation(len(records))[:most])]


def _random_split(items: Sequence[Any], seed: int) -> tuple[list[Any], list[Any]]:
    """Four fifths and one fifth of the items, each in the order given."""
    held_out = set(np.random.default_rng([seed, 3]).permutation(len(items))[: max(1, len(items) // 5)].tolist())
    first = [item for index, item in enumerate(items) if index not in held_out]
    return first, [item for index, item in enumerate(items) if index in held_out]


def _decode(records: list[_Record], class_names: Sequence[str], size: int) -> Split:
    index = {name: number for number, name in enumerate(class_names)}
    images = np.empty((len(records), 3, size, size), np.uint8)
    all_boxes: list[npt.NDArray[np.float32]] = []
    all_labels: list[npt.NDArray[np.int64]] = []
    for number, record in enumerate(records):
        images[number], width, height = _read_image(record.image, size)
        boxes = record.boxes.reshape(-1, 4) / [width, height, width, height]
        boxes = boxes.clip(0, 1) * size
        usable = (boxes[:, 0] < boxes[:, 2]) & (boxes[:, 1] < boxes[:, 3])
        all_boxes.append(boxes[usable].astype(np.float32))
        all_labels.append(np.array([index[name] for name in record.classes], np.int64)[usable])
    return _frozen_split(images, all_boxes, all_labels)


def _read_image(path: Path, size: int) -> tuple[npt.NDArray[np.uint8], int, int]:
    """The image as [3, S, S], and its width and height before the resize."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path, formats=IMAGE_FORMATS) as image:
                width, height = image.size
                if width * height > MAX_IMAGE_PIXELS:
                    raise DataError(f"{path}: {width} x {height} px is over {MAX_IMAGE_PIXELS} px; scale it down")
                image.draft("RGB", (size, size))
                pixels = np.asarray(image.convert("RGB").resize((size, size), Image.Resampling.BILINEAR))
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
        raise DataError(f"{path}: too many pixels ({error}); scale it down") from None
    except (OSError, SyntaxError, ValueError) as error:
        if isinstance(error, DataError):
            raise
        reason = "no image in " + ", ".join(IMAGE_FORMATS) if isinstance(error, UnidentifiedImageError) else error
        raise DataError(f"{path}: cannot be read ({reason}); replace it or take it out of the annotations") from None
    return pixels.transpose(2, 0, 1), width, height


def _inside(folder: Path, name: object, source: str) -> Path:
    """`folder / name`, refused when it leaves the folder."""
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


def _voc(root: Path, seed: int) -> tuple[tuple[str, ...], list[_Record], list[_Record]]:
    """Class names in alphabetical order, training and validation records.

    Corner coordinates are taken as edges in pixels; `difficult` objects and boxes without area are left out.
    """
    for part in ("Annotations", "JPEGImages"):
        if not (root / part).is_dir():
            raise DataError(f"{root}: no folder {part} in it; a VOC data set has Annotations and JPEGImages")
    lists = [root / "ImageSets" / "Main" / f"{part}.txt" for part in ("train", "val")]
    if all(path.is_file() for path in lists):
        train, validation = (_voc_names(path) for path in lists)
    else:
        train, validation = _random_split(sorted(path.stem for path in (root / "Annotations").glob("*.xml")), seed)
    if shared := set(train) & set(validation):
        raise DataError(f"{root}: {min(shared)} is in train.txt and in val.txt; each image belongs to one of them")
    if not train or not validation:
        raise DataError(f"{root}: {len(train)} training and {len(validation)} validation images; both need some")
    records = [[_voc_record(root, name) for name in names] for names in (train, validation)]
    classes = sorted({name for part in records for record in part for name in record.classes})
    return tuple(classes), records[0], records[1]


def _voc_names(path: Path) -> list[str]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read ({error}); it lists one image name a line") from None
    return list(dict.fromkeys(line.split()[0] for line in lines if line.strip()))


def _voc_record(root: Path, name: str) -> _Record:
    if Path(name).name != name:
        raise DataError(f"{root}: image name {name!r} is a path; list names without folders")
    annotation = _inside(root, f"Annotations/{name}.xml", str(root))
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
        image = _inside(root, f"JPEGImages/{name}{suffix}", str(root))
        if image.is_file():
            return _Record(image, np.array(boxes, np.float64), tuple(classes))
    raise DataError(f"{root / 'JPEGImages'}: no image {name}{IMAGE_SUFFIXES[0]}, which {annotation.name} describes")


def _parse_xml(path: Path) -> ElementTree.Element:
    """The root element. A document type is refused: entities in it can expand without bound."""

    def refuse(*_: object) -> None:
        raise DataError(f"{path}: declares a document type; annotations need none, take it out")

    try:
        if path.stat().st_size > MAX_XML_BYTES:
            raise DataError(f"{path}: over {MAX_XML_BYTES} bytes; no annotation of one image is that large")
        content = path.read_bytes()
        checker = expat.ParserCreate()
        checker.StartDoctypeDeclHandler = refuse
        checker.Parse(content, True)
        return ElementTree.fromstring(content)
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); each listed image needs its annotation") from None
    except (expat.ExpatError, ElementTree.ParseError, LookupError, ValueError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"{path}: no well-formed XML ({error}); correct it") from None


# -- COCO -----------------------------------------------------------------------------------------------------------


def _coco(root: Path, seed: int) -> tuple[tuple[str, ...], list[_Record], list[_Record]]:
    """Class names in the order of their ids, training and validation records; crowds and empty boxes left out."""
    files = sorted(path for folder in (root, root / "annotations") for path in folder.glob("*.json"))
    train = [path for path in files if path.stem.startswith("instances_train")]
    validation = [path for path in files if path.stem.startswith("instances_val")]
    if train and validation:
        classes, first = _coco_records(root, train[0])
        other, second = _coco_records(root, validation[0])
        if classes != other:
            raise DataError(f"{train[0].name} and {validation[0].name} in {root} name different categories")
        return tuple(classes.values()), first, second
    candidates = [path for path in files if path.stem.startswith("instances")] or files
    if len(candidates) != 1:
        raise DataError(
            f"{root}: found {len(candidates)} annotation files; give instances_train*.json and instances_val*.json, "
            "or one *.json, in the folder or its annotations/"
        )
    classes, records = _coco_records(root, candidates[0])
    if len(records) < 2:
        raise DataError(f"{candidates[0]}: {len(records)} images; a split needs two at least")
    first, second = _random_split(records, seed)
    return tuple(classes.values()), first, second


def _coco_records(root: Path, path: Path) -> tuple[dict[int, str], list[_Record]]:
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
        _Record(
            _coco_image(root, folders, row.get("file_name"), f"{path}: image {number}"),
            np.array(boxes[number], np.float64),
            tuple(labels[number]),
        )
        for number, row in images.items()
    ]
    return classes, records


def _coco_image(root: Path, folders: Sequence[Path], name: object, source: str) -> Path:
    for folder in folders:
        path = _inside(root, str(folder.relative_to(root) / name) if isinstance(name, str) else name, source)
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


_FOLDER_READERS: dict[str, Callable[[Path, int], tuple[tuple[str, ...], list[_Record], list[_Record]]]] = {
    "voc": _voc,
    "coco": _coco,
}
