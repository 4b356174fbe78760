"""What all folders of annotated images share: their images, splits, and paths that stay inside them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from evaluators.evaluator import DataError

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".JPG", ".JPEG", ".PNG")


@dataclass(frozen=True)
class LabelledExample:
    """One image, and its class or the file of its mask."""

    image: Path
    target: int | Path


@dataclass(frozen=True)
class ImageFolder:
    """The classes of a folder and the examples of its two splits."""

    class_names: tuple[str, ...]
    train: list[LabelledExample]
    validation: list[LabelledExample]


def resolve_folder(text: str, kind: str) -> Path:
    """The folder of ``kind:FOLDER``, absolute. Raises ``DataError`` where there is none."""
    prefix, colon, folder = text.partition(":")
    if prefix != kind or not colon:
        raise DataError(f"no such data {text!r}; give digits or {kind}:FOLDER")
    root = Path(folder).expanduser()
    if not folder or "\0" in folder or not root.is_dir():
        raise DataError(f"{text!r}: no folder {folder!r}; give {kind}:FOLDER with a folder that exists")
    return root.resolve()


@dataclass(frozen=True, eq=False)
class AnnotatedImage:
    """One annotated image: boxes [M, 4] of x1, y1, x2, y2 in its pixels, each with area, and M class names."""

    image: Path
    boxes: npt.NDArray[np.float64]
    classes: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class AnnotatedFolder:
    """The classes of a folder and the images of its two splits."""

    class_names: tuple[str, ...]
    train: list[AnnotatedImage]
    validation: list[AnnotatedImage]


def random_split(items: Sequence[Any], seed: int) -> tuple[list[Any], list[Any]]:
    """Four fifths and one fifth of the items, each in the order given."""
    held_out = set(np.random.default_rng([seed, 3]).permutation(len(items))[: max(1, len(items) // 5)].tolist())
    first = [item for index, item in enumerate(items) if index not in held_out]
    return first, [item for index, item in enumerate(items) if index in held_out]


def path_inside(folder: Path, name: object, source: str) -> Path:
    """``folder / name``. Raises ``DataError`` when it is outside the folder."""
    if not isinstance(name, str) or not name or "\0" in name:
        raise DataError(f"{source}: {name!r} is no file name; correct it")
    path = (folder / name).resolve()
    if not path.is_relative_to(folder):
        raise DataError(f"{source}: file {name!r} lies outside {folder}; keep every image inside the folder")
    return path


def finite_box(numbers: Sequence[object], source: str) -> tuple[float, float, float, float]:
    """The four finite numbers of a box. Raises ``DataError``, which says that they stand in ``source``."""
    try:
        a, b, c, d = (float(number) for number in numbers)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        raise DataError(f"{source}: box {numbers!r} is not four numbers; correct it") from None
    if not all(map(math.isfinite, (a, b, c, d))):
        raise DataError(f"{source}: box {numbers!r} holds a number that is not finite; correct it")
    return a, b, c, d
