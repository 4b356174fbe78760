"""Which way up an image is: the orientation that cameras write into EXIF, and tools that draw on images follow."""

from __future__ import annotations

import io
import struct
import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from evaluators.evaluator import DataError

UPRIGHT = 1
ORIENTATION_TAG = 274
"""Of EXIF, and of TIFF."""

# By the number that EXIF writes; what turns the pixels of the file into the picture
_TURNS: dict[int, Image.Transpose] = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_EXCHANGE_SIDES = (5, 6, 7, 8)
_BROKEN = (
    ArithmeticError,
    AttributeError,
    LookupError,
    MemoryError,
    OSError,
    SyntaxError,
    TypeError,
    ValueError,
    struct.error,
    Image.DecompressionBombError,
)
"""What Pillow raises of heads that are broken, or were made to be."""


@dataclass(frozen=True, slots=True)
class DrawnOn:
    """What annotations say of their image: its width and height, and how far right and down they reach, in pixels."""

    width: int
    height: int
    right: float = float("inf")
    bottom: float = float("inf")


def orientation_of(image: Image.Image) -> int:
    """The EXIF orientation that the head of an image of Pillow's states; ``UPRIGHT`` where none or none that is one."""
    if "exif" not in image.info:
        return UPRIGHT
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            # Not a PNG's own method, which decodes the pixels to look for more behind them
            orientation = Image.Image.getexif(image).get(ORIENTATION_TAG)
    except _BROKEN:  # its pixels may be sound
        return UPRIGHT
    return known_orientation(orientation)


def known_orientation(orientation: Any) -> int:
    """The number, if it is of an orientation, else ``UPRIGHT``."""
    return int(orientation) if isinstance(orientation, int) and orientation in _TURNS else UPRIGHT


def orientation_in(content: bytes, formats: tuple[str, ...]) -> int:
    """The orientation that the bytes of an image file state; ``UPRIGHT`` where they are no image either."""
    if b"Exif" not in content and b"eXIf" not in content and b"EXIF" not in content:
        return UPRIGHT
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(content), formats=formats) as image:
                return orientation_of(image)
    except _BROKEN:  # reading it says what is wrong
        return UPRIGHT


def turned_size(width: int, height: int, orientation: int) -> tuple[int, int]:
    """Width and height of the picture whose pixels are so many in the file."""
    return (height, width) if orientation in _EXCHANGE_SIDES else (width, height)


def turned_image(image: Image.Image, orientation: int) -> Image.Image:
    """The picture, from an image of Pillow's as it is in the file."""
    return image if orientation == UPRIGHT else image.transpose(_TURNS[orientation])


def turned_pixels(pixels: npt.NDArray[Any], orientation: int) -> npt.NDArray[Any]:
    """The picture [H, W, C], from pixels [H, W, C] as they are in the file."""
    if orientation in _EXCHANGE_SIDES:
        pixels = pixels.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return np.ascontiguousarray(pixels)


def applied_orientation(size: tuple[int, int], orientation: int, drawn_on: DrawnOn | None, source: str) -> int:
    """The orientation in which annotations were drawn on an image of that width and height in its file.

    That of the file, unless the annotations state the size of the image as it lies there. Sides that are stated the
    wrong way round do no harm to boxes that lie inside the image. Any other size is a ``DataError``: what is drawn on
    another image is elsewhere on this one.
    """
    turned = turned_size(*size, orientation)
    if drawn_on is None or turned == (drawn_on.width, drawn_on.height):
        return orientation
    if size == (drawn_on.width, drawn_on.height):
        return UPRIGHT
    exchanged = turned == (drawn_on.height, drawn_on.width)
    if exchanged and drawn_on.right <= turned[0] and drawn_on.bottom <= turned[1]:
        return orientation
    raise DataError(
        f"{source}: {turned[0]} x {turned[1]} px, but its annotation was drawn on {drawn_on.width} x {drawn_on.height}"
        " px; use the image that it was drawn on, or correct the size in the annotation"
    )
