"""The boxes of several images in one array."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from evaluators.data.data_set import Boxes, Split

IMAGES_COUNTED = 2048


def padded_boxes(images: Sequence[Boxes], least: int = 1) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
    """Corners [N, M, 4] and labels [N, M], padded with boxes without area; M is ``least`` at least."""
    count = max(least, *(len(boxes.labels) for boxes in images))
    corners = np.stack([np.pad(boxes.corners, ((0, count - len(boxes.labels)), (0, 0))) for boxes in images])
    labels = np.stack([np.pad(boxes.labels, (0, count - len(boxes.labels))) for boxes in images])
    return corners, labels


def most_boxes(split: Split) -> int:
    """How many boxes an image of the split has at most, and one at least.

    In a split of up to ``IMAGES_COUNTED`` images all batches are padded alike, for how PyTorch rounds depends on the
    size of a tensor; in a larger one that is not worth reading all annotations, and this is 1.
    """
    if len(split) > IMAGES_COUNTED:
        return 1
    return max(1, *(len(boxes.labels) for boxes in split.targets(np.arange(len(split)))))


def mirrored(corners: npt.NDArray[np.float32], image_size: int) -> npt.NDArray[np.float32]:
    """The boxes [..., 4] of the horizontally mirrored image."""
    x1, y1, x2, y2 = np.moveaxis(corners, -1, 0)
    return np.stack([image_size - x2, y1, image_size - x1, y2], -1)
