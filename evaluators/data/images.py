"""Reads image and mask files within bounds on format, size and number of pixels, for hostile files too."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError

from evaluators.evaluator import DataError

IMAGE_FORMATS = ("JPEG", "PNG", "BMP", "WEBP")
MAX_IMAGE_PIXELS = 64_000_000
IMAGE_SIZES = range(16, 1025)
"""Image sizes in pixels that are accepted."""
IGNORE_INDEX = 255
"""Pixels of a mask that are neither trained nor measured."""


def read_image(path: Path, size: int) -> tuple[npt.NDArray[np.uint8], int, int]:
    """The image as [3, S, S], and its width and height before the resize."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path, formats=IMAGE_FORMATS) as image:
                width, height = image.size
                if width * height > MAX_IMAGE_PIXELS:
                    raise DataError(f"{path}: {width} x {height} px is over {MAX_IMAGE_PIXELS} px; scale it down")
                image.draft("RGB", (size, size))
                pixels = np.asarray(image.convert("RGB").resize((size, size), Image.Resampling.BILINEAR))
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
        raise DataError(f"{path}: too many pixels ({error}); scale it down") from None
    except (OSError, SyntaxError, ValueError) as error:
        if isinstance(error, DataError):
            raise
        reason = "no image in " + ", ".join(IMAGE_FORMATS) if isinstance(error, UnidentifiedImageError) else error
        raise DataError(f"{path}: cannot be read ({reason}); replace it or take it out of the annotations") from None
    return pixels.transpose(2, 0, 1), width, height


def read_mask(path: Path, size: int, expected: tuple[int, int], classes: int) -> npt.NDArray[np.uint8]:
    """The mask as [S, S], checked against its image's width and height and the number of classes."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path, formats=("PNG",)) as image:
                if image.size != expected:
                    actual_size, expected_size = ("{} x {}".format(*pair) for pair in (image.size, expected))
                    raise DataError(
                        f"{path}: {actual_size} px, its image {expected_size}; each pixel of the image needs its own"
                    )
                if image.mode not in ("P", "L"):
                    raise DataError(
                        f"{path}: its pixels are {image.mode}; a mask's are class numbers, in a palette or in grey"
                    )
                values = np.asarray(image)
                small = np.asarray(image.resize((size, size), Image.Resampling.NEAREST))
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
        raise DataError(f"{path}: too many pixels ({error}); scale it down") from None
    except (OSError, SyntaxError, ValueError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"{path}: cannot be read as a PNG ({error}); replace it or take it out") from None
    invalid_values = values[(values >= classes) & (values != IGNORE_INDEX)]
    if invalid_values.size:
        raise DataError(
            f"{path}: pixel value {invalid_values[0]} is no class; there are 0..{classes - 1}, and"
            f" {IGNORE_INDEX} for none; name more in class_names.txt, background first"
        )
    return small
