"""Images to classify or to segment, held in memory: drawn digits, folders of classes, Pascal VOC's masks.

Every image is squashed to one square size; masks follow, each pixel with the class nearest to its middle.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import xxhash

from evaluators.data.class_folders import class_folder_names, read_class_folders
from evaluators.data.digits import DIGITS, draw_scenes, draw_singles
from evaluators.data.folder import LabelledExample
from evaluators.data.images import IGNORE_INDEX, IMAGE_SIZES, read_image, read_mask
from evaluators.data.voc import read_voc_masks, voc_mask_names
from evaluators.evaluator import DataError


@dataclass(frozen=True, eq=False)
class ImageSplit:
    """Images and their targets; the arrays are read-only.

    images: uint8 [N, 3, S, S]. targets: int64 [N], the class of each image; or uint8 [N, S, S], that of each pixel,
    ``IGNORE_INDEX`` where there is none.
    """

    images: npt.NDArray[np.uint8]
    targets: npt.NDArray[Any]

    def __len__(self) -> int:
        return len(self.images)


@dataclass(frozen=True, eq=False)
class ImageData:
    """A data set ready to train on. ``digest`` is a hash (hex) of every pixel, target and class name."""

    name: str
    class_names: tuple[str, ...]
    image_size: int
    train: ImageSplit
    validation: ImageSplit
    digest: str


def load_classification_data(
    text: str, *, image_size: int, seed: int, max_train_images: int = 4096, max_val_images: int = 1000
) -> ImageData:
    """Images with a class each: ``digits`` or ``folder:FOLDER``.

    The seed selects the digits, the split of a folder that has none, and the images when there are more than the
    given maxima. Same arguments and same files, same ``digest``. Raises ``DataError``.
    """
    _check_sizes(image_size, max_train_images, max_val_images)
    if text == "digits":
        digit_splits = draw_singles(image_size, seed, max_train_images, max_val_images)
        return _image_data(text, DIGITS, image_size, *(ImageSplit(d.images, d.labels) for d in digit_splits))
    folder = read_class_folders(text, seed)
    rng = np.random.default_rng([seed, 2])
    subsets = [_subset(folder.train, max_train_images, rng), _subset(folder.validation, max_val_images, rng)]
    return _image_data(
        text, folder.class_names, image_size, *(_read_classified(examples, image_size) for examples in subsets)
    )


def load_segmentation_data(
    text: str, *, image_size: int, seed: int, max_train_images: int = 1600, max_val_images: int = 256
) -> ImageData:
    """Images with a class for every pixel: ``digits``, the scenes that detectors train on, or ``voc:FOLDER``.

    As ``load_classification_data``. Raises ``DataError``.
    """
    _check_sizes(image_size, max_train_images, max_val_images)
    names = segmentation_classes(text)
    if text == "digits":
        scene_splits = draw_scenes(image_size, seed, max_train_images, max_val_images)
        return _image_data(text, names, image_size, *(ImageSplit(d.images, d.masks) for d in scene_splits))
    folder = read_voc_masks(text, seed)
    rng = np.random.default_rng([seed, 2])
    subsets = [_subset(folder.train, max_train_images, rng), _subset(folder.validation, max_val_images, rng)]
    splits = [_read_masked(examples, image_size, len(names)) for examples in subsets]
    for split, part in zip(splits, ("training", "validation"), strict=True):
        if (split.targets == IGNORE_INDEX).all():
            raise DataError(f"{text!r}: no pixel of its {len(split)} {part} masks has a class; check SegmentationClass")
    return _image_data(text, names, image_size, *splits)


@lru_cache(maxsize=16)
def classification_classes(text: str) -> tuple[str, ...]:
    """The classes of images, without opening these. Raises ``DataError``."""
    return DIGITS if text == "digits" else class_folder_names(text)


@lru_cache(maxsize=16)
def segmentation_classes(text: str) -> tuple[str, ...]:
    """The classes of pixels, background first, without opening these. Raises ``DataError``."""
    return ("background", *DIGITS) if text == "digits" else voc_mask_names(text)


def _check_sizes(image_size: int, max_train_images: int, max_val_images: int) -> None:
    if image_size not in IMAGE_SIZES:
        raise DataError(
            f"image_size {image_size} px is outside {IMAGE_SIZES.start}..{IMAGE_SIZES.stop - 1}; choose one inside"
        )
    if min(max_train_images, max_val_images) < 1:
        raise DataError(f"at least one image a split, not {max_train_images} to train and {max_val_images} to validate")


def _image_data(
    name: str, class_names: Sequence[str], image_size: int, train: ImageSplit, validation: ImageSplit
) -> ImageData:
    content = xxhash.xxh3_128(json.dumps([list(class_names), image_size]).encode())
    for split in (train, validation):
        arrays: list[npt.NDArray[Any]] = [split.images, split.targets]
        for array in arrays:
            array.flags.writeable = False
            content.update(json.dumps(array.shape).encode())
            content.update(np.ascontiguousarray(array, array.dtype.newbyteorder("<")).tobytes())
    return ImageData(name, tuple(class_names), image_size, train, validation, content.hexdigest())


def _subset(examples: list[LabelledExample], max_examples: int, rng: np.random.Generator) -> list[LabelledExample]:
    if len(examples) <= max_examples:
        return examples
    return [examples[index] for index in sorted(rng.permutation(len(examples))[:max_examples])]


def _read_classified(examples: Sequence[LabelledExample], size: int) -> ImageSplit:
    images = np.empty((len(examples), 3, size, size), np.uint8)
    for number, example in enumerate(examples):
        images[number], _, _ = read_image(example.image, size)
    return ImageSplit(images, np.array([example.target for example in examples], np.int64))


def _read_masked(examples: Sequence[LabelledExample], size: int, classes: int) -> ImageSplit:
    images = np.empty((len(examples), 3, size, size), np.uint8)
    masks = np.empty((len(examples), size, size), np.uint8)
    for number, example in enumerate(examples):
        images[number], width, height = read_image(example.image, size)
        assert isinstance(example.target, Path)
        masks[number] = read_mask(example.target, size, (width, height), classes)
    return ImageSplit(images, masks)
