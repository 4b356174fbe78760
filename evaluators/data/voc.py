"""Pascal VOC folders: boxes from XML, masks from PNG, each read within bounds."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from evaluators.data.folder import (
    IMAGE_SUFFIXES,
    AnnotatedFolder,
    AnnotatedImage,
    ImageFolder,
    LabelledExample,
    finite_box,
    path_inside,
    random_split,
    resolve_folder,
)
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
MAX_CLASSES = 255
"""Masks hold one class per byte, and 255 is no class."""
MAX_XML_BYTES = 4_000_000


# -- masks ------------------------------------------------------------------------------------------------------------


def read_voc_masks(text: str, seed: int) -> ImageFolder:
    """The masks of ``voc:FOLDER``: ``JPEGImages``, ``SegmentationClass``, ``ImageSets/Segmentation``.

    Without ``train.txt`` and ``val.txt`` there, the seed splits the masks, four fifths to train. Raises ``DataError``.
    """
    root = resolve_folder(text, "voc")
    for part in ("JPEGImages", "SegmentationClass"):
        if not (root / part).is_dir():
            raise DataError(
                f"{root}: no folder {part} in it; to segment, a VOC data set has JPEGImages and SegmentationClass"
            )
    lists = [root / "ImageSets" / "Segmentation" / f"{part}.txt" for part in ("train", "val")]
    if all(path.is_file() for path in lists):
        train, validation = (voc_names(path) for path in lists)
    else:
        train, validation = random_split(sorted(p.stem for p in (root / "SegmentationClass").glob("*.png")), seed)
    if shared := set(train) & set(validation):
        raise DataError(f"{root}: {min(shared)} is in train.txt and in val.txt; each image belongs to one of them")
    if not train or not validation:
        raise DataError(f"{root}: {len(train)} training and {len(validation)} validation masks; both need some")
    examples = [[_masked_example(root, name) for name in names] for names in (train, validation)]
    return ImageFolder(voc_mask_names(text), *examples)


def voc_mask_names(text: str) -> tuple[str, ...]:
    """The classes of masks, background first: the lines of ``class_names.txt``, or Pascal VOC's own 21."""
    path = resolve_folder(text, "voc") / "class_names.txt"
    if not path.is_file():
        return VOC_CLASSES
    try:
        names = [line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read ({error}); it names one class a line, background first") from None
    if not 2 <= len(names) <= MAX_CLASSES or len(set(names)) != len(names):
        raise DataError(
            f"{path}: {len(names)} names; give 2 to {MAX_CLASSES} that differ, one a line, background first"
        )
    return tuple(names)


def _masked_example(root: Path, name: str) -> LabelledExample:
    if Path(name).name != name:
        raise DataError(f"{root}: image name {name!r} is a path; list names without folders")
    mask = path_inside(root, f"SegmentationClass/{name}.png", str(root))
    if not mask.is_file():
        raise DataError(f"{root / 'SegmentationClass'}: no mask {name}.png, which the lists name; add it")
    for suffix in IMAGE_SUFFIXES:
        image = path_inside(root, f"JPEGImages/{name}{suffix}", str(root))
        if image.is_file():
            return LabelledExample(image, mask)
    raise DataError(f"{root / 'JPEGImages'}: no image {name}{IMAGE_SUFFIXES[0]} to the mask {mask.name}; add it")


# -- boxes ------------------------------------------------------------------------------------------------------------


def read_voc(root: Path, seed: int) -> AnnotatedFolder:
    """Class names in alphabetical order, training and validation images with their boxes.

    Corner coordinates are taken as edges in pixels; ``difficult`` objects and boxes without area are left out.
    """
    for part in ("Annotations", "JPEGImages"):
        if not (root / part).is_dir():
            raise DataError(f"{root}: no folder {part} in it; a VOC data set has Annotations and JPEGImages")
    lists = [root / "ImageSets" / "Main" / f"{part}.txt" for part in ("train", "val")]
    if all(path.is_file() for path in lists):
        train, validation = (voc_names(path) for path in lists)
    else:
        train, validation = random_split(sorted(path.stem for path in (root / "Annotations").glob("*.xml")), seed)
    if shared := set(train) & set(validation):
        raise DataError(f"{root}: {min(shared)} is in train.txt and in val.txt; each image belongs to one of them")
    if not train or not validation:
        raise DataError(f"{root}: {len(train)} training and {len(validation)} validation images; both need some")
    images = [[_annotated_image(root, name) for name in names] for names in (train, validation)]
    classes = sorted({name for split in images for image in split for name in image.classes})
    return AnnotatedFolder(tuple(classes), images[0], images[1])


def voc_names(path: Path) -> list[str]:
    """The names in a list of VOC's ImageSets. Raises ``DataError``."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read ({error}); it lists one image name a line") from None
    return list(dict.fromkeys(line.split()[0] for line in lines if line.strip()))


def _annotated_image(root: Path, name: str) -> AnnotatedImage:
    if Path(name).name != name:
        raise DataError(f"{root}: image name {name!r} is a path; list names without folders")
    annotation = path_inside(root, f"Annotations/{name}.xml", str(root))
    tree = _parse_xml(annotation)
    boxes: list[tuple[float, float, float, float]] = []
    classes: list[str] = []
    for item in tree.iter("object"):
        if (item.findtext("difficult") or "0").strip() == "1":
            continue
        label = (item.findtext("name") or "").strip()
        if not label:
            raise DataError(f"{annotation}: an object has no name; correct it")
        corners = [item.findtext(f"bndbox/{key}") for key in ("xmin", "ymin", "xmax", "ymax")]
        x1, y1, x2, y2 = finite_box(corners, str(annotation))
        if x1 < x2 and y1 < y2:
            boxes.append((x1, y1, x2, y2))
            classes.append(label)
    for suffix in IMAGE_SUFFIXES:
        image = path_inside(root, f"JPEGImages/{name}{suffix}", str(root))
        if image.is_file():
            return AnnotatedImage(image, np.array(boxes, np.float64), tuple(classes))
    raise DataError(f"{root / 'JPEGImages'}: no image {name}{IMAGE_SUFFIXES[0]}, which {annotation.name} describes")


def _parse_xml(path: Path) -> Element:
    """The root element. A document type is refused: entities in it can expand without bound."""
    from defusedxml import DefusedXmlException
    from defusedxml.ElementTree import ParseError, fromstring

    try:
        if path.stat().st_size > MAX_XML_BYTES:
            raise DataError(f"{path}: over {MAX_XML_BYTES} bytes; no annotation of one image is that large")
        root: Element = fromstring(path.read_bytes(), forbid_dtd=True)
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); each listed image needs its annotation") from None
    except DefusedXmlException:
        raise DataError(f"{path}: declares a document type; annotations need none, take it out") from None
    except (ParseError, LookupError, UnicodeError) as error:
        raise DataError(f"{path}: no well-formed XML ({error}); correct it") from None
    return root
