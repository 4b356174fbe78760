"""Opens a data set: checks what a format lists, puts it in order, splits it, and takes as many images as wanted."""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np

from evaluators.data.catalog import DataSpec, data_format, data_spec, data_text
from evaluators.data.data_set import Annotation, DataSet
from evaluators.data.images import IGNORE_INDEX, IMAGE_SIZES, PixelForm
from evaluators.data.listing import (
    DataRequest,
    ImageFile,
    Listing,
    ObjectBoxes,
    Regions,
    Sample,
    held_out_fifth,
    in_order,
    random_subset,
)
from evaluators.data.on_demand import OnDemandData, OnDemandSplit
from evaluators.data.pillow_images import DEPTHS
from evaluators.evaluator import DataError
from search_spaces.registry import import_object

HEADERS_LOOKED_AT = 16
"""Images whose form decides that of all, at even distances among those to train with."""
MAX_WATCHED_FILES = 1000
"""Of a listing and its images; of more, the folders and lists are watched alone."""
MAX_OPEN = 2


def open_data_set(
    data: Any,
    annotation: Annotation,
    *,
    image_size: int,
    seed: int = 0,
    max_train_images: int = 2048,
    max_val_images: int = 256,
    channels: int = 0,
) -> DataSet:
    """The data set that ``data`` names (``kind:PATH``), or is (a ``DataSpec``, an object of a Python program).

    The seed selects digits, the split of data that have none, and the images where there are more than the maxima.
    ``channels``: of the images, 0 for those of the files: 1 where all are grey, else 3, or what files of more have.
    Same arguments and same files, same ``digest``.

    No image is decoded before it is asked for. The same data set is given again as long as the files and folders that
    were listed are the same. Raises ``UnknownName``, ``DataError``.
    """
    _check_numbers(image_size, max_train_images, max_val_images, channels)
    spec = data_spec(data)
    row = data_format(spec)
    if annotation not in row.annotations:
        known = " or ".join(_IN_WORDS[known] for known in row.annotations)
        raise DataError(f"{data_text(spec)} has no {_IN_WORDS[annotation]}, only {known}")
    location = spec.location if spec.samples is None else spec.samples
    request = DataRequest(location, annotation, image_size, seed, max_train_images, max_val_images, channels)
    with _lock:
        opened = _opened.get((spec, request))
        if opened is None or opened.state != _state(opened.watched):
            opened = _open(spec, request, row.open)
            _opened[spec, request] = opened
            while len(_opened) > MAX_OPEN:
                _opened.popitem(last=False)
        _opened.move_to_end((spec, request))
        return opened.data


_IN_WORDS: dict[Annotation, str] = {"class": "class of each image", "boxes": "boxes", "masks": "masks"}
_LISTED_AS: dict[Annotation, str] = {
    "class": "int",
    "boxes": "ObjectBoxes",
    "masks": "MaskFile, MaskArray or Regions",
}


@dataclass(frozen=True)
class _Opened:
    data: DataSet
    watched: Sequence[str | Path]
    state: Sequence[tuple[int, int]]


_opened: OrderedDict[tuple[DataSpec, DataRequest], _Opened] = OrderedDict()
_lock = Lock()


def _state(paths: Sequence[str | Path]) -> Sequence[tuple[int, int]]:
    """Size and time of change of each; zeros where there is none."""

    def of(path: str | Path) -> tuple[int, int]:
        try:
            found = os.stat(path)
        except OSError:
            return 0, 0
        return found.st_size, found.st_mtime_ns

    return [of(path) for path in paths]


def _open(spec: DataSpec, request: DataRequest, function: str) -> _Opened:
    list_samples: Callable[[DataRequest], Listing | DataSet] = import_object(function)
    listing = list_samples(request)
    if not isinstance(listing, Listing):
        return _Opened(listing, (), ())
    name = data_text(spec)
    annotation, names = request.annotation, listing.class_names
    _check_listing(name, annotation, names, [*listing.train, *(listing.validation or ())])
    train = in_order(listing.train, annotation)
    if listing.validation is None:
        all_train, validation = held_out_fifth(train, annotation, names, request.seed, name)
    else:
        all_train, validation = train, in_order(listing.validation, annotation)
        if shared := {s.image.name for s in all_train} & {s.image.name for s in validation if _is_file(s)}:
            raise DataError(f"{name}: {min(shared)} is to train and to validate; each image belongs to one of them")
    if not all_train or not validation:
        raise DataError(f"{name}: {len(all_train)} training and {len(validation)} validation images; both need some")
    rng = np.random.default_rng([request.seed, 2])
    splits = [
        random_subset(all_train, request.max_train_images, rng),
        random_subset(validation, request.max_val_images, rng),
    ]
    form = _form(all_train, request.channels)
    opened = OnDemandData(name, annotation, names, request.image_size, form, splits)
    for split, part in ((opened.train, "training"), (opened.validation, "validation")):
        _check_annotated(name, split, part, len(names))
    files = [sample.image.path for samples in splits for sample in samples if isinstance(sample.image, ImageFile)]
    watched = [*listing.read_from, *files]
    if len(watched) > MAX_WATCHED_FILES:
        watched = [path for number, path in enumerate(listing.read_from) if number < 100 or path.is_dir()]
    return _Opened(opened, watched, _state(watched))


def _is_file(sample: Sample) -> bool:
    return isinstance(sample.image, ImageFile)


def _check_numbers(image_size: int, max_train_images: int, max_val_images: int, channels: int) -> None:
    if image_size not in IMAGE_SIZES:
        raise DataError(
            f"image_size {image_size} px is outside {IMAGE_SIZES.start}..{IMAGE_SIZES.stop - 1}; choose one inside"
        )
    if min(max_train_images, max_val_images) < 1:
        raise DataError(f"at least one image a split, not {max_train_images} to train and {max_val_images} to validate")
    if channels < 0:
        raise DataError(f"channels is {channels}; give the number of the images' channels, or 0 for those of the files")


def _check_listing(name: str, annotation: Annotation, class_names: tuple[str, ...], samples: list[Sample]) -> None:
    """Raise ``DataError`` where a format, maybe somebody's own, lists what cannot be."""
    if not class_names or len(set(class_names)) != len(class_names):
        raise DataError(f"{name}: {len(class_names)} classes, {len(set(class_names))} of which differ; name each once")
    kinds: dict[Annotation, Any] = {"class": int, "boxes": ObjectBoxes}
    for sample in samples:
        listed = sample.annotation
        kind = kinds.get(annotation)
        if not isinstance(listed, kind) if kind else isinstance(listed, int | ObjectBoxes):
            raise DataError(
                f"{sample.image.name}: its format lists {type(listed).__name__}, but {annotation} need"
                f" {_LISTED_AS[annotation]}; correct the format"
            )
        labels: Any = (
            listed.labels if isinstance(listed, ObjectBoxes | Regions) else [listed] if isinstance(listed, int) else ()
        )
        if len(labels) and not 0 <= min(labels) <= max(labels) < len(class_names):
            bad = min(labels) if min(labels) < 0 else max(labels)
            raise DataError(f"{sample.image.name}: class {bad} is not in 0..{len(class_names) - 1}; correct it")


def _check_annotated(name: str, split: OnDemandSplit, part: str, classes: int) -> None:
    """Raise ``DataError`` where no sample of a split has anything to learn.

    Masks of pixels are read until one has a class that is not the background.
    """
    listed: list[Any] = [sample.annotation for sample in split.samples]
    if isinstance(listed[0], int):
        return
    if isinstance(listed[0], ObjectBoxes):
        if not any(len(split.boxes([index])[0].labels) for index in range(len(split)) if len(listed[index].labels)):
            raise DataError(f"{name}: none of its {len(split)} {part} images has a usable box; check its annotations")
        return
    drawn = isinstance(listed[0], Regions)
    found: set[int] = set()
    for index in range(len(split)):
        found.update(np.unique(split.targets(np.array([index]))).tolist())
        if found - ({IGNORE_INDEX} if drawn or classes == 1 else {0, IGNORE_INDEX}):
            return
    if found == {IGNORE_INDEX}:
        raise DataError(f"{name}: no pixel of its {len(split)} {part} masks has a class; check them")
    if IGNORE_INDEX in found:
        # Black and white: whoever takes white for none trains on nothing but black, and measures it as perfect
        raise DataError(
            f"{name}: its {len(split)} {part} masks hold only 0 and {IGNORE_INDEX}, which is no class but none; write"
            " class numbers into them: 1 instead of 255 where the object is"
        )


def _form(samples: Sequence[Sample], channels: int) -> PixelForm:
    """What all images are made to be. Raises ``DataError`` where they cannot be made the same."""
    count = min(len(samples), HEADERS_LOOKED_AT)
    looked_at = [samples[number * len(samples) // count] for number in range(count)]
    headers = [(sample.image.name, sample.image.header()) for sample in looked_at]
    depth = max((header.depth for _, header in headers), key=DEPTHS.index)
    if channels:
        return PixelForm(channels, depth)
    found = {header.channels: name for name, header in headers}
    if set(found) <= {1, 3}:
        return PixelForm(max(found), depth)
    if len(found) > 1:
        (some, first), (others, second) = sorted(found.items())[:2]
        raise DataError(f"{first} has {some} channels and {second} {others}; give every image as many, or set channels")
    return PixelForm(next(iter(found)), depth)
