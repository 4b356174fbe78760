"""Small images and folders of them, and whole splits of a data set read at once."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from evaluators.data.data_set import Boxes, DataSet, Split
from evaluators.data.open import open_data_set

RED = (200, 30, 30)


def write_image(path: Path, width: int = 100, height: int = 50, colour: Any = RED, mode: str = "RGB") -> Path:
    """One colour."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, (width, height), colour).save(path)
    return path


def write_noise(path: Path, seed: int, width: int = 40, height: int = 30) -> Path:
    """Random colours, without loss."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    Image.fromarray(pixels).save(path)
    return path


def opened(data: Any, annotation: Any, image_size: int = 64, **changes: Any) -> DataSet:
    """At 64 px."""
    return open_data_set(data, annotation, image_size=image_size, **changes)


def images_of(split: Split) -> npt.NDArray[Any]:
    """All of them."""
    return split.images(np.arange(len(split)))


def targets_of(split: Split) -> Any:
    """All of them."""
    return split.targets(np.arange(len(split)))


def names_of(split: Split) -> list[str]:
    """The names of the files of all images."""
    return [Path(source).name for source in split.sources(np.arange(len(split)))]


def read_all(data: DataSet) -> DataSet:
    """The data set, after every image and target was read once."""
    for split in (data.train, data.validation):
        images_of(split)
        targets_of(split)
    return data


def check_boxes(split: Split, size: int, classes: int) -> None:
    """What is true of every split of images with boxes."""
    images, all_boxes = images_of(split), targets_of(split)
    assert images.shape == (len(split), 3, size, size)
    assert images.dtype == np.uint8
    for boxes in all_boxes:
        assert isinstance(boxes, Boxes)
        assert boxes.corners.dtype == np.float32
        assert boxes.labels.dtype == np.int64
        assert boxes.corners.shape == (len(boxes.labels), 4)
        assert (boxes.corners[:, :2] < boxes.corners[:, 2:]).all()
        assert ((boxes.corners >= 0) & (boxes.corners <= size)).all()
        assert ((boxes.labels >= 0) & (boxes.labels < classes)).all()


Objects = Sequence[tuple[str, float, float, float, float]]
"""The class and the corners of each object of an image, in pixels."""


def voc_object(name: str, *corners: object, difficult: int = 0) -> str:
    """An object in VOC's XML."""
    keys = ("xmin", "ymin", "xmax", "ymax")
    box = "".join(f"<{key}>{corner}</{key}>" for key, corner in zip(keys, corners, strict=True))
    return f"<object><name>{name}</name><difficult>{difficult}</difficult><bndbox>{box}</bndbox></object>"


def write_voc(root: Path, name: str, *objects: str, head: str = "") -> None:
    """The annotation of an image."""
    (root / "Annotations").mkdir(parents=True, exist_ok=True)
    text = f"{head}<annotation><size><width>1</width></size>{''.join(objects)}</annotation>"
    (root / "Annotations" / f"{name}.xml").write_text(text)


def write_sized_voc(root: Path, name: str, width: object, height: object, *objects: str) -> None:
    """The annotation of an image, with the size that it was drawn on."""
    size = f"<size><width>{width}</width><height>{height}</height><depth>3</depth></size>"
    folder = root / "Annotations"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.xml").write_text(f"<annotation>{size}{''.join(objects)}</annotation>")


def write_in_three_formats(
    root: Path, images: Mapping[str, Mapping[str, Objects]], classes: Sequence[str], sizes: dict[str, tuple[int, int]]
) -> tuple[str, str, str]:
    """The same images by split and name as ``root/voc``, ``root/coco`` and ``root/yolo``; what names these."""
    categories = [{"id": 0, "name": "things", "supercategory": "none"}]
    categories += [{"id": n, "name": name, "supercategory": "things"} for n, name in enumerate(classes, start=1)]
    for split, of_split in images.items():
        document: dict[str, Any] = {"categories": categories, "images": [], "annotations": []}
        for number, (name, objects) in enumerate(reversed(list(of_split.items()))):
            seed = int.from_bytes(name.encode(), "little") % 2**32
            for path in ("voc/JPEGImages", f"coco/{split}", f"yolo/images/{split}"):
                write_noise(root / path / f"{name}.png", seed, *sizes[name])
            write_voc(root / "voc", name, *(voc_object(label, *corners) for label, *corners in objects))
            document["images"].append({"id": number, "file_name": f"{name}.png"})
            rows = []
            width, height = sizes[name]
            for label, x1, y1, x2, y2 in objects:
                document["annotations"].append(
                    {
                        "id": len(document["annotations"]),
                        "image_id": number,
                        "category_id": 1 + classes.index(label),
                        "bbox": [x1, y1, x2 - x1, y2 - y1],
                    }
                )
                box = ((x1 + x2) / 2 / width, (y1 + y2) / 2 / height, (x2 - x1) / width, (y2 - y1) / height)
                rows.append(" ".join([str(classes.index(label)), *(f"{number:.6f}" for number in box)]))
            labels = root / "yolo" / "labels" / split / f"{name}.txt"
            labels.parent.mkdir(parents=True, exist_ok=True)
            labels.write_text("\n".join(rows))
        (root / "coco" / f"instances_{split}.json").write_text(json.dumps(document))
        lists = root / "voc" / "ImageSets" / "Main"
        lists.mkdir(parents=True, exist_ok=True)
        (lists / f"{split}.txt").write_text("\n".join(of_split))
    yaml = f"train: images/train\nval: images/val\nnames: {json.dumps(list(classes))}\n"
    (root / "yolo" / "data.yaml").write_text(yaml)
    return f"voc:{root / 'voc'}", f"coco:{root / 'coco'}", f"yolo:{root / 'yolo'}"
