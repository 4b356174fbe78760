"""Data sets that are objects of a Python program: PyTorch's, torchvision's, Hugging Face's, or a plain list.

Such an object has a length and gives, by index, ``(image, target)`` or a mapping with the keys of ``IMAGE_KEYS`` and of
``TARGET_KEYS``. An image is Pillow's, an array or a tensor, [H, W], [H, W, C] or [C, H, W]. A target is

* a class: a whole number, or a text;
* boxes: a mapping with ``boxes`` (x1, y1, x2, y2) and ``labels``, as torchvision's; or with ``bbox`` (x, y, width,
  height) and ``category``, ``categories`` or ``label``, as Hugging Face's ``objects``;
* a mask: an image or array [H, W] of numbers of classes, 255 for none.

Class names come from ``features`` or ``classes`` where the object has them, else from the labels.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from evaluators.data.data_set import Annotation, Pixels
from evaluators.data.folder import VALIDATION_NAMES, finite_box
from evaluators.data.images import IGNORE_INDEX, PixelForm, fit_image, fit_pixels
from evaluators.data.listing import (
    MAX_MASK_CLASSES,
    AnnotationAsListed,
    DataRequest,
    Listing,
    MaskArray,
    ObjectBoxes,
    Sample,
)
from evaluators.data.pillow_images import ImageHeader, header_of, pixels_of
from evaluators.data.pixel_arrays import header_of_array, image_array
from evaluators.evaluator import DataError

IMAGE_KEYS = ("image", "img", "pixel_values")
TARGET_KEYS: dict[Annotation, tuple[str, ...]] = {
    "class": ("label", "labels", "class", "target", "fine_label"),
    "boxes": ("objects", "target", "annotations"),
    "masks": ("mask", "annotation", "segmentation", "label", "target"),
}
CATEGORY_KEYS = ("category", "categories", "labels", "label", "category_id")


@dataclass(frozen=True, eq=False)
class PythonSamples:
    """One data set to split, or one to train with and one to validate with.

    Two are the same where they were made as one, also after a journey to another process.
    """

    train: Any
    validation: Any = None
    identity: str = field(default_factory=lambda: uuid.uuid4().hex)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, PythonSamples) and other.identity == self.identity

    def __hash__(self) -> int:
        return hash(self.identity)

    def __str__(self) -> str:
        sizes = [len(part) for part in (self.train, self.validation) if part is not None]
        return f"{type(self.train).__name__} of {' and '.join(map(str, sizes))} samples"


def python_samples(data: Any) -> PythonSamples:
    """The object as samples: one data set, a pair, or a mapping with ``train`` and ``val`` or ``test``.

    Raises ``DataError``.
    """
    if isinstance(data, Mapping):
        held_out = next((data[name] for name in VALIDATION_NAMES if name in data), None)
        if "train" not in data:
            raise DataError(f"data with the keys {', '.join(map(str, data)) or 'none'}; give train, and val or test")
        return PythonSamples(_checked(data["train"]), None if held_out is None else _checked(held_out))
    if isinstance(data, tuple | list) and len(data) == 2 and all(map(_is_data_set, data)):
        return PythonSamples(_checked(data[0]), _checked(data[1]))
    return PythonSamples(_checked(data))


def _checked(data: Any) -> Any:
    if not _is_data_set(data):
        raise DataError(
            f"no data set: {type(data).__name__}; give kind:PATH, or an object whose items are (image, target), or"
            " mappings with image and label"
        )
    return data


def _is_data_set(data: Any) -> bool:
    if isinstance(data, str | bytes | Mapping) or not (hasattr(data, "__len__") and hasattr(data, "__getitem__")):
        return False
    try:
        first = data[0] if len(data) else None
    except Exception as error:
        raise DataError(f"item 0 of {type(data).__name__} cannot be had ({type(error).__name__}: {error})") from error
    return isinstance(first, Mapping) or (isinstance(first, tuple | list) and len(first) == 2)


def open_python_objects(request: DataRequest) -> Listing:
    """The samples of a ``PythonSamples``. Items are had when they are wanted; labels and boxes, at once.

    Raises ``DataError``, which has the number of the item.
    """
    samples: PythonSamples = request.location
    parts = [_Part(data, request.annotation) for data in (samples.train, samples.validation) if data is not None]
    names = _mask_class_names(parts) if request.annotation == "masks" else _class_names(parts)
    splits = [part.samples(names) for part in parts]
    return Listing(names, splits[0], splits[1] if len(splits) == 2 else None)


@dataclass(frozen=True, slots=True, eq=False)
class Item:
    """The image of one item of a data set."""

    data: Any
    index: int

    @property
    def name(self) -> str:
        return f"{type(self.data).__name__}, item {self.index}"

    @property
    def order(self) -> str:
        return f"{self.index:012d}"

    def header(self) -> ImageHeader:
        image = self._image()
        return header_of(image) if isinstance(image, Image.Image) else header_of_array(_array(image), self.name)

    def read(self, size: int, form: PixelForm) -> tuple[Pixels, int, int]:
        image = self._image()
        if isinstance(image, Image.Image):
            # A copy: reading a file at a fraction of its size changes the object
            return fit_image(image.copy(), size, form, self.name), *image.size
        pixels = image_array(_array(image), self.name)
        return fit_pixels(pixels, size, form, self.name), pixels.shape[1], pixels.shape[0]

    def content(self) -> npt.NDArray[Any]:
        image = self._image()
        return pixels_of(image) if isinstance(image, Image.Image) else image_array(_array(image), self.name)

    def _image(self) -> Any:
        item = item_at(self.data, self.index)
        if not isinstance(item, Mapping):
            return item[0]
        for key in IMAGE_KEYS:
            if key in item:
                return item[key]
        raise DataError(f"{self.name}: no {' or '.join(IMAGE_KEYS)} among {', '.join(map(str, item))}")


def item_at(data: Any, index: int) -> Any:
    """An item, ``(image, target)`` or a mapping. Raises ``DataError``."""
    try:
        item = data[index]
    except Exception as error:  # of somebody's own code
        raise DataError(
            f"{type(data).__name__}, item {index}: cannot be had ({type(error).__name__}: {error})"
        ) from error
    if isinstance(item, Mapping) or (isinstance(item, tuple | list) and len(item) == 2):
        return item
    raise DataError(f"{type(data).__name__}, item {index}: {type(item).__name__}; give (image, target) or a mapping")


def _array(value: Any) -> npt.NDArray[Any]:
    """An array, or a tensor of any framework that can be one."""
    if hasattr(value, "detach"):
        value = value.detach().cpu()
    return np.asarray(value)


class _Part:
    """One data set, and its targets as they are in it."""

    def __init__(self, data: Any, annotation: Annotation) -> None:
        self._data, self._annotation = data, annotation
        self.targets: list[Any] = []
        if annotation != "masks":
            column = _label_column(data) if annotation == "class" else None
            targets = column if column is not None else [self._target(index) for index in range(len(data))]
            read = self._label if annotation == "class" else self._boxes
            self.targets = [read(target, index) for index, target in enumerate(targets)]

    @property
    def own_names(self) -> tuple[str, ...] | None:
        return _own_class_names(self._data)

    @property
    def labels(self) -> set[Any]:
        """All that occur: numbers or texts."""
        if self._annotation == "class":
            return set(self.targets)
        return {label for _, labels in self.targets for label in labels}

    def masks(self) -> Sequence[MaskArray]:
        return [MaskArray(partial(self._mask, index)) for index in range(len(self._data))]

    def samples(self, names: Sequence[str]) -> list[Sample]:
        """With the number of each class among the names."""
        number = {name: index for index, name in enumerate(names)}

        def index_of(label: Any) -> int:
            return number[label] if isinstance(label, str) else int(label)

        annotations: Sequence[AnnotationAsListed]
        if self._annotation == "masks":
            annotations = self.masks()
        elif self._annotation == "class":
            annotations = [index_of(label) for label in self.targets]
        else:
            annotations = [
                ObjectBoxes(corners, np.array([index_of(label) for label in labels], np.int64))
                for corners, labels in self.targets
            ]
        return [Sample(Item(self._data, index), annotation) for index, annotation in enumerate(annotations)]

    def _target(self, index: int) -> Any:
        item = item_at(self._data, index)
        if not isinstance(item, Mapping):
            return item[1]
        for key in TARGET_KEYS[self._annotation]:
            if key in item:
                return item[key]
        if self._annotation == "boxes" and ("boxes" in item or "bbox" in item):
            return item
        raise DataError(
            f"{self._where(index)}: no {' or '.join(TARGET_KEYS[self._annotation])} among {', '.join(map(str, item))}"
        )

    def _where(self, index: int) -> str:
        return f"{type(self._data).__name__}, item {index}"

    def _label(self, target: Any, index: int) -> int | str:
        if isinstance(target, str):
            return target
        try:
            number = _array(target)
            if number.size == 1 and number.dtype.kind in "iub":
                return int(number.reshape(()))
        except (TypeError, ValueError):
            pass
        raise DataError(f"{self._where(index)}: label {target!r:.60} is no class; give a whole number or a text")

    def _boxes(self, target: Any, index: int) -> tuple[npt.NDArray[np.float64], list[int | str]]:
        where = self._where(index)
        if not isinstance(target, Mapping):
            raise DataError(f"{where}: {type(target).__name__} has no boxes; give a mapping with boxes and labels")
        key = next((key for key in ("boxes", "bbox") if key in target), None)
        category_key = next((key for key in CATEGORY_KEYS if key in target), None)
        if key is None or category_key is None:
            raise DataError(f"{where}: no boxes and labels among {', '.join(map(str, target))}")
        boxes = [finite_box(list(_array(box).ravel()), where) for box in target[key]]
        labels = [self._label(label, index) for label in target[category_key]]
        if len(boxes) != len(labels):
            raise DataError(f"{where}: {len(boxes)} boxes and {len(labels)} labels; each box needs one")
        corners = np.array(boxes, np.float64).reshape(-1, 4)
        if key == "bbox":
            corners[:, 2:] += corners[:, :2]
        return corners, labels

    def _mask(self, index: int) -> npt.NDArray[Any]:
        mask = _array(self._target(index))
        mask = mask.reshape(mask.shape[1:]) if mask.ndim == 3 and mask.shape[0] == 1 else mask
        if mask.ndim != 2 or mask.dtype.kind not in "iub":
            raise DataError(f"{self._where(index)}: a mask {mask.shape} of {mask.dtype}; give whole numbers [H, W]")
        return mask


def _label_column(data: Any) -> Sequence[Any] | None:
    """All labels, where they can be had without the images."""
    if hasattr(data, "column_names"):  # Hugging Face's
        key = next((key for key in TARGET_KEYS["class"] if key in data.column_names), None)
        return None if key is None else list(data[key])
    targets = getattr(data, "targets", None)  # torchvision's
    if targets is not None and len(targets) == len(data):
        return [*_array(targets)] if not isinstance(targets, list) else targets
    return None


def _own_class_names(data: Any) -> tuple[str, ...] | None:
    features = getattr(data, "features", None)
    if isinstance(features, Mapping):
        for feature in features.values():
            for nested in (feature, *(feature.values() if isinstance(feature, Mapping) else ())):
                names = getattr(getattr(nested, "feature", nested), "names", None)
                if names:
                    return tuple(map(str, names))
    names = getattr(data, "classes", None)
    return tuple(map(str, names)) if isinstance(names, list | tuple) and names else None


def _class_names(parts: Sequence[_Part]) -> tuple[str, ...]:
    labels = set().union(*(part.labels for part in parts))
    own = next((part.own_names for part in parts if part.own_names), None)
    texts = {label for label in labels if isinstance(label, str)}
    numbers = labels - texts
    if texts and numbers:
        raise DataError(f"labels are numbers and texts, such as {min(numbers)} and {min(texts)!r}; give one of them")
    if own is not None:
        if unknown := sorted(texts - set(own)) or [n for n in numbers if not 0 <= n < len(own)]:
            raise DataError(f"label {unknown[0]!r} is none of the {len(own)} classes that the data name")
        return own
    if numbers and min(numbers) < 0:
        raise DataError(f"label {min(numbers)} is no class; number them from 0 on")
    if numbers:
        return tuple(map(str, range(max(numbers) + 1)))
    return tuple(sorted(texts))


def _mask_class_names(parts: Sequence[_Part]) -> tuple[str, ...]:
    own = next((part.own_names for part in parts if part.own_names), None)
    if own is not None:
        return own
    largest = 0
    for part in parts:
        for mask in part.masks():
            values = mask.read()
            values = values[values != IGNORE_INDEX]
            largest = max(largest, int(values.max(initial=0)))
    if largest >= MAX_MASK_CLASSES:
        raise DataError(f"a mask holds {largest}; classes are numbered from 0 to {MAX_MASK_CLASSES - 1}")
    return tuple(map(str, range(largest + 1)))
