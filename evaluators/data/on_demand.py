"""A listed data set as trainers see it: images read when they are wanted, kept as far as they fit, and hashed."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import xxhash

from evaluators.data.data_set import Annotation, Boxes, Indices, Normalisation, Pixels
from evaluators.data.images import PixelForm
from evaluators.data.listing import ImageFile, MaskFile, ObjectBoxes, Sample, file_content
from evaluators.data.masks import draw_mask
from evaluators.data.polygons import DECIMALS, in_pixels

MAX_KEPT_BYTES = 256 * 2**20
"""Of read images and masks that a split keeps; those beyond are read each time."""
NORMALISATION_SAMPLES = 256
MAX_HASHED_OBJECTS = 4096
"""Images of Python objects whose pixels are part of the digest; of more, so many at even distances."""
_HASHING_THREADS = 8
_HASHED_AT_ONCE = 256


class OnDemandSplit:
    """Samples that are read when they are wanted. The first that fit in ``MAX_KEPT_BYTES`` are kept once read.

    To keep these, not the last used, is as good as any: training draws from all images in random order.
    """

    def __init__(
        self, samples: Sequence[Sample], annotation: Annotation, image_size: int, form: PixelForm, classes: int
    ) -> None:
        self.samples = samples
        self._annotation, self._size, self._form, self._classes = annotation, image_size, form, classes
        image_bytes = form.channels * image_size**2 * np.dtype(form.depth).itemsize
        mask_bytes = image_size**2 if annotation == "masks" else 0
        kept = min(len(samples), MAX_KEPT_BYTES // (image_bytes + mask_bytes))
        # The system gives memory to what is written, so that nothing is spent on images that nobody asks for
        self._kept = np.empty((kept, form.channels, image_size, image_size), form.depth)
        self._kept_masks = np.empty((kept if mask_bytes else 0, image_size, image_size), np.uint8)
        self._is_kept = np.zeros(kept, np.bool_)
        self._mask_is_kept = np.zeros(len(self._kept_masks), np.bool_)
        self._extents = np.zeros((len(samples), 2), np.int32)
        """Width and height of each image as it is in its file; 0 until they are known."""
        self._labels = (
            np.array([sample.annotation for sample in samples], np.int64) if annotation == "class" else np.empty(0)
        )

    def __len__(self) -> int:
        return len(self.samples)

    def images(self, indices: Indices) -> Pixels:
        indices = np.asarray(indices)
        if (indices < len(self._kept)).all():
            for index in indices[~self._is_kept[indices]]:
                self._keep(index)
            return self._kept[indices]
        pixels = np.empty((len(indices), *self._kept.shape[1:]), self._kept.dtype)
        for position, index in enumerate(indices):
            if index >= len(self._kept):
                pixels[position] = self._read(index)
                continue
            if not self._is_kept[index]:
                self._keep(index)
            pixels[position] = self._kept[index]
        return pixels

    def targets(self, indices: Indices) -> Any:
        if self._annotation == "class":
            return self._labels[indices]
        if self._annotation == "boxes":
            return self.boxes(indices)
        if not len(indices):
            return np.empty((0, self._size, self._size), np.uint8)
        return np.stack([self._mask(index) for index in indices])

    def sources(self, indices: Indices) -> Sequence[str]:
        return [self.samples[index].image.name for index in indices]

    def boxes(self, indices: Sequence[int] | Indices) -> list[Boxes]:
        """Of each image those with an area, in pixels of the resized image, cut at its edges."""
        listed = [self._listed_boxes(index) for index in indices]
        counts = [len(boxes.labels) for boxes in listed]
        corners = np.concatenate([np.empty((0, 4)), *(boxes.corners for boxes in listed)])
        labels = np.concatenate([np.empty(0, np.int64), *(boxes.labels for boxes in listed)])
        extents = np.repeat(np.array([self._extents_of(index) for index in indices]).reshape(-1, 2), counts, axis=0)
        errors = np.repeat([boxes.rounding_error for boxes in listed], counts)[:, None]
        in_fractions = np.repeat([boxes.in_fractions for boxes in listed], counts)[:, None]
        extents = np.tile(extents, 2)
        corners = np.where(in_fractions, in_pixels(corners, extents, errors), corners).round(DECIMALS) + 0.0  # no -0
        usable = (corners[:, 0] < corners[:, 2]) & (corners[:, 1] < corners[:, 3])
        scaled = (corners / extents).clip(0, 1) * self._size
        usable &= (scaled[:, 0] < scaled[:, 2]) & (scaled[:, 1] < scaled[:, 3])
        small = scaled.astype(np.float32)
        ends = np.cumsum([0, *counts])
        of_images = [slice(first, last) for first, last in pairwise(ends)]
        return [Boxes(small[part][usable[part]], labels[part][usable[part]]) for part in of_images]

    def _listed_boxes(self, index: int) -> ObjectBoxes:
        listed = self.samples[index].annotation
        assert isinstance(listed, ObjectBoxes)
        return listed

    def pixels_sample(self) -> Iterator[Pixels]:
        """Some of the images, at even distances."""
        for index in _even_distances(len(self), NORMALISATION_SAMPLES):
            yield self.images(np.array([index]))[0]

    def add_to(self, content: xxhash.xxh3_128) -> None:
        """Of each sample what is in its file, and its annotation as training sees it."""
        indices = range(len(self))
        content.update(b"%d:" % len(self))
        if all(isinstance(sample.image, ImageFile) for sample in self.samples):
            chunks = [indices[first : first + _HASHED_AT_ONCE] for first in range(0, len(self), _HASHED_AT_ONCE)]
            with ThreadPoolExecutor(_HASHING_THREADS) as threads:
                for digests in threads.map(self._digests, chunks):
                    content.update(digests)
        else:  # somebody's object need not stand several threads
            content.update(self._digests(_even_distances(len(self), MAX_HASHED_OBJECTS)))
        if self._annotation == "class":
            content.update(self._labels.astype("<i8").tobytes())
        elif self._annotation == "boxes":
            boxes = self.boxes(indices)
            content.update(np.array([len(each.labels) for each in boxes], "<i8").tobytes())
            content.update(b"".join(each.corners.astype("<f4", copy=False).tobytes() for each in boxes))
            content.update(b"".join(each.labels.astype("<i8", copy=False).tobytes() for each in boxes))

    def _digests(self, indices: Sequence[int]) -> bytes:
        return b"".join(self._digest(index) for index in indices)

    def _digest(self, index: int) -> bytes:
        """Of an image, and of a mask, which may be a file too."""
        sample = self.samples[index]
        content = xxhash.xxh3_128(_hashable(sample.image.content()))
        if self._annotation == "boxes":
            self._extents_of(index)  # which its boxes need, read here by several threads
        elif isinstance(sample.annotation, MaskFile):
            content.update(file_content(sample.annotation.path))
        elif self._annotation == "masks":
            content.update(self._mask(index).tobytes())
        return content.digest()

    def _read(self, index: int) -> Pixels:
        pixels, width, height = self.samples[index].image.read(self._size, self._form)
        self._extents[index] = width, height
        return pixels

    def _keep(self, index: int) -> None:
        if not self._is_kept[index]:
            self._kept[index] = self._read(index)
            self._is_kept[index] = True

    def _mask(self, index: int) -> npt.NDArray[np.uint8]:
        if index < len(self._kept_masks) and self._mask_is_kept[index]:
            kept: npt.NDArray[np.uint8] = self._kept_masks[index]
            return kept
        sample = self.samples[index]
        assert not isinstance(sample.annotation, int | ObjectBoxes)
        mask = draw_mask(sample.annotation, self._size, self._extents_of(index), self._classes, sample.image.name)
        if index < len(self._kept_masks):
            self._kept_masks[index] = mask
            self._mask_is_kept[index] = True
        return mask

    def _extents_of(self, index: int) -> tuple[int, int]:
        if not self._extents[index].all():
            header = self.samples[index].image.header()
            self._extents[index] = header.width, header.height
        width, height = self._extents[index].tolist()
        return width, height


class OnDemandData:
    """A data set whose samples a format has listed."""

    def __init__(
        self,
        name: str,
        annotation: Annotation,
        class_names: tuple[str, ...],
        image_size: int,
        form: PixelForm,
        splits: Sequence[Sequence[Sample]],
    ) -> None:
        self.name = name
        self.annotation: Annotation = annotation
        self.class_names = class_names
        self.image_size = image_size
        self._form = form
        self.train, self.validation = (
            OnDemandSplit(samples, annotation, image_size, form, len(class_names)) for samples in splits
        )

    @property
    def channels(self) -> int:
        return self._form.channels

    @cached_property
    def normalisation(self) -> Normalisation:
        """8-bit pixels become -1..1; of other depths, the sample's mean becomes 0 and its deviation 1."""
        if self._form.depth == "uint8":
            return Normalisation((127.5,) * self.channels, (127.5,) * self.channels)
        sums = np.zeros((2, self.channels))
        count = 0
        for pixels in self.train.pixels_sample():
            exact = pixels.astype(np.float64)
            sums += exact.sum((1, 2)), (exact**2).sum((1, 2))
            count += self.image_size**2
        mean, square = sums / count
        std = np.sqrt(np.maximum(square - mean**2, 0))
        # Six digits: enough, and the same whatever order a processor sums in
        return Normalisation(
            tuple(float(f"{value:.6g}") for value in mean),
            tuple(float(f"{value:.6g}") if value > 0 else 1.0 for value in std),
        )

    @cached_property
    def digest(self) -> str:
        """Of classes, size and form, and of every sample in its place.

        Images count by the bytes of their files, boxes as training sees them, masks by their files or pixels.
        """
        form = [self.channels, self._form.depth, self.normalisation.mean, self.normalisation.std]
        content = xxhash.xxh3_128(
            json.dumps(["samples/1", self.annotation, list(self.class_names), self.image_size, *form]).encode()
        )
        for split in (self.train, self.validation):
            split.add_to(content)
        return content.hexdigest()


def _even_distances(count: int, wanted: int) -> list[int]:
    return list(range(count)) if count <= wanted else [number * count // wanted for number in range(wanted)]


def _hashable(content: Any) -> Any:
    if isinstance(content, bytes):
        return content
    array = np.ascontiguousarray(content)
    return (
        json.dumps([array.shape, str(array.dtype)]).encode()
        + array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes()
    )
