"""Pascal VOC folders: boxes from XML, masks from PNG, each read within bounds."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from evaluators.data.folder import (
    FolderFiles,
    check_both_splits,
    existing_folder,
    finite_box,
    read_text,
)
from evaluators.data.images import IMAGE_SUFFIXES
from evaluators.data.listing import MAX_MASK_CLASSES, DataRequest, ImageFile, Listing, MaskFile, ObjectBoxes, Sample
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


def open_voc(request: DataRequest) -> Listing:
    """The boxes or masks of ``voc:FOLDER``, with the split that its lists name, if any. Raises ``DataError``."""
    root = existing_folder(request.location, "voc")
    return _list_masks(root) if request.annotation == "masks" else _list_boxes(root)


def _names_of_splits(root: Path, lists_folder: str) -> tuple[list[str], list[str]] | None:
    """The image names of ``train.txt`` and ``val.txt`` in a folder of ``ImageSets``; ``None`` unless both are there."""
    lists = [root / "ImageSets" / lists_folder / f"{part}.txt" for part in ("train", "val")]
    if not all(path.is_file() for path in lists):
        return None
    train, validation = (_listed_names(path) for path in lists)
    if shared := set(train) & set(validation):
        raise DataError(f"{root}: {min(shared)} is in train.txt and in val.txt; each image belongs to one of them")
    return train, validation


def _listed_names(path: Path) -> list[str]:
    lines = read_text(path, "it lists one image name a line").splitlines()
    return list(dict.fromkeys(line.split()[0] for line in lines if line.strip()))


def _read_from(root: Path, lists_folder: str, *others: str) -> tuple[Path, ...]:
    """The lists and folders that are read."""
    lists = [f"ImageSets/{lists_folder}", *(f"ImageSets/{lists_folder}/{part}.txt" for part in ("train", "val"))]
    return tuple(root / name for name in (*lists, "JPEGImages", *others))


def _image(files: FolderFiles, root: Path, name: str, wanted_by: str) -> ImageFile:
    source = str(root)
    for suffix in IMAGE_SUFFIXES:
        image = files.find(f"{name}{suffix}", source, "JPEGImages")
        if image is not None:
            return ImageFile(image)
    raise DataError(f"{root / 'JPEGImages'}: no image {name}{IMAGE_SUFFIXES[0]}, {wanted_by}; add it")


def _stems(files: FolderFiles, folder: str, suffix: str) -> list[str]:
    return [name.removesuffix(suffix) for name in files.names(folder, folder) if name.endswith(suffix)]


def _check_is_name(root: Path, name: str) -> None:
    if os.path.basename(name) != name or name in (".", ".."):
        raise DataError(f"{root}: image name {name!r} is a path; list names without folders")


# -- masks ------------------------------------------------------------------------------------------------------------


def _list_masks(root: Path) -> Listing:
    """``JPEGImages``, ``SegmentationClass``, ``ImageSets/Segmentation``."""
    for part in ("JPEGImages", "SegmentationClass"):
        if not (root / part).is_dir():
            raise DataError(
                f"{root}: no folder {part} in it; to segment, a VOC data set has JPEGImages and SegmentationClass"
            )
    files = FolderFiles(root)
    splits = _names_of_splits(root, "Segmentation")
    if splits is not None:
        check_both_splits(*splits, "masks", root)
    names = splits or (
        _stems(files, "SegmentationClass", ".png"),
        None,
    )
    train, validation = (
        None if part is None else [_masked_sample(root, files, name) for name in part] for part in names
    )
    read_from = _read_from(root, "Segmentation", "SegmentationClass", "class_names.txt")
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


def _masked_sample(root: Path, files: FolderFiles, name: str) -> Sample:
    _check_is_name(root, name)
    mask = files.find(f"{name}.png", str(root), "SegmentationClass")
    if mask is None:
        raise DataError(f"{root / 'SegmentationClass'}: no mask {name}.png, which the lists name; add it")
    return Sample(_image(files, root, name, f"to the mask {name}.png"), MaskFile(mask))


# -- boxes ------------------------------------------------------------------------------------------------------------


def _list_boxes(root: Path) -> Listing:
    """Class names in alphabetical order. Corners are edges in pixels; ``difficult`` objects are left out."""
    for part in ("Annotations", "JPEGImages"):
        if not (root / part).is_dir():
            raise DataError(f"{root}: no folder {part} in it; a VOC data set has Annotations and JPEGImages")
    files = FolderFiles(root)
    splits = _names_of_splits(root, "Main")
    if splits is not None:
        check_both_splits(*splits, "images", root)
    names = splits or (_stems(files, "Annotations", ".xml"), None)
    objects: dict[str, list[tuple[str, tuple[float, ...]]]] = {}
    for name in (name for part in names if part is not None for name in part):
        objects[name] = _objects(root, files, name)
    classes = sorted({label for listed in objects.values() for label, _ in listed})
    number = {label: index for index, label in enumerate(classes)}

    def sample(name: str) -> Sample:
        corners = np.array([box for _, box in objects[name]], np.float64).reshape(-1, 4)
        labels = np.array([number[label] for label, _ in objects[name]], np.int64)
        return Sample(_image(files, root, name, f"which {name}.xml describes"), ObjectBoxes(corners, labels))

    train, validation = (None if part is None else [sample(name) for name in part] for part in names)
    xml_files = tuple(root / "Annotations" / f"{name}.xml" for name in objects)
    return Listing(tuple(classes), train or [], validation, (*_read_from(root, "Main", "Annotations"), *xml_files))


def _objects(root: Path, files: FolderFiles, name: str) -> list[tuple[str, tuple[float, ...]]]:
    """The label and the corners of each object of an image that has an area."""
    _check_is_name(root, name)
    annotation = files.find(f"{name}.xml", str(root), "Annotations") or str(root / "Annotations" / f"{name}.xml")
    objects: list[tuple[str, tuple[float, ...]]] = []
    for item in _parse_xml(annotation).iter("object"):
        if (item.findtext("difficult") or "0").strip() == "1":
            continue
        label = (item.findtext("name") or "").strip()
        if not label:
            raise DataError(f"{annotation}: an object has no name; correct it")
        corners: Sequence[object] = [item.findtext(f"bndbox/{key}") for key in ("xmin", "ymin", "xmax", "ymax")]
        x1, y1, x2, y2 = finite_box(corners, annotation)
        if x1 < x2 and y1 < y2:
            objects.append((label, (x1, y1, x2, y2)))
    return objects


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
