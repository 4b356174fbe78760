"""Data sets in memory or made up on demand, for tests of what trains on them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from evaluators.data.data_set import Annotation, Boxes, Indices, Normalisation, Pixels


@dataclass(eq=False)
class MadeUpSplit:
    """So many images, each a function of its index; ``read`` counts how many were asked for."""

    count: int
    image: Callable[[int], Pixels]
    target: Callable[[int], Any]
    read: int = 0

    def __len__(self) -> int:
        return self.count

    def images(self, indices: Indices) -> Pixels:
        self.read += len(indices)
        return np.stack([self.image(index) for index in indices.tolist()])

    def targets(self, indices: Indices) -> Any:
        targets = [self.target(index) for index in indices.tolist()]
        return targets if isinstance(targets[0], Boxes) else np.stack(targets)

    def sources(self, indices: Indices) -> Sequence[str]:
        return [f"made up, {index}" for index in indices.tolist()]


@dataclass(eq=False)
class MadeUpData:
    """A data set of two such splits."""

    annotation: Annotation
    class_names: tuple[str, ...]
    train: MadeUpSplit
    validation: MadeUpSplit
    image_size: int = 16
    channels: int = 3
    normalisation: Normalisation = field(default_factory=lambda: Normalisation((127.5,) * 3, (127.5,) * 3))
    name: str = "made up"
    digest: str = "made up"


def in_memory(images: Pixels, targets: Any, annotation: Annotation = "class", **facts: Any) -> MadeUpData:
    """These images with their targets, an array or a list, in both splits."""
    train, validation = (MadeUpSplit(len(images), images.__getitem__, targets.__getitem__) for _ in range(2))
    _, channels, size, _ = images.shape
    facts = {"class_names": tuple("abcdefghij"), "channels": channels, "image_size": size, **facts}
    if channels != 3 and "normalisation" not in facts:
        facts["normalisation"] = Normalisation((127.5,) * channels, (127.5,) * channels)
    return MadeUpData(annotation, train=train, validation=validation, **facts)


def noise_data(
    annotation: Annotation, images: int, *, size: int = 16, classes: int = 3, channels: int = 3, validation: int = 8
) -> MadeUpData:
    """Noise that is drawn when it is asked for, with targets of this kind: so many images take no memory."""

    def image(index: int) -> Pixels:
        return np.random.default_rng(index).integers(0, 256, (channels, size, size), dtype=np.uint8)

    def target(index: int) -> Any:
        rng = np.random.default_rng([index, 1])
        if annotation == "class":
            return np.int64(rng.integers(classes))
        if annotation == "masks":
            return rng.integers(0, classes, (size, size), dtype=np.uint8)
        count = int(rng.integers(1, 4))
        corners = rng.uniform(0, size / 2, (count, 2))
        corners = np.concatenate([corners, corners + rng.uniform(2, size / 2, (count, 2))], axis=1)
        return Boxes(corners.astype(np.float32), rng.integers(0, classes, count))

    middle = Normalisation((127.5,) * channels, (127.5,) * channels)
    return MadeUpData(
        annotation,
        tuple(f"class {number}" for number in range(classes)),
        MadeUpSplit(images, image, target),
        MadeUpSplit(validation, lambda index: image(-index % 2**32), lambda index: target(-index % 2**32)),
        size,
        channels,
        middle,
    )
