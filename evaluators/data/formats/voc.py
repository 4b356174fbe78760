"""Pascal VOC folders: boxes from XML, masks from PNG, each read within bounds."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from evaluators.data.folder import (
    VALIDATION_NAMES,
    FolderFiles,
    check_both_splits,
    existing_folder,
    finite_box,
    read_text,
)
from evaluators.data.images import IMAGE_SUFFIXES, is_image_name
from evaluators.data.listing import MAX_MASK_CLASSES, DataRequest, ImageFile, Listing, MaskFile, ObjectBoxes, Sample
from evaluators.data.orientation import DrawnOn
from evaluators.evaluator import DataError

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element


# fmt: off
VOC_CLASSES = (
    "background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow",
    "diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train",
    "tvmonitor",
)
# fmt: on
MAX_XML_BYTES = 4_000_000
IMAGE_FOLDERS = ("JPEGImages", "images")
ANNOTATION_FOLDERS = ("Annotations", "annotations", "annots")
"""What people call them; the first that a data set has is read."""


def open_voc(request: DataRequest) -> Listing:
    """The boxes or masks of ``voc:FOLDER``, with the split that its lists name, if any. Raises ``DataError``."""
    root = existing_folder(request.location, "voc")
    return _list_masks(root) if request.annotation == "masks" else _list_boxes(root)


def _names_of_splits(root: Path, lists_folder: str) -> tuple[list[str], list[str]] | None:
    """The image names of ``train.txt`` and ``val.txt``, or another of ``VALIDATION_NAMES``, in a folder of
    ``ImageSets``; ``None`` unless both are there."""
    folder = root / "ImageSets" / lists_folder
    held_out = next((name for name in VALIDATION_NAMES if (folder / f"{name}.txt").is_file()), None)
    if held_out is None or not (folder / "train.txt").is_file():
        return None
    train, validation = (_listed_names(folder / f"{part}.txt") for part in ("train", held_out))
    if shared := set(train) & set(validation):
        raise DataError(
            f"{root}: {min(shared)} is in train.txt and in {held_out}.txt; each image belongs to one of them"
        )
    return train, validation


def _listed_names(path: Path) -> list[str]:
    lines = read_text(path, "it lists one image name a line").splitlines()
    return list(dict.fromkeys(line.split()[0] for line in lines if line.strip()))


def _read_from(root: Path, lists_folder: str, *others: str) -> tuple[Path, ...]:
    """The lists and folders that are read."""
    parts = ("train", *VALIDATION_NAMES)
    lists = [f"ImageSets/{lists_folder}", *(f"ImageSets/{lists_folder}/{part}.txt" for part in parts)]
    return tuple(root / name for name in (*lists, *others))


def _folder(root: Path, names: Sequence[str], needs: str) -> str:
    """The first of these folders that is there."""
    for name in names:
        if (root / name).is_dir():
            return name
    others = "".join(f" or {name}" for name in names[1:])
    raise DataError(f"{root}: no folder {names[0]}{others} in it; {needs}")


class _Images:
    """The images of a data set by their names without a suffix."""

    def __init__(self, root: Path, files: FolderFiles, folder: str) -> None:
        self._root, self._files, self._folder = root, files, folder
        self._names: dict[str, str] = {}
        # Of several with one name: by the suffix, in small letters before others
        in_order = [(_rank(suffix), name) for name in files.names(folder, str(root)) for suffix in _suffixes(name)]
        for _, name in sorted(in_order, reverse=True):
            self._names[os.path.splitext(name)[0]] = name

    def find(self, name: str, wanted_by: str) -> str:
        """The path of the image. Raises ``DataError``."""
        found = self._names.get(name)
        path = None if found is None else self._files.find(found, str(self._root), self._folder)
        if path is None:
            raise DataError(f"{self._root / self._folder}: no image {name}{IMAGE_SUFFIXES[0]}, {wanted_by}; add it")
        return path


def _suffixes(name: str) -> list[str]:
    return [os.path.splitext(name)[1]] if is_image_name(name) else []


def _rank(suffix: str) -> tuple[bool, int, str]:
    return suffix not in IMAGE_SUFFIXES, IMAGE_SUFFIXES.index(suffix.lower()), suffix


def _stems(files: FolderFiles, folder: str, suffix: str) -> list[str]:
    return [name.removesuffix(suffix) for name in files.names(folder, folder) if name.endswith(suffix)]


def _check_is_name(root: Path, name: str) -> None:
    if os.path.basename(name) != name or name in (".", ".."):
        raise DataError(f"{root}: image name {name!r} is a path; list names without folders")


# -- masks ------------------------------------------------------------------------------------------------------------


def _list_masks(root: Path) -> Listing:
    """``JPEGImages``, ``SegmentationClass``, ``ImageSets/Segmentation``."""
    needs = "to segment, a VOC data set has JPEGImages and SegmentationClass"
    image_folder, _ = (_folder(root, names, needs) for names in (IMAGE_FOLDERS, ("SegmentationClass",)))
    files = FolderFiles(root)
    images = _Images(root, files, image_folder)
    splits = _names_of_splits(root, "Segmentation")
    if splits is not None:
        check_both_splits(*splits, "masks", root)
    names = splits or (
        _stems(files, "SegmentationClass", ".png"),
        None,
    )
    train, validation = (
        None if part is None else [_masked_sample(root, files, images, name) for name in part] for part in names
    )
    read_from = _read_from(root, "Segmentation", image_folder, "SegmentationClass", "class_names.txt")
    return Listing(_mask_names(root), train or [], validation, read_from)


def _mask_names(root: Path) -> tuple[str, ...]:
    """The classes of masks, background first: the lines of ``class_names.txt``, or Pascal VOC's own 21."""
    path = root / "class_names.txt"
    if not path.is_file():
        return VOC_CLASSES
    lines = read_text(path, "it names one class a line, background first").splitlines()
    names = [line.strip() for line in lines if line.strip()]
    if not 2 <= len(names) <= MAX_MASK_CLASSES or len(set(names)) != len(names):
        raise DataError(
            f"{path}: {len(names)} names; give 2 to {MAX_MASK_CLASSES} that differ, one a line, background first"
        )
    return tuple(names)


def _masked_sample(root: Path, files: FolderFiles, images: _Images, name: str) -> Sample:
    _check_is_name(root, name)
    mask = files.find(f"{name}.png", str(root), "SegmentationClass")
    if mask is None:
        raise DataError(f"{root / 'SegmentationClass'}: no mask {name}.png, which the lists name; add it")
    return Sample(ImageFile(images.find(name, f"to the mask {name}.png")), MaskFile(mask))


# -- boxes ------------------------------------------------------------------------------------------------------------


def _list_boxes(root: Path) -> Listing:
    """Class names in alphabetical order. Corners are edges in pixels; ``difficult`` objects are left out."""
    needs = "a VOC data set has Annotations and JPEGImages"
    folder, image_folder = (_folder(root, names, needs) for names in (ANNOTATION_FOLDERS, IMAGE_FOLDERS))
    files = FolderFiles(root)
    images = _Images(root, files, image_folder)
    splits = _names_of_splits(root, "Main")
    if splits is not None:
        check_both_splits(*splits, "images", root)
    names = splits or (_stems(files, folder, ".xml"), None)
    objects: dict[str, list[tuple[str, tuple[float, ...]]]] = {}
    sizes: dict[str, tuple[int, int] | None] = {}
    for name in (name for part in names if part is not None for name in part):
        objects[name], sizes[name] = _described(root, files, folder, name)
    classes = sorted({label for listed in objects.values() for label, _ in listed})
    number = {label: index for index, label in enumerate(classes)}

    def sample(name: str) -> Sample:
        corners = np.array([box for _, box in objects[name]], np.float64).reshape(-1, 4)
        labels = np.array([number[label] for label, _ in objects[name]], np.int64)
        size = sizes[name]
        drawn_on = None if size is None else DrawnOn(*size, *corners[:, 2:].max(axis=0, initial=0).tolist())
        image = ImageFile(images.find(name, f"which {name}.xml describes"), drawn_on)
        return Sample(image, ObjectBoxes(corners, labels))

    train, validation = (None if part is None else [sample(name) for name in part] for part in names)
    xml_files = tuple(root / folder / f"{name}.xml" for name in objects)
    return Listing(
        tuple(classes), train or [], validation, (*_read_from(root, "Main", image_folder, folder), *xml_files)
    )


def _described(
    root: Path, files: FolderFiles, folder: str, name: str
) -> tuple[list[tuple[str, tuple[float, ...]]], tuple[int, int] | None]:
    """The label and the corners of each object of an image that has an area; and its width and height, if stated."""
    _check_is_name(root, name)
    annotation = files.find(f"{name}.xml", str(root), folder) or str(root / folder / f"{name}.xml")
    document = _parse_xml(annotation)
    objects: list[tuple[str, tuple[float, ...]]] = []
    for item in document.iter("object"):
        if (item.findtext("difficult") or "0").strip() == "1":
            continue
        label = (item.findtext("name") or "").strip()
        if not label:
            raise DataError(f"{annotation}: an object has no name; correct it")
        corners: Sequence[object] = [item.findtext(f"bndbox/{key}") for key in ("xmin", "ymin", "xmax", "ymax")]
        x1, y1, x2, y2 = finite_box(corners, annotation)
        if x1 < x2 and y1 < y2:
            objects.append((label, (x1, y1, x2, y2)))
    _check_are_pixels([box for _, box in objects], annotation)
    return objects, _stated_size(document)


def _check_are_pixels(boxes: Sequence[tuple[float, ...]], source: str) -> None:
    """Raise ``DataError`` for boxes in fractions of the image, which are all one pixel for a reader of pixels."""
    numbers = [number for box in boxes for number in box]
    if numbers and all(0 <= number <= 1 for number in numbers) and not all(map(float.is_integer, numbers)):
        raise DataError(
            f"{source}: its boxes are fractions of the image, 0 to 1; VOC's are pixels, so multiply them by its width"
            " and height"
        )


def _stated_size(document: Element) -> tuple[int, int] | None:
    """``None`` where there is none, or zeros, which some tools write."""
    texts = [(document.findtext(f"size/{key}") or "").strip() for key in ("width", "height")]
    if not all(text.isascii() and text.isdecimal() and len(text) < 10 and int(text) for text in texts):
        return None
    return int(texts[0]), int(texts[1])


def _parse_xml(path: str) -> Element:
    """The root element. A document type is refused: entities in it can expand without bound."""
    from defusedxml import DefusedXmlException
    from defusedxml.ElementTree import ParseError, fromstring

    try:
        with open(path, "rb") as file:
            content = file.read(MAX_XML_BYTES + 1)
        if len(content) > MAX_XML_BYTES:
            raise DataError(f"{path}: over {MAX_XML_BYTES} bytes; no annotation of one image is that large")
        root: Element = fromstring(content, forbid_dtd=True)
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); each listed image needs its annotation") from None
    except DefusedXmlException:
        raise DataError(f"{path}: declares a document type; annotations need none, take it out") from None
    except (ParseError, LookupError, UnicodeError) as error:
        raise DataError(f"{path}: no well-formed XML ({error}); correct it") from None
    return root
