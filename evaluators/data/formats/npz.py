"""NumPy archives of images and classes or masks. Images that are not compressed stay on the disk."""

from __future__ import annotations

import struct
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from evaluators.data.data_set import Pixels
from evaluators.data.folder import existing_file
from evaluators.data.images import IGNORE_INDEX, PixelForm, fit_pixels
from evaluators.data.listing import MAX_MASK_CLASSES, AnnotationAsListed, DataRequest, Listing, MaskArray, Sample
from evaluators.data.pillow_images import ImageHeader
from evaluators.data.pixel_arrays import header_of_array, image_array
from evaluators.evaluator import DataError

MAX_UNPACKED_BYTES = 2_000_000_000
"""Of a compressed array, which has to be held in memory."""
TRAIN_KEYS = (("x_train", "y_train"), ("train_images", "train_labels"), ("images", "labels"), ("x", "y"))
VALIDATION_KEYS = (
    ("x_val", "y_val"),
    ("x_valid", "y_valid"),
    ("x_validation", "y_validation"),
    ("x_test", "y_test"),
    ("val_images", "val_labels"),
    ("test_images", "test_labels"),
)
_LOCAL_HEADER_BYTES = 30


def open_npz(request: DataRequest) -> Listing:
    """The images of ``npz:FILE.npz`` under a pair of ``TRAIN_KEYS`` and, if any, of ``VALIDATION_KEYS``.

    Images are [N, H, W], [N, H, W, C] or [N, C, H, W]; labels are whole numbers [N], or masks [N, H, W]. An array
    ``class_names`` may name the classes, of masks with the background first. Raises ``DataError``.
    """
    path = existing_file(request.location, "npz")
    arrays = _arrays(path)
    train = _pair(arrays, TRAIN_KEYS, path)
    if train is None:
        known = ", ".join(f"{x} and {y}" for x, y in TRAIN_KEYS)
        raise DataError(f"{path}: has {', '.join(arrays) or 'nothing'}; give it {known}")
    pairs = [train]
    if (validation := _pair(arrays, VALIDATION_KEYS, path)) is not None:
        pairs.append(validation)
    masks = request.annotation == "masks"
    classes = 1 + max(_largest_class(images, labels, masks, path) for images, labels in pairs)
    names = _class_names(arrays, classes, path)
    if masks and len(names) > MAX_MASK_CLASSES:
        raise DataError(f"{path}: {len(names)} classes; masks can tell {MAX_MASK_CLASSES} apart")
    splits = [_samples(images, labels, masks, path) for images, labels in pairs]
    return Listing(names, splits[0], splits[1] if len(splits) == 2 else None, (path,))


@dataclass(frozen=True, eq=False)
class StoredArray:
    """An array in a file, of which one item at a time is read: mapped into memory, it would break off with the file."""

    path: Path
    offset: int
    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, index: int) -> npt.NDArray[Any]:
        """Raises ``DataError`` where the file has become shorter."""
        count = prod(self.shape[1:])
        with _reading(self.path):
            start = self.offset + index * count * self.dtype.itemsize
            return np.fromfile(self.path, self.dtype, count, offset=start).reshape(self.shape[1:])


Values = StoredArray | npt.NDArray[Any]


@dataclass(frozen=True, eq=False)
class _Array:
    key: str
    values: Values


@dataclass(frozen=True, slots=True, eq=False)
class ArchivedImage:
    """One image of an array in an archive."""

    array: _Array
    path: Path
    index: int

    @property
    def name(self) -> str:
        return f"{self.path}: {self.array.key}[{self.index}]"

    @property
    def order(self) -> str:
        return f"{self.index:012d}"

    def header(self) -> ImageHeader:
        return header_of_array(self.array.values[self.index], self.name)

    def read(self, size: int, form: PixelForm) -> tuple[Pixels, int, int]:
        pixels = image_array(self.array.values[self.index], self.name)
        return fit_pixels(pixels, size, form, self.name), pixels.shape[1], pixels.shape[0]

    def content(self) -> npt.NDArray[Any]:
        return image_array(self.array.values[self.index], self.name)


def _samples(images: _Array, labels: _Array, masks: bool, path: Path) -> list[Sample]:
    def annotation(index: int) -> AnnotationAsListed:
        return MaskArray(lambda: labels.values[index]) if masks else int(labels.values[index].reshape(()))

    return [Sample(ArchivedImage(images, path, index), annotation(index)) for index in range(len(images.values))]


def _pair(arrays: Mapping[str, Values], keys: tuple[tuple[str, str], ...], path: Path) -> tuple[_Array, _Array] | None:
    for images, labels in keys:
        if images in arrays and labels in arrays:
            return _Array(images, arrays[images]), _Array(labels, arrays[labels])
    return None


def _largest_class(images: _Array, labels: _Array, masks: bool, path: Path) -> int:
    """Of the labels, which are checked against the images."""
    shape, label_shape = images.values.shape, labels.values.shape
    if len(shape) not in (3, 4):
        raise DataError(f"{path}: {images.key} is {shape}; images are [N, H, W], [N, H, W, C] or [N, C, H, W]")
    fits = len(label_shape) == 3 if masks else prod(label_shape[1:]) == 1
    if not label_shape or not fits or label_shape[0] != shape[0]:
        wanted = "masks [N, H, W]" if masks else "one class an image"
        raise DataError(f"{path}: {labels.key} is {label_shape} beside {images.key} {shape}; it has {wanted}")
    if labels.values.dtype.kind not in "iu":
        raise DataError(f"{path}: {labels.key} holds {labels.values.dtype}; classes are whole numbers from 0 on")
    largest = 0
    for index in range(shape[0]):
        values = labels.values[index]
        if values.size and (smallest := int(values.min())) < 0:
            raise DataError(f"{path}: {labels.key} holds {smallest}; classes are numbered from 0 on")
        largest = max(largest, int(values.max(initial=0, where=values != IGNORE_INDEX if masks else True)))
    return largest


def _class_names(arrays: Mapping[str, Values], classes: int, path: Path) -> tuple[str, ...]:
    names = arrays.get("class_names")
    if names is None or isinstance(names, StoredArray):
        return tuple(map(str, range(classes)))
    texts = tuple(map(str, names.ravel().tolist()))
    if len(texts) < classes or len(set(texts)) != len(texts):
        raise DataError(f"{path}: class_names are {len(texts)}, labels go up to {classes - 1}; name every class once")
    return texts


def _arrays(path: Path) -> dict[str, Values]:
    """The arrays of an archive by name, of which large ones stay in it where they lie there as they are."""
    arrays: dict[str, Values] = {}
    with _reading(path), zipfile.ZipFile(path) as archive:
        for member in archive.infolist():
            if not member.filename.endswith(".npy"):
                continue
            with archive.open(member) as file:
                shape, fortran, dtype = _array_header(file)
                offset = file.tell()
                if dtype.hasobject:
                    raise DataError(f"{path}: {member.filename} holds Python objects, which are not read; save numbers")
                size = prod(shape) * dtype.itemsize
                stored = member.compress_type == zipfile.ZIP_STORED
                if size > (path.stat().st_size if stored else MAX_UNPACKED_BYTES):
                    raise DataError(
                        f"{path}: {member.filename} unpacks to {size} bytes, too many; save it with numpy.savez, not"
                        " compressed"
                    )
                array: Values
                if stored and not fortran and len(shape) > 2:
                    start = offset + _start_of_member(path, member.header_offset)
                    array = StoredArray(path, start, shape, dtype)
                else:
                    order: Any = "F" if fortran else "C"
                    array = np.frombuffer(file.read(size), dtype).reshape(shape, order=order)
            arrays[member.filename.removesuffix(".npy")] = array
    return arrays


def _array_header(file: Any) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    version = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, fortran, dtype = read(file)
    return shape, fortran, dtype


def _start_of_member(path: Path, header_offset: int) -> int:
    """Where a member's bytes begin: after its own header, whose extra field may differ from the directory's."""
    with path.open("rb") as file:
        file.seek(header_offset)
        header = file.read(_LOCAL_HEADER_BYTES)
    name_bytes, extra_bytes = struct.unpack("<HH", header[26:30])
    return header_offset + _LOCAL_HEADER_BYTES + int(name_bytes) + int(extra_bytes)


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    try:
        yield
    except DataError:
        raise
    except (
        OSError,
        ValueError,
        zipfile.BadZipFile,
        struct.error,
        EOFError,
        NotImplementedError,
        RuntimeError,
    ) as error:
        raise DataError(f"{path}: cannot be read as a NumPy archive ({error}); save it with numpy.savez") from None
