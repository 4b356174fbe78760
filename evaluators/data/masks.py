"""Masks, a class for every pixel: from PNG files, from polygons, from runs of pixels, each made one square size.

A pixel of the small mask has the class that lies at its middle.
"""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from evaluators.data.images import IGNORE_INDEX
from evaluators.data.listing import MaskArray, MaskFile, Regions, Runs
from evaluators.data.polygons import in_pixels
from evaluators.evaluator import DataError

Mask = npt.NDArray[np.uint8]


def draw_mask(
    annotation: MaskFile | MaskArray | Regions, size: int, expected: tuple[int, int], classes: int, source: str
) -> Mask:
    """The mask [S, S] of an image of that width and height. Raises ``DataError``."""
    if isinstance(annotation, MaskFile):
        return read_mask(annotation.path, size, expected, classes)
    if isinstance(annotation, MaskArray):
        return _fit_mask(annotation.read(), size, expected, classes, source)
    mask = np.zeros((size, size), np.uint8)
    for shape, label in zip(annotation.shapes, annotation.labels, strict=True):
        if isinstance(shape, Runs):
            mask[_run_pixels(shape, size, expected, source)] = label
            continue
        for polygon in shape:
            if annotation.in_fractions:
                polygon = in_pixels(polygon, expected, annotation.rounding_error)
            mask[polygon_pixels(polygon / expected * size, size)] = label
    return mask


def read_mask(path: str | Path, size: int, expected: tuple[int, int], classes: int) -> Mask:
    """The mask as [S, S], checked against its image's width and height and the number of classes."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path, formats=("PNG",)) as image:
                check_mask_size(image.size, expected, str(path))
                if image.mode not in ("P", "L", "1"):
                    raise DataError(
                        f"{path}: its pixels are {image.mode}; a mask's are class numbers, in a palette or in grey"
                    )
                values = np.asarray(image)
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
        raise DataError(f"{path}: too many pixels ({error}); scale it down") from None
    except (OSError, SyntaxError, ValueError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"{path}: cannot be read as a PNG ({error}); replace it or take it out") from None
    return _fit_mask(values, size, expected, classes, str(path))


def _fit_mask(values: npt.NDArray[np.integer], size: int, expected: tuple[int, int], classes: int, source: str) -> Mask:
    check_mask_size((values.shape[1], values.shape[0]), expected, source)
    invalid_values = values[((values >= classes) | (values < 0)) & (values != IGNORE_INDEX)]
    if invalid_values.size:
        raise DataError(
            f"{source}: pixel value {invalid_values[0]} is no class; there are 0..{classes - 1}, and"
            f" {IGNORE_INDEX} for none; name more classes, background first"
        )
    return np.asarray(Image.fromarray(values.astype(np.uint8)).resize((size, size), Image.Resampling.NEAREST))


def check_mask_size(actual: tuple[int, int], expected: tuple[int, int], source: str) -> None:
    """Raise ``DataError`` unless a mask has its image's width and height."""
    if actual != expected:
        actual_size, expected_size = ("{} x {}".format(*pair) for pair in (actual, expected))
        hint = ""
        if actual == expected[::-1]:
            hint = " (turned as EXIF says, if that is in it; then turn the mask too, or take it out of the image)"
        raise DataError(
            f"{source}: {actual_size} px, its image {expected_size}{hint}; each pixel of the image needs its own"
        )


def polygon_pixels(polygon: npt.NDArray[np.float64], size: int) -> npt.NDArray[np.bool_]:
    """Which pixels [S, S] have their middle inside a polygon [M, 2] of x, y, by the even-odd rule."""
    starts, ends = polygon, np.roll(polygon, -1, axis=0)
    upper, lower = np.minimum(starts[:, 1], ends[:, 1]), np.maximum(starts[:, 1], ends[:, 1])
    # Middles y + 0.5 of rows in [upper, lower): so that of two edges that meet in one, one has it
    first = np.clip(np.ceil(upper - 0.5), 0, size).astype(np.int64)
    last = np.clip(np.ceil(lower - 0.5), 0, size).astype(np.int64)
    counts = last - first
    edges = np.repeat(np.arange(len(polygon)), counts)
    rows = np.arange(counts.sum()) - np.repeat(counts.cumsum() - counts, counts) + first[edges]
    (x0, y0), (x1, y1) = starts[edges].T, ends[edges].T
    crossings = x0 + (rows + 0.5 - y0) / (y1 - y0) * (x1 - x0)
    columns = np.clip(np.ceil(crossings - 0.5), 0, size).astype(np.int64)
    flips = np.zeros((size, size + 1), np.uint8)
    np.add.at(flips, (rows, columns), 1)
    inside: npt.NDArray[np.bool_] = (np.cumsum(flips & 1, axis=1)[:, :size] & 1).astype(bool)
    return inside


def _run_pixels(runs: Runs, size: int, expected: tuple[int, int], source: str) -> npt.NDArray[np.bool_]:
    """Which pixels [S, S] lie in runs, column by column, of what is not and what is inside in turns."""
    check_mask_size((runs.width, runs.height), expected, f"{source}: a mask of runs")
    inside = np.repeat(np.arange(len(runs.counts)) % 2 == 1, runs.counts)
    full = inside.reshape(runs.width, runs.height).T
    rows, columns = (((np.arange(size) + 0.5) * extent / size).astype(np.int64) for extent in full.shape)
    pixels: npt.NDArray[np.bool_] = full[rows][:, columns]
    return pixels


def has_class(mask: Mask) -> bool:
    """Whether any pixel has one."""
    return bool((mask != IGNORE_INDEX).any())
