"""Reads image files of any number of channels and depth, within bounds on format, size and pixels, hostile ones too."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from evaluators.data.data_set import Pixels
from evaluators.data.orientation import (
    UPRIGHT,
    DrawnOn,
    applied_orientation,
    orientation_in,
    orientation_of,
    turned_image,
    turned_pixels,
    turned_size,
)
from evaluators.data.pillow_images import Depth, ImageHeader, header_of, opened_image, pixels_of
from evaluators.evaluator import DataError

IMAGE_FORMATS = ("JPEG", "PNG", "BMP", "WEBP", "GIF")
"""Those that Pillow reads; TIFF, by its suffix, is read in ``tiff.py``."""
TIFF_SUFFIXES = (".tif", ".tiff")
IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".gif")
"""In small letters; files may have them in any."""
IMAGE_SIZES = range(16, 1025)
"""Image sizes in pixels that are accepted."""
IGNORE_INDEX = 255
"""Pixels of a mask that are neither trained nor measured."""


_LUMINANCE = (0.299, 0.587, 0.114)  # ITU-R 601-2, as Pillow's conversion to grey


@dataclass(frozen=True)
class PixelForm:
    """What all images of a data set are made to be."""

    channels: int
    depth: Depth


RGB = PixelForm(3, "uint8")


def is_image_name(name: str) -> bool:
    """Whether a file of that name is taken for an image."""
    return not name.startswith(".") and os.path.splitext(name)[1].lower() in IMAGE_SUFFIXES


def read_header(path: str | Path, drawn_on: DrawnOn | None = None) -> ImageHeader:
    """Without decoding a pixel; turned as ``read_image`` turns it. Raises ``DataError``."""
    if _is_tiff(path):
        from evaluators.data.tiff import read_tiff_header

        header = read_tiff_header(path)
        applied_orientation((header.width, header.height), UPRIGHT, drawn_on, str(path))
        return header
    with opened_image(path, IMAGE_FORMATS) as image:
        orientation = applied_orientation(image.size, orientation_of(image), drawn_on, str(path))
        width, height = turned_size(*image.size, orientation)
        return replace(header_of(image), width=width, height=height)


def read_image(
    path: str | Path, size: int, form: PixelForm = RGB, drawn_on: DrawnOn | None = None
) -> tuple[Pixels, int, int]:
    """The image squashed to [C, S, S], and its width and height before that; turned as its EXIF orientation says.

    It is left as it is in the file only where its annotations were ``drawn_on`` that. Raises ``DataError``.
    """
    if _is_tiff(path):
        from evaluators.data.tiff import read_tiff

        pixels = read_tiff(path)
        height, width = pixels.shape[:2]
        applied_orientation((width, height), UPRIGHT, drawn_on, str(path))
        return fit_pixels(pixels, size, form, str(path)), width, height
    with opened_image(path, IMAGE_FORMATS) as image:
        orientation = applied_orientation(image.size, orientation_of(image), drawn_on, str(path))
        width, height = turned_size(*image.size, orientation)
        return fit_image(image, size, form, str(path), orientation), width, height


def content_with_orientation(path: str | Path, content: bytes, drawn_on: DrawnOn | None = None) -> bytes:
    """The bytes of a file on which its picture depends: with a mark behind them where it is turned to be read.

    So that figures of a release that read the same file another way are not taken for this one's. Raises ``DataError``.
    """
    if _is_tiff(path):
        return content
    orientation = orientation_in(content, IMAGE_FORMATS)
    if orientation != UPRIGHT and drawn_on is not None:
        with opened_image(path, IMAGE_FORMATS) as image:
            orientation = applied_orientation(image.size, orientation, drawn_on, str(path))
    return content if orientation == UPRIGHT else content + b"orientation %d" % orientation


def _is_tiff(path: str | Path) -> bool:
    return os.path.splitext(path)[1].lower() in TIFF_SUFFIXES


def fit_image(image: Image.Image, size: int, form: PixelForm, source: str, orientation: int = UPRIGHT) -> Pixels:
    """An image of Pillow's, turned and squashed to [C, S, S]; transparency is dropped. Raises ``DataError``."""
    header = header_of(image)
    if form.depth == header.depth == "uint8" and form.channels in (1, 3):
        mode = "L" if form.channels == 1 else "RGB"
        image.draft(mode, (size, size))
        upright = turned_image(image.convert(mode), orientation)
        pixels = np.asarray(upright.resize((size, size), Image.Resampling.BILINEAR))
        return pixels.reshape(size, size, form.channels).transpose(2, 0, 1)
    return fit_pixels(turned_pixels(pixels_of(image), orientation), size, form, source)


def fit_pixels(pixels: npt.NDArray[Any], size: int, form: PixelForm, source: str) -> Pixels:
    """Pixels [H, W, C] squashed to [C, S, S], in the depth and channels of ``form``.

    Grey is repeated to make colours, and colours weighted to make grey; no other number of channels is made into
    another: ``DataError``, which names ``source``.
    """
    pixels = _in_depth(pixels, form.depth, source)
    channels = pixels.shape[2]
    if channels == 1 and form.channels == 3:
        pixels = np.broadcast_to(pixels, (*pixels.shape[:2], 3))
    elif channels == 3 and form.channels == 1:
        grey = pixels @ np.array(_LUMINANCE)
        pixels = (grey if form.depth == "float32" else grey.round()).astype(form.depth)[..., None]
    elif channels != form.channels:
        raise DataError(
            f"{source}: {channels} channels, other images {form.channels}; give every image as many, or set channels"
        )
    if form.depth == "float32" and not np.isfinite(pixels).all():
        raise DataError(f"{source}: a pixel is not a finite number; replace it, or take the image out")
    planes = [_resized(np.ascontiguousarray(pixels[..., channel]), size) for channel in range(form.channels)]
    return np.stack(planes)


def _in_depth(pixels: npt.NDArray[Any], depth: Depth, source: str) -> Pixels:
    if pixels.dtype == depth:
        return pixels
    if depth == "float32":
        return pixels.astype(np.float32)
    if depth == "uint16" and pixels.dtype == np.uint8:
        return pixels.astype(np.uint16) * np.uint16(257)
    if depth == "uint8" and pixels.dtype == np.uint16:
        return (pixels // 257).astype(np.uint8)
    raise DataError(
        f"{source}: its pixels are {pixels.dtype}, those of other images {depth}; give every image one depth"
    )


def _resized(plane: npt.NDArray[Any], size: int) -> npt.NDArray[Any]:
    """[H, W] as [S, S], bilinear over all the pixels that become one, in the depth that it has."""
    if plane.dtype == np.uint8:
        return np.asarray(Image.fromarray(plane).resize((size, size), Image.Resampling.BILINEAR))
    floats = Image.fromarray(plane.astype(np.float32)).resize((size, size), Image.Resampling.BILINEAR)
    small = np.asarray(floats)
    return small.round().clip(0, 65535).astype(np.uint16) if plane.dtype == np.uint16 else small
