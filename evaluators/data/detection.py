"""Detection data sets held in memory: drawn digits, Pascal VOC folders, COCO folders.

Every image is squashed to one square size, as SSD's fixed-shape resizer does; boxes follow.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
import xxhash

from evaluators.data.annotations import read_annotations
from evaluators.data.digits import DIGITS, draw_scenes
from evaluators.data.folder import AnnotatedImage
from evaluators.data.images import IMAGE_SIZES, read_image
from evaluators.evaluator import DataError


@dataclass(frozen=True, eq=False)
class DetectionSplit:
    """Images with their boxes; the arrays are read-only.

    images: uint8 [N, 3, S, S]. boxes: N float32 arrays [M, 4] of x1, y1, x2, y2 in pixels of the resized image.
    labels: N int64 arrays [M] with values in 0..C-1.
    """

    images: npt.NDArray[np.uint8]
    boxes: tuple[npt.NDArray[np.float32], ...]
    labels: tuple[npt.NDArray[np.int64], ...]

    def __len__(self) -> int:
        return len(self.images)


@dataclass(frozen=True, eq=False)
class DetectionData:
    """A data set ready to train on. ``digest`` is a hash (hex) of every pixel, box, label and class name."""

    name: str
    class_names: tuple[str, ...]
    image_size: int
    train: DetectionSplit
    validation: DetectionSplit
    digest: str


def load_detection_data(
    text: str, *, image_size: int, seed: int, max_train_images: int = 2048, max_val_images: int = 256
) -> DetectionData:
    """The data set that ``text`` names: ``digits``, ``voc:FOLDER`` or ``coco:FOLDER``.

    The seed selects the digits, the split of a folder that has none, and the images when there are more than
    the given maxima. Same arguments and same files, same ``digest``. Raises ``DataError``.
    """
    if image_size not in IMAGE_SIZES:
        raise DataError(
            f"image_size {image_size} px is outside {IMAGE_SIZES.start}..{IMAGE_SIZES.stop - 1}; choose one inside"
        )
    if min(max_train_images, max_val_images) < 1:
        raise DataError(f"at least one image a split, not {max_train_images} to train and {max_val_images} to validate")
    if text == "digits":
        names = DIGITS
        scene_splits = draw_scenes(image_size, seed, max_train_images, max_val_images)
        train, validation = (_read_only_split(scenes.images, scenes.boxes, scenes.labels) for scenes in scene_splits)
    else:
        folder = read_annotations(text, seed)
        names = folder.class_names
        rng = np.random.default_rng([seed, 2])
        train = _decode(_subset(folder.train, max_train_images, rng), names, image_size)
        validation = _decode(_subset(folder.validation, max_val_images, rng), names, image_size)
    for split, part in ((train, "training"), (validation, "validation")):
        if sum(map(len, split.labels)) == 0:
            raise DataError(f"{text!r}: none of its {len(split)} {part} images has a usable box; check its annotations")
    return DetectionData(text, names, image_size, train, validation, _digest(names, image_size, train, validation))


@lru_cache(maxsize=16)
def class_names(text: str) -> tuple[str, ...]:
    """The classes of a data set, without decoding its images. Raises ``DataError``."""
    return DIGITS if text == "digits" else read_annotations(text, 0).class_names


def _digest(class_names: Sequence[str], image_size: int, *splits: DetectionSplit) -> str:
    content = xxhash.xxh3_128(json.dumps([list(class_names), image_size]).encode())
    for split in splits:
        content.update(split.images.data)
        content.update(np.array([len(labels) for labels in split.labels], dtype="<i8").tobytes())
        for boxes, labels in zip(split.boxes, split.labels, strict=True):
            content.update(boxes.tobytes())
            content.update(labels.tobytes())
    return content.hexdigest()


def _read_only_split(
    images: npt.NDArray[np.uint8], boxes: list[npt.NDArray[np.float32]], labels: list[npt.NDArray[np.int64]]
) -> DetectionSplit:
    arrays: list[npt.NDArray[Any]] = [images, *boxes, *labels]
    for array in arrays:
        array.flags.writeable = False
    return DetectionSplit(images, tuple(boxes), tuple(labels))


# -- folders --------------------------------------------------------------------------------------------------------


def _subset(records: list[AnnotatedImage], max_records: int, rng: np.random.Generator) -> list[AnnotatedImage]:
    if len(records) <= max_records:
        return records
    return [records[index] for index in sorted(rng.permutation(len(records))[:max_records])]


def _decode(records: list[AnnotatedImage], class_names: Sequence[str], size: int) -> DetectionSplit:
    index = {name: number for number, name in enumerate(class_names)}
    images = np.empty((len(records), 3, size, size), np.uint8)
    all_boxes: list[npt.NDArray[np.float32]] = []
    all_labels: list[npt.NDArray[np.int64]] = []
    for number, record in enumerate(records):
        images[number], width, height = read_image(record.image, size)
        boxes = record.boxes.reshape(-1, 4) / [width, height, width, height]
        boxes = boxes.clip(0, 1) * size
        usable = (boxes[:, 0] < boxes[:, 2]) & (boxes[:, 1] < boxes[:, 3])
        all_boxes.append(boxes[usable].astype(np.float32))
        all_labels.append(np.array([index[name] for name in record.classes], np.int64)[usable])
    return _read_only_split(images, all_boxes, all_labels)
