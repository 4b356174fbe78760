"""What a data set is to a trainer: samples on demand, classes, two splits, a digest, where each sample came from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt

Annotation = Literal["class", "boxes", "masks"]
"""What is known of each image: its class, boxes with a class each, or a class for every pixel."""

Pixels = npt.NDArray[np.uint8] | npt.NDArray[np.uint16] | npt.NDArray[np.float32]
Indices = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Boxes:
    """The boxes of one image: float32 [M, 4] of x1, y1, x2, y2 in pixels of the resized image; int64 [M] classes."""

    corners: npt.NDArray[np.float32]
    labels: npt.NDArray[np.int64]


@dataclass(frozen=True)
class Normalisation:
    """What a network sees of a pixel: ``pixel / std - mean / std``, channel by channel, in units of the file's pixels.

    The only place where it is stated: training, measuring and exported files read it here.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]


class Split(Protocol):
    """One half of a data set. Nothing is decoded before it is asked for."""

    def __len__(self) -> int: ...

    def images(self, indices: Indices) -> Pixels:
        """The images [B, C, S, S]; the array is the caller's own. Raises ``DataError``, which names the file."""
        ...

    def targets(self, indices: Indices) -> Any:
        """By the data set's annotation: classes int64 [B]; a sequence of ``Boxes``; or masks uint8 [B, S, S].

        In masks ``IGNORE_INDEX`` stands where there is no class. Raises ``DataError``.
        """
        ...

    def sources(self, indices: Indices) -> Sequence[str]:
        """Where the samples came from: files, or rows of what is no file."""
        ...


class DataSet(Protocol):
    """Images of one square size with one kind of annotation.

    ``class_names``: of masks, background first. ``digest`` is a hash of all that training on it depends on: the same
    images and annotations in another format have the same digest.
    """

    @property
    def name(self) -> str: ...

    @property
    def annotation(self) -> Annotation: ...

    @property
    def class_names(self) -> tuple[str, ...]: ...

    @property
    def image_size(self) -> int: ...

    @property
    def channels(self) -> int: ...

    @property
    def normalisation(self) -> Normalisation: ...

    @property
    def train(self) -> Split: ...

    @property
    def validation(self) -> Split: ...

    @property
    def digest(self) -> str: ...
