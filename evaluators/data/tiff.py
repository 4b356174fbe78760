"""TIFF files of any number of channels: interleaved, plane by plane, or a page for each; 8 and 16 bits, and floats."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from importlib.util import find_spec
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from evaluators.data.data_set import Pixels
from evaluators.data.orientation import ORIENTATION_TAG, UPRIGHT, known_orientation, turned_pixels, turned_size
from evaluators.data.pillow_images import MAX_CHANNELS, Depth, ImageHeader, check_pixel_count, opened_image, pixels_of
from evaluators.data.pillow_images import header_of as pillow_header
from evaluators.evaluator import DataError

_DEPTHS: dict[str, Depth] = {"bool": "uint8", "uint8": "uint8", "uint16": "uint16"}
"""How sample types are read; all others as float32."""
_DEFLATE = (8, 32946)


def read_tiff_header(path: str | Path) -> ImageHeader:
    """Of the first image in the file, turned as it is read. Raises ``DataError``."""
    with _opened(path) as file:
        if _is_pillows(file):
            page = file.pages[0]
            width, height = turned_size(page.imagewidth, page.imagelength, _orientation(page))
            with opened_image(path, ("TIFF",)) as image:
                return replace(pillow_header(image), width=width, height=height)
        shape, channel_axis, alpha = _layout(file, path)
        height, width = (extent for axis, extent in enumerate(shape) if axis != channel_axis)
        channels = 1 if channel_axis is None else shape[channel_axis] - alpha
        width, height = turned_size(width, height, _orientation(file.series[0].keyframe))
        return ImageHeader(width, height, channels, _DEPTHS.get(str(file.series[0].dtype), "float32"))


def read_tiff(path: str | Path) -> Pixels:
    """The first image in the file as [H, W, C] at its full size, turned, without transparency. Raises ``DataError``."""
    with _opened(path) as file:
        if _is_pillows(file):
            with open(path, "rb") as opened, opened_image(path, ("TIFF",), opened) as image:
                # Pillow turns a TIFF itself, but maps one that it knows the path of as if it lay turned in the file
                return pixels_of(image)
        shape, channel_axis, alpha = _layout(file, path)
        _check_inflation(file, path)
        pixels = file.series[0].asarray().reshape(shape)
        orientation = _orientation(file.series[0].keyframe)
    if pixels.dtype == bool:
        pixels = pixels * np.uint8(255)
    pixels = pixels[..., None] if channel_axis is None else np.moveaxis(pixels, channel_axis, -1)
    pixels = pixels[..., : pixels.shape[-1] - alpha]
    if orientation != UPRIGHT:
        pixels = turned_pixels(pixels, orientation)
    read: Pixels = pixels.astype(_DEPTHS.get(str(pixels.dtype), "float32"), copy=False)
    return read


def _orientation(page: Any) -> int:
    tag = page.tags.get(ORIENTATION_TAG)
    return UPRIGHT if tag is None else known_orientation(tag.value)


def _is_pillows(file: Any) -> bool:
    """Whether Pillow has to read it: a palette, black for white, printing colours, or packed in an uncommon way."""
    page = file.pages[0]
    plain = page.photometric in (1, 2)  # grey from black, or RGB
    unpacked = page.compression == 1 or page.compression in _DEFLATE or find_spec("imagecodecs") is not None
    return not (plain and unpacked)


def _layout(file: Any, path: str | Path) -> tuple[tuple[int, ...], int | None, int]:
    """Shape without axes of one, which of them has the channels, and how many of these are transparency."""
    series, page = file.series[0], file.pages[0]
    axes = [
        (name, extent) for name, extent in zip(series.axes, series.shape, strict=True) if extent != 1 or name in "YX"
    ]
    shape = tuple(extent for _, extent in axes)
    names = "".join(name for name, _ in axes)
    if len(axes) not in (2, 3):
        raise DataError(f"{path}: an array of {' x '.join(map(str, series.shape))}, which is no image with channels")
    channel_axis = None
    if len(axes) == 3:
        named = [names.find(name) for name in "SC" if name in names]
        # Of pages that say no more, an array was written as it was: its shortest axis has the channels
        channel_axis = named[0] if named else int(np.argmin(shape))
    height, width = (extent for axis, extent in enumerate(shape) if axis != channel_axis)
    check_pixel_count(width, height, source=str(path))
    channels = 1 if channel_axis is None else shape[channel_axis]
    if not 1 <= channels <= MAX_CHANNELS or width * height == 0:
        raise DataError(f"{path}: {channels} channels of {width} x {height} px; there may be 1 to {MAX_CHANNELS}")
    check_pixel_count(width, height * -(-channels // 4), source=f"{path}: {channels} channels")
    alpha = sum(int(sample) in (1, 2) for sample in page.extrasamples) if channels > 1 and "S" in names else 0
    return shape, channel_axis, min(alpha, channels - 1)


def _check_inflation(file: Any, path: str | Path) -> None:
    """Raise ``DataError`` for a packed part that unpacks to more than its pixels, before anything unpacks it whole."""
    for page in file.series[0].pages:
        if page is None or page.compression not in _DEFLATE:
            continue
        limit = prod(page.chunks) * page.dtype.itemsize
        for offset, length in zip(page.dataoffsets, page.databytecounts, strict=True):
            file.filehandle.seek(offset)
            unpacker = zlib.decompressobj()
            unpacker.decompress(file.filehandle.read(length), limit + 1)
            if unpacker.unconsumed_tail:
                raise DataError(f"{path}: a part of it unpacks to more bytes than its pixels have; replace it")


@contextmanager
def _opened(path: str | Path) -> Iterator[Any]:
    """The file, with whatever a broken one sets off as a ``DataError``."""
    import logging

    import tifffile

    logging.getLogger("tifffile").setLevel(logging.CRITICAL)  # it reports on broken files and reads on; here they end
    try:
        with tifffile.TiffFile(path) as file:
            yield file
    except DataError:
        raise
    except Exception as error:  # of a hostile file, anything
        raise DataError(
            f"{path}: cannot be read as TIFF ({type(error).__name__}: {error}); replace it or take it out"
        ) from error
