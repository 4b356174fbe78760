"""Handwritten digits on noisy, coloured canvases: images to train on that need no download.

The handwriting is scikit-learn's, 1,797 digits of 8 x 8 pixels. Training and validation share none of it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import xxhash
from PIL import Image

from evaluators.data.data_set import Annotation, Boxes, Indices, Normalisation
from evaluators.data.listing import DataRequest
from evaluators.evaluator import DataError

DIGITS = tuple("0123456789")
DIGITS_PER_SCENE = (3, 6)
SCENE_HEIGHT = (0.3, 0.5)
SINGLE_HEIGHT = (0.45, 0.8)
"""Smallest and largest height of a drawn digit, as a fraction of the image's side: among others, and alone."""

Pixels = npt.NDArray[np.uint8]


def open_digits(request: DataRequest) -> DrawnDigits:
    """One digit an image with its class; or several with boxes or masks. Raises ``DataError``."""
    if request.channels not in (0, 3):
        raise DataError(f"digits are drawn in 3 channels, not {request.channels}; leave channels out")
    return DrawnDigits(request)


class DrawnSplit:
    """Images held in memory, and their classes, boxes or masks; the arrays are read-only."""

    def __init__(self, part: str, images: Pixels, targets: Any) -> None:
        self._part, self._images, self._targets = part, images, targets
        for array in (images, *(targets if isinstance(targets, list) else [targets])):
            for each in (array.corners, array.labels) if isinstance(array, Boxes) else (array,):
                each.flags.writeable = False

    def __len__(self) -> int:
        return len(self._images)

    def images(self, indices: Indices) -> Pixels:
        return self._images[indices]

    def targets(self, indices: Indices) -> Any:
        if isinstance(self._targets, list):
            return [self._targets[index] for index in indices]
        return self._targets[indices]

    def sources(self, indices: Indices) -> Sequence[str]:
        return [f"digits: {self._part} image {index}" for index in indices]

    def add_to(self, content: xxhash.xxh3_128) -> None:
        """Every pixel and target, as recorded digests have them."""
        if not isinstance(self._targets, list):
            for array in (self._images, self._targets):
                content.update(json.dumps(array.shape).encode())
                content.update(np.ascontiguousarray(array, array.dtype.newbyteorder("<")).tobytes())
            return
        content.update(self._images.data)
        content.update(np.array([len(boxes.labels) for boxes in self._targets], dtype="<i8").tobytes())
        for boxes in self._targets:
            content.update(boxes.corners.tobytes())
            content.update(boxes.labels.tobytes())


class DrawnDigits:
    """The data set of digits; drawn when it is first looked at."""

    name = "digits"
    channels = 3
    normalisation = Normalisation((127.5,) * 3, (127.5,) * 3)

    def __init__(self, request: DataRequest) -> None:
        self.annotation: Annotation = request.annotation
        self.image_size = request.image_size
        self.class_names = ("background", *DIGITS) if request.annotation == "masks" else DIGITS
        self._request = request

    @property
    def train(self) -> DrawnSplit:
        return self._splits[0]

    @property
    def validation(self) -> DrawnSplit:
        return self._splits[1]

    @cached_property
    def digest(self) -> str:
        content = xxhash.xxh3_128(json.dumps([list(self.class_names), self.image_size]).encode())
        for split in self._splits:
            split.add_to(content)
        return content.hexdigest()

    @cached_property
    def _splits(self) -> tuple[DrawnSplit, DrawnSplit]:
        wanted = self._request
        arguments = (wanted.image_size, wanted.seed, wanted.max_train_images, wanted.max_val_images)
        parts: list[tuple[Pixels, Any]]
        if wanted.annotation == "class":
            parts = [(drawn.images, drawn.labels) for drawn in draw_singles(*arguments)]
        elif wanted.annotation == "masks":
            parts = [(drawn.images, drawn.masks) for drawn in draw_scenes(*arguments)]
        else:
            parts = [
                (drawn.images, [Boxes(*pair) for pair in zip(drawn.boxes, drawn.labels, strict=True)])
                for drawn in draw_scenes(*arguments)
            ]
        return DrawnSplit("training", *parts[0]), DrawnSplit("validation", *parts[1])


class SingleDigits(NamedTuple):
    """One digit an image. images: uint8 [N, 3, S, S]. labels: int64 [N], 0..9."""

    images: Pixels
    labels: npt.NDArray[np.int64]


class DigitScenes(NamedTuple):
    """Several digits an image.

    images: uint8 [N, 3, S, S]. boxes: N float32 arrays [M, 4] of x1, y1, x2, y2. labels: N int64 arrays [M], 0..9.
    masks: uint8 [N, S, S], 0 for the canvas, else 1 + the digit whose ink covers the pixel by half at least.
    """

    images: Pixels
    boxes: list[npt.NDArray[np.float32]]
    labels: list[npt.NDArray[np.int64]]
    masks: Pixels


def draw_singles(size: int, seed: int, train_images: int, val_images: int) -> tuple[SingleDigits, SingleDigits]:
    """Training and validation images of one digit each, every handwritten digit at most once."""
    bunch, train, held_out = _handwriting(seed)
    return (
        _singles(bunch, train[:train_images], size, np.random.default_rng([seed, 4, 0])),
        _singles(bunch, held_out[:val_images], size, np.random.default_rng([seed, 4, 1])),
    )


def draw_scenes(size: int, seed: int, train_images: int, val_images: int) -> tuple[DigitScenes, DigitScenes]:
    """Training and validation images of three to six digits each."""
    bunch, train, held_out = _handwriting(seed)
    return (
        _scenes(bunch, train, size, train_images, np.random.default_rng([seed, 1, 0])),
        _scenes(bunch, held_out, size, val_images, np.random.default_rng([seed, 1, 1])),
    )


def _handwriting(seed: int) -> tuple[Any, npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """All digits, the indices of those to train with, and those of the fifth that is held out."""
    from sklearn.datasets import load_digits

    bunch = load_digits()
    order = np.random.default_rng([seed, 0]).permutation(len(bunch.target))
    held_out = len(order) // 5
    return bunch, order[held_out:], order[:held_out]


def _singles(bunch: Any, chosen: npt.NDArray[np.int64], size: int, rng: np.random.Generator) -> SingleDigits:
    images = np.empty((len(chosen), 3, size, size), np.uint8)
    for number, which in enumerate(chosen):
        canvas = _canvas(size, rng)
        ink = _scaled_ink(bunch.images[which], rng.uniform(*SINGLE_HEIGHT) * size)[:, :size]
        height, width = ink.shape
        x, y = int(rng.integers(0, size - width + 1)), int(rng.integers(0, size - height + 1))
        _paint(canvas, ink, x, y, rng.uniform(150, 255, (3, 1, 1)))
        images[number] = _noisy(canvas, rng)
    return SingleDigits(images, bunch.target[chosen].astype(np.int64))


def _scenes(bunch: Any, source: npt.NDArray[np.int64], size: int, count: int, rng: np.random.Generator) -> DigitScenes:
    images = np.empty((count, 3, size, size), np.uint8)
    masks = np.zeros((count, size, size), np.uint8)
    all_boxes: list[npt.NDArray[np.float32]] = []
    all_labels: list[npt.NDArray[np.int64]] = []
    for number in range(count):
        canvas = _canvas(size, rng)
        boxes: list[tuple[int, int, int, int]] = []
        labels: list[int] = []
        for _ in range(rng.integers(DIGITS_PER_SCENE[0], DIGITS_PER_SCENE[1] + 1)):
            which = int(rng.choice(source))
            ink = _scaled_ink(bunch.images[which], rng.uniform(*SCENE_HEIGHT) * size)
            height, width = ink.shape
            corner = _random_corner(size, height, width, boxes, rng)
            colour = rng.uniform(150, 255, (3, 1, 1))
            if corner is None:
                continue
            x, y = corner
            _paint(canvas, ink, x, y, colour)
            masks[number, y : y + height, x : x + width][ink >= 0.5] = 1 + bunch.target[which]
            boxes.append((x, y, x + width, y + height))
            labels.append(int(bunch.target[which]))
        images[number] = _noisy(canvas, rng)
        all_boxes.append(np.array(boxes, np.float32).reshape(-1, 4))
        all_labels.append(np.array(labels, np.int64))
    return DigitScenes(images, all_boxes, all_labels, masks)


def _canvas(size: int, rng: np.random.Generator) -> npt.NDArray[np.float64]:
    """One colour with a slope of light across and down, [3, S, S]."""
    canvas: npt.NDArray[np.float64] = np.full((3, size, size), 0.0, np.float32) + rng.uniform(10, 110, (3, 1, 1))
    canvas += np.linspace(-1, 1, size) * rng.uniform(-30, 30)
    canvas += np.linspace(-1, 1, size)[:, None] * rng.uniform(-30, 30)
    return canvas


def _paint(
    canvas: npt.NDArray[np.float64],
    ink: npt.NDArray[np.float32],
    x: int,
    y: int,
    colour: npt.NDArray[np.float64],
) -> None:
    patch = canvas[:, y : y + ink.shape[0], x : x + ink.shape[1]]
    patch += (colour - patch) * ink


def _noisy(canvas: npt.NDArray[np.float64], rng: np.random.Generator) -> Pixels:
    canvas += rng.normal(0, rng.uniform(0, 12), canvas.shape)
    return canvas.clip(0, 255).astype(np.uint8)


def _scaled_ink(digit: npt.NDArray[np.float64], height: float) -> npt.NDArray[np.float32]:
    """Opacity 0..1 of a digit cropped to its ink and scaled to the height in pixels."""
    rows, columns = np.nonzero(digit.max(1) > 4)[0], np.nonzero(digit.max(0) > 4)[0]
    ink = digit[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].astype(np.float32) / 16
    shape = max(2, round(height * ink.shape[1] / ink.shape[0])), max(2, round(height))
    return np.asarray(Image.fromarray(ink).resize(shape, Image.Resampling.BILINEAR))


def _random_corner(
    size: int, height: int, width: int, boxes_so_far: list[tuple[int, int, int, int]], rng: np.random.Generator
) -> tuple[int, int] | None:
    """A corner x, y where the box covers at most a tenth of any other; None when 20 draws fail."""
    for _ in range(20):
        x, y = int(rng.integers(0, size - width + 1)), int(rng.integers(0, size - height + 1))
        overlaps = (
            max(0, min(x + width, x2) - max(x, x1)) * max(0, min(y + height, y2) - max(y, y1))
            <= 0.1 * min(width * height, (x2 - x1) * (y2 - y1))
            for x1, y1, x2, y2 in boxes_so_far
        )
        if all(overlaps):
            return x, y
    return None
