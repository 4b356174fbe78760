"""Image files as Pillow opens them, within bounds: what they say of themselves, and their pixels."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Literal

import numpy as np
from PIL import Image, UnidentifiedImageError

from evaluators.data.data_set import Pixels
from evaluators.evaluator import DataError

MAX_IMAGE_PIXELS = 64_000_000
MAX_CHANNELS = 1024

Depth = Literal["uint8", "uint16", "float32"]
DEPTHS: tuple[Depth, ...] = ("uint8", "uint16", "float32")

_GREY_MODES = ("1", "L", "LA", "La")
_GREY_16_BIT_MODES = ("I;16", "I;16B", "I;16L", "I;16N", "I")
"""Pillow's modes of 16-bit grey files; releases before 11 open such a PNG as ``I``."""


@dataclass(frozen=True, slots=True)
class ImageHeader:
    """What an image file says of itself. ``channels`` are without transparency, a palette's are 3."""

    width: int
    height: int
    channels: int
    depth: Depth


def header_of(image: Image.Image) -> ImageHeader:
    """What an image of Pillow's says of itself."""
    width, height = image.size
    if image.mode in _GREY_16_BIT_MODES:
        return ImageHeader(width, height, 1, "uint16")
    if image.mode == "F":
        return ImageHeader(width, height, 1, "float32")
    return ImageHeader(width, height, 1 if image.mode in _GREY_MODES else 3, "uint8")


def pixels_of(image: Image.Image) -> Pixels:
    """An image of Pillow's as [H, W, C] at its full size, without transparency."""
    header = header_of(image)
    if header.depth == "uint8":
        image = image.convert("L" if header.channels == 1 else "RGB")
    array = np.asarray(image)
    if array.dtype == np.int32:
        array = array.clip(0, 65535)
    # Its own shape, not the head's: releases of Pillow differ in whether that of a TIFF is turned before it is read
    return array.astype(header.depth).reshape(*array.shape[:2], header.channels)


@contextmanager
def opened_image(path: str | Path, formats: tuple[str, ...], file: BinaryIO | None = None) -> Iterator[Image.Image]:
    """The file as an image of Pillow's, of which only the head is read; what goes wrong is a ``DataError``.

    ``file``: the same, opened already.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path if file is None else file, formats=formats) as image:
                check_pixel_count(*image.size, source=str(path))
                yield image
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
        raise DataError(f"{path}: too many pixels ({error}); scale it down") from None
    except (OSError, SyntaxError, ValueError) as error:
        if isinstance(error, DataError):
            raise
        reason = "no image in " + ", ".join(formats) if isinstance(error, UnidentifiedImageError) else error
        raise DataError(f"{path}: cannot be read ({reason}); replace it or take it out of the annotations") from None


def check_pixel_count(width: int, height: int, *, source: str) -> None:
    """Raise ``DataError`` for more pixels than any image may have."""
    if width * height > MAX_IMAGE_PIXELS:
        raise DataError(f"{source}: {width} x {height} px is over {MAX_IMAGE_PIXELS} px; scale it down")
