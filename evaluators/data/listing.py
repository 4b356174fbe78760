"""What a format lists of a data set: samples, each an image that is not yet read and its annotation.

A format of one's own is a function that returns a ``Listing`` of ``Sample`` objects; all that follows is the same for
every format: order, splits, subsets, reading, resizing, the digest.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from evaluators.data.data_set import Annotation, Pixels
from evaluators.data.images import PixelForm, content_with_orientation, read_header, read_image
from evaluators.data.orientation import DrawnOn
from evaluators.data.pillow_images import ImageHeader
from evaluators.evaluator import DataError


@dataclass(frozen=True)
class DataRequest:
    """What is asked of a format: where the data are, which annotation, and at what scale they will be used.

    ``location``: the text after the colon, or an object of a Python program. Formats that list files need no more; the
    others are for data that are made, not read: ``seed`` selects them, and at most so many images are wanted.
    """

    location: Any
    annotation: Annotation
    image_size: int
    seed: int = 0
    max_train_images: int = 2048
    max_val_images: int = 256
    channels: int = 0


class ImageSource(Protocol):
    """An image that can be read when it is wanted."""

    @property
    def name(self) -> str:
        """Where it is: a file, or a row of what is no file."""
        ...

    @property
    def order(self) -> str:
        """Samples are put in the order of these texts, whichever format lists them: of files, their names."""
        ...

    def header(self) -> ImageHeader:
        """Size and form, if possible without decoding. Raises ``DataError``."""
        ...

    def read(self, size: int, form: PixelForm) -> tuple[Pixels, int, int]:
        """The image squashed to [C, S, S] in that form, and its width and height before. Raises ``DataError``."""
        ...

    def content(self) -> Any:
        """Bytes, or an array of them, on which its pixels depend. Raises ``DataError``."""
        ...


@dataclass(frozen=True, slots=True)
class ImageFile:
    """An image in a file, turned as its EXIF orientation says, unless its annotations were ``drawn_on`` it unturned."""

    path: str | Path
    drawn_on: DrawnOn | None = None

    @property
    def name(self) -> str:
        return str(self.path)

    @property
    def order(self) -> str:
        return os.path.basename(self.path)

    def header(self) -> ImageHeader:
        return read_header(self.path, self.drawn_on)

    def read(self, size: int, form: PixelForm) -> tuple[Pixels, int, int]:
        return read_image(self.path, size, form, self.drawn_on)

    def content(self) -> bytes:
        return content_with_orientation(self.path, file_content(self.path), self.drawn_on)


@dataclass(frozen=True, slots=True, eq=False)
class ObjectBoxes:
    """Boxes of one image as listed: float64 [M, 4] of x1, y1, x2, y2, and the number of the class of each, int64 [M].

    In pixels of the image at its full size, turned as it is read; or in fractions of its width and height, which were
    written with a ``rounding_error`` of at most so much.
    """

    corners: npt.NDArray[np.float64]
    labels: npt.NDArray[np.int64]
    in_fractions: bool = False
    rounding_error: float = 0.0


@dataclass(frozen=True, slots=True)
class MaskFile:
    """A PNG whose pixels are numbers of classes."""

    path: str | Path


@dataclass(frozen=True, slots=True)
class MaskArray:
    """A mask that is no file: ``read`` gives it as [H, W] of numbers of classes, or raises ``DataError``."""

    read: Callable[[], npt.NDArray[Any]]


@dataclass(frozen=True, slots=True)
class Runs:
    """Pixels column by column: so many outside, so many inside, and so on in turns. They add up to all pixels."""

    width: int
    height: int
    counts: tuple[int, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Regions:
    """Shapes of one image that are painted over each other, the last on top, and the class of each.

    A shape is ``Runs``, or polygons, float64 [M, 2] of x, y each, in pixels of the image at its full size, turned as it
    is read, or in fractions of its width and height.
    """

    shapes: tuple[Runs | tuple[npt.NDArray[np.float64], ...], ...]
    labels: tuple[int, ...]
    in_fractions: bool = False
    rounding_error: float = 0.0


AnnotationAsListed = int | ObjectBoxes | MaskFile | MaskArray | Regions


@dataclass(frozen=True, slots=True)
class Sample:
    """An image and what is known of it: the number of its class, its boxes, or its mask."""

    image: ImageSource
    annotation: AnnotationAsListed


@dataclass(frozen=True)
class Listing:
    """The classes of a data set, of masks with the background first, and its samples.

    ``validation`` is ``None`` where the data have no split: then a fifth, by the seed, is held out, of each class where
    every image has one. ``read_from``: the files and folders that were read for it; as long as they are the same, it is
    not asked for again in this process.
    """

    class_names: tuple[str, ...]
    train: Sequence[Sample]
    validation: Sequence[Sample] | None
    read_from: tuple[Path, ...] = ()


MAX_MASK_CLASSES = 255
"""Masks hold one class a byte, and 255 is no class."""


# -- order, splits, subsets --------------------------------------------------------------------------------------------


def in_order(samples: Sequence[Sample], annotation: Annotation) -> list[Sample]:
    """The samples as every format gives them: by class, where every image has one, then by the names of their files."""
    if annotation == "class":
        return sorted(samples, key=lambda sample: (sample.annotation, sample.image.order, sample.image.name))
    return sorted(samples, key=lambda sample: (os.path.splitext(sample.image.order)[0], sample.image.name))


def held_out_fifth(
    samples: Sequence[Sample], annotation: Annotation, class_names: Sequence[str], seed: int, source: str
) -> tuple[list[Sample], list[Sample]]:
    """Four fifths and one fifth of samples in order; of each class, where every image has one. Raises ``DataError``."""
    if annotation != "class":
        if len(samples) < 2:
            raise DataError(f"{source}: {len(samples)} images; a split needs two at least")
        return random_split(samples, seed)
    train: list[Sample] = []
    validation: list[Sample] = []
    of_class: dict[Any, list[Sample]] = {number: [] for number in range(len(class_names))}
    for sample in samples:
        of_class[sample.annotation].append(sample)
    for name, members in zip(class_names, of_class.values(), strict=True):
        if len(members) < 2:
            count = "one image" if members else "no image"
            raise DataError(f"{source}: class {name}: {count}; a split needs two at least of each class")
        parts = random_split(members, seed)
        train += parts[0]
        validation += parts[1]
    return train, validation


def random_split(items: Sequence[Any], seed: int) -> tuple[list[Any], list[Any]]:
    """Four fifths and one fifth of the items, each in the order given."""
    held_out = set(np.random.default_rng([seed, 3]).permutation(len(items))[: max(1, len(items) // 5)].tolist())
    first = [item for index, item in enumerate(items) if index not in held_out]
    return first, [item for index, item in enumerate(items) if index in held_out]


def random_subset(items: Sequence[Any], max_items: int, rng: np.random.Generator) -> list[Any]:
    """All items, or so many at random, in the order given."""
    if len(items) <= max_items:
        return list(items)
    return [items[index] for index in sorted(rng.permutation(len(items))[:max_items])]


def file_content(path: str | Path) -> bytes:
    """The bytes of a file. Raises ``DataError``."""
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error})") from None
