"""Arrays and tensors as images: which axis has the channels, and which depths there are."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from evaluators.data.data_set import Pixels
from evaluators.data.pillow_images import MAX_CHANNELS, Depth, ImageHeader, check_pixel_count
from evaluators.evaluator import DataError

_DEPTHS: dict[str, Depth] = {"bool": "uint8", "uint8": "uint8", "uint16": "uint16"}
"""How elements are taken; all others as float32."""


def image_array(values: Any, source: str) -> Pixels:
    """An array [H, W], [H, W, C] or [C, H, W] as [H, W, C]; the shorter of first and last axis has the channels.

    ``source`` is named in the ``DataError``.
    """
    array: npt.NDArray[Any] = np.asarray(values)
    header = header_of_array(array, source)
    if array.ndim == 2:
        array = array[..., None]
    elif _channels_first(array):
        array = np.moveaxis(array, 0, -1)
    if array.dtype == bool:
        array = array * np.uint8(255)
    return np.ascontiguousarray(array, dtype=header.depth)


def header_of_array(array: npt.NDArray[Any], source: str) -> ImageHeader:
    """Size and form of such an array. Raises ``DataError``."""
    if array.ndim not in (2, 3) or array.dtype.kind not in "buif" or not array.size:
        raise DataError(
            f"{source}: {array.dtype} {array.shape} is no image; give numbers [H, W], [H, W, C] or [C, H, W]"
        )
    if array.ndim == 2:
        (height, width), channels = array.shape, 1
    elif _channels_first(array):
        channels, height, width = array.shape
    else:
        height, width, channels = array.shape
    check_pixel_count(width, height, source=source)
    if channels > MAX_CHANNELS:
        raise DataError(f"{source}: an array {array.shape} has {channels} channels; there may be {MAX_CHANNELS}")
    return ImageHeader(width, height, channels, _DEPTHS.get(str(array.dtype), "float32"))


def _channels_first(array: npt.NDArray[Any]) -> bool:
    return int(array.shape[0]) < int(array.shape[-1])
