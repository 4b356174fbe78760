"""Detection data: digits, VOC and COCO folders, and the errors of bad ones."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from evaluators.data import digits, images
from evaluators.data.detection import DetectionData, DetectionSplit, class_names, load_detection_data
from evaluators.data.voc import MAX_XML_BYTES
from evaluators.evaluator import DataError


def load(text: str, image_size: int = 64, seed: int = 0, **limits: int) -> DetectionData:
    return load_detection_data(text, image_size=image_size, seed=seed, **limits)


def check_split(split: DetectionSplit, size: int, classes: int) -> None:
    assert split.images.shape == (len(split), 3, size, size)
    assert split.images.dtype == np.uint8
    for boxes, labels in zip(split.boxes, split.labels, strict=True):
        assert boxes.dtype == np.float32
        assert labels.dtype == np.int64
        assert boxes.shape == (len(labels), 4)
        assert (boxes[:, :2] < boxes[:, 2:]).all()
        assert ((boxes >= 0) & (boxes <= size)).all()
        assert ((labels >= 0) & (labels < classes)).all()


# -- digits ----------------------------------------------------------------------------------------------------------


def test_digits_are_the_same_for_the_same_seed_alone() -> None:
    first, second = (load("digits", max_train_images=20, max_val_images=10) for _ in range(2))
    assert first.digest == second.digest
    assert np.array_equal(first.train.images, second.train.images)
    assert load("digits", seed=1, max_train_images=20, max_val_images=10).digest != first.digest
    assert class_names("digits") == first.class_names == tuple("0123456789")


def test_digits_keep_to_the_contract_and_are_read_only() -> None:
    data = load("digits", 96, max_train_images=60, max_val_images=20)
    assert (len(data.train), len(data.validation), data.image_size) == (60, 20, 96)
    for split in (data.train, data.validation):
        check_split(split, 96, 10)
        with pytest.raises(ValueError, match="read-only"):
            split.images[0] = 0
        with pytest.raises(ValueError, match="read-only"):
            split.boxes[0][0] = 0
    counts = np.bincount(np.concatenate(data.train.labels), minlength=10)
    assert counts.min() > 0
    heights = np.concatenate([b[:, 3] - b[:, 1] for b in data.train.boxes]) / 96
    low, high = digits.SCENE_HEIGHT
    assert low - 0.01 < heights.min() <= heights.max() < high + 0.01


def test_digits_of_validation_are_in_no_training_image(monkeypatch: pytest.MonkeyPatch) -> None:
    sources = []
    draw = digits._scenes

    def spy(bunch: Any, source: Any, *rest: Any) -> digits.DigitScenes:
        sources.append(set(source.tolist()))
        return draw(bunch, source, *rest)

    monkeypatch.setattr(digits, "_scenes", spy)
    load("digits", max_train_images=2, max_val_images=2)
    train, validation = sources
    assert not train & validation
    assert len(train) + len(validation) == 1797


def test_digits_stand_out_of_their_background() -> None:
    data = load("digits", max_train_images=20, max_val_images=1)
    for image, boxes in zip(data.train.images, data.train.boxes, strict=True):
        outside = np.ones(image.shape[1:], bool)
        for x1, y1, x2, y2 in boxes.astype(int):
            outside[y1:y2, x1:x2] = False
        for x1, y1, x2, y2 in boxes.astype(int):
            assert np.percentile(image[:, y1:y2, x1:x2], 90) > image[:, outside].mean() + 20


@pytest.mark.parametrize("arguments", [{"image_size": 8}, {"image_size": 5000}, {"max_val_images": 0}])
def test_impossible_sizes_are_refused(arguments: dict[str, int]) -> None:
    with pytest.raises(DataError, match=r"choose one inside|at least one image"):
        load("digits", **{"max_train_images": 2, **arguments})


@pytest.mark.parametrize("text", ["digit", "", "voc", "voc:", "coco:/does/not/exist", "voc:\0", "imagenet:/tmp"])
def test_unknown_data_are_refused(text: str) -> None:
    with pytest.raises(DataError, match=r"no detection data|no folder"):
        load(text)
    with pytest.raises(DataError, match=r"no detection data|no folder"):
        class_names(text)


# -- Pascal VOC ------------------------------------------------------------------------------------------------------


def voc_object(name: str, *corners: object, difficult: int = 0) -> str:
    keys = ("xmin", "ymin", "xmax", "ymax")
    box = "".join(f"<{key}>{corner}</{key}>" for key, corner in zip(keys, corners, strict=True))
    return f"<object><name>{name}</name><difficult>{difficult}</difficult><bndbox>{box}</bndbox></object>"


def write_image(path: Path, width: int = 100, height: int = 50) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (width, height), (200, 30, 30)).save(path)


@pytest.fixture
def voc(tmp_path: Path) -> Path:
    """Two images of 100 x 50 px, ``a`` to train and ``b`` to validate."""
    root = tmp_path / "voc"
    for name in "ab":
        write_image(root / "JPEGImages" / f"{name}.jpg")
        write_voc(root, name, voc_object("cat", 10, 10, 60, 40))
    lists = root / "ImageSets" / "Main"
    lists.mkdir(parents=True)
    (lists / "train.txt").write_text("a\n\n")
    (lists / "val.txt").write_text("b  1\n")
    return root


def write_voc(root: Path, name: str, *objects: str, head: str = "") -> None:
    (root / "Annotations").mkdir(parents=True, exist_ok=True)
    text = f"{head}<annotation><size><width>1</width></size>{''.join(objects)}</annotation>"
    (root / "Annotations" / f"{name}.xml").write_text(text)


def test_voc_boxes_follow_the_resize(voc: Path) -> None:
    write_voc(
        voc,
        "a",
        voc_object("dog", 10, 10, 60, 40),
        voc_object("cat", -5, 25, 200, 80),
        voc_object("cat", 20, 30, 20, 40),
        voc_object("cat", 30, 30, 20, 40),
        voc_object("cat", 120, 10, 150, 40),
        voc_object("bird", 1, 1, 9, 9, difficult=1),
    )
    data = load(f"voc:{voc}", 50)
    assert data.class_names == class_names(f"voc:{voc}") == ("cat", "dog")
    # Halved in width, as high as before; clipped; without area, outside and difficult are dropped.
    assert data.train.boxes[0].tolist() == [[5, 10, 30, 40], [0, 25, 50, 50]]
    assert data.train.labels[0].tolist() == [1, 0]
    assert data.validation.boxes[0].tolist() == [[5, 10, 30, 40]]
    check_split(data.train, 50, 2)
    assert abs(data.train.images[0].mean(axis=(1, 2)) - [200, 30, 30]).max() < 4


def test_voc_without_lists_is_split_by_the_seed(voc: Path) -> None:
    (voc / "ImageSets" / "Main" / "val.txt").unlink()
    for number in range(10):
        write_image(voc / "JPEGImages" / f"n{number}.png")
        write_voc(voc, f"n{number}", voc_object("cat", number, 0, 50, 50))
    data, again, other = (load(f"voc:{voc}", seed=seed) for seed in (0, 0, 5))
    assert (len(data.train), len(data.validation)) == (10, 2)
    assert data.digest == again.digest != other.digest


def test_voc_is_cut_to_the_most_images_wanted(voc: Path) -> None:
    names = [f"n{number}" for number in range(6)]
    for number, name in enumerate(names):
        write_image(voc / "JPEGImages" / f"{name}.jpg")
        write_voc(voc, name, voc_object("cat", number, 0, 50, 50))
    (voc / "ImageSets" / "Main" / "train.txt").write_text("\n".join(names))
    data = load(f"voc:{voc}", max_train_images=3)
    assert (len(data.train), len(data.validation)) == (3, 1)
    assert data.digest == load(f"voc:{voc}", max_train_images=3).digest


BOMB = "<!DOCTYPE a [<!ENTITY x 'ha'><!ENTITY y '&x;&x;&x;'>]>"
BAD_VOC: dict[str, tuple[Callable[[Path], object], str]] = {
    "no annotations": (lambda r: (r / "Annotations").rename(r / "Other"), "no folder Annotations"),
    "no images": (lambda r: (r / "JPEGImages").rename(r / "Other"), "no folder JPEGImages"),
    "document type": (lambda r: write_voc(r, "a", head=BOMB), "a.xml: declares a document type"),
    "no XML": (lambda r: (r / "Annotations" / "a.xml").write_bytes(b"\xff\x00<a"), "a.xml: no well-formed XML"),
    "no annotation": (lambda r: (r / "Annotations" / "a.xml").unlink(), "a.xml: cannot be read"),
    "large annotation": (
        lambda r: write_voc(r, "a", " " * MAX_XML_BYTES),
        "a.xml: over 4000000 bytes",
    ),
    "no image": (lambda r: (r / "JPEGImages" / "a.jpg").unlink(), "no image a.jpg"),
    "no picture": (lambda r: (r / "JPEGImages" / "a.jpg").write_bytes(b"GIF89a"), "a.jpg: cannot be read"),
    "half a picture": (
        lambda r: (r / "JPEGImages" / "a.jpg").write_bytes((r / "JPEGImages" / "a.jpg").read_bytes()[:-200]),
        "a.jpg: cannot be read",
    ),
    "no number": (lambda r: write_voc(r, "a", voc_object("cat", "x", 1, 2, 3)), "is not four numbers"),
    "no corner": (lambda r: write_voc(r, "a", "<object><name>cat</name></object>"), "is not four numbers"),
    "not finite": (lambda r: write_voc(r, "a", voc_object("cat", 0, 0, "inf", 9)), "not finite"),
    "no name": (lambda r: write_voc(r, "a", voc_object(" ", 0, 0, 9, 9)), "an object has no name"),
    "no boxes": (lambda r: write_voc(r, "a"), "none of its 1 training images has a usable box"),
    "in both": (lambda r: (r / "ImageSets/Main/val.txt").write_text("a"), "a is in train.txt and in val.txt"),
    "none to validate": (lambda r: (r / "ImageSets/Main/val.txt").write_text(""), "0 validation images"),
    "no text": (lambda r: (r / "ImageSets/Main/val.txt").write_bytes(b"\xff\xfe\xff"), "val.txt: cannot be read"),
    "a path": (lambda r: (r / "ImageSets/Main/val.txt").write_text("../b"), "'../b' is a path"),
}


@pytest.mark.parametrize("case", BAD_VOC)
def test_bad_voc_folders_say_what_and_where(voc: Path, case: str) -> None:
    damage, message = BAD_VOC[case]
    damage(voc)
    with pytest.raises(DataError, match=message):
        load(f"voc:{voc}")


def test_images_that_link_out_of_the_folder_are_refused(voc: Path) -> None:
    image = voc / "JPEGImages" / "a.jpg"
    image.rename(voc.parent / "secret.jpg")
    image.symlink_to(voc.parent / "secret.jpg")
    with pytest.raises(DataError, match="lies outside"):
        load(f"voc:{voc}")


@pytest.mark.parametrize("limit", [1000, 3000])
def test_decompression_bombs_are_refused(voc: Path, monkeypatch: pytest.MonkeyPatch, limit: int) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)  # 5000 px: above twice the one, between once and twice
    with pytest.raises(DataError, match=r"a.jpg: too many pixels"):
        load(f"voc:{voc}")
    monkeypatch.undo()
    monkeypatch.setattr(images, "MAX_IMAGE_PIXELS", limit)
    with pytest.raises(DataError, match=r"a.jpg: 100 x 50 px is over"):
        load(f"voc:{voc}")


def test_blood_cells(shared: Callable[[str], Path]) -> None:
    root = shared("data/bccd_detection")
    data = load(f"voc:{root}", 64)
    assert data.class_names == ("Platelets", "RBC", "WBC")
    assert (len(data.train), len(data.validation)) == (205, 87)
    with (root / "annotations.csv").open() as file:
        rows = list(csv.DictReader(file))
    for split, name in ((data.train, "train"), (data.validation, "val")):
        check_split(split, 64, 3)
        mine = [r for r in rows if r["split"] == name]
        usable = [r for r in mine if int(r["xmin"]) < int(r["xmax"]) and int(r["ymin"]) < int(r["ymax"])]
        assert sum(map(len, split.labels)) == len(usable)


# -- COCO ------------------------------------------------------------------------------------------------------------


def coco_document(images: int = 1, first: int = 1) -> dict[str, Any]:
    numbers = range(first, first + images)
    return {
        "images": [{"id": n, "file_name": f"{n}.png"} for n in numbers],
        "categories": [{"id": 7, "name": "zebra"}, {"id": 3, "name": "apple"}],
        "annotations": [
            {"id": 10 * n, "image_id": n, "category_id": 7, "bbox": [10, 10, 50, 30], "iscrowd": 0} for n in numbers
        ],
    }


@pytest.fixture
def coco(tmp_path: Path) -> Path:
    """Images of 100 x 50 px: 1 and 2 to train, 3 to validate."""
    root = tmp_path / "coco"
    (root / "annotations").mkdir(parents=True)
    for number in (1, 2):
        write_image(root / "train2017" / f"{number}.png")
    write_image(root / "images" / "3.png")
    write_coco(root, "train", coco_document(2))
    write_coco(root, "val", coco_document(1, 3))
    return root


def write_coco(root: Path, part: str, document: object) -> None:
    (root / "annotations" / f"instances_{part}2017.json").write_text(json.dumps(document))


def test_coco_boxes_follow_the_resize(coco: Path) -> None:
    document = coco_document(2)
    row = document["annotations"][0]
    document["annotations"] += [
        {**row, "id": 1, "category_id": 3, "bbox": [-10, 20, 60, 80.5]},
        {**row, "id": 2, "iscrowd": 1},
        {**row, "id": 3, "bbox": [5, 5, 0, 9]},
        {**row, "id": 4, "bbox": [5, 5, 9, -9]},
    ]
    write_coco(coco, "train", document)
    data = load(f"coco:{coco}", 50)
    assert data.class_names == class_names(f"coco:{coco}") == ("apple", "zebra")  # by id
    assert (len(data.train), len(data.validation)) == (2, 1)
    assert data.train.boxes[0].tolist() == [[5, 10, 30, 40], [0, 20, 25, 50]]
    assert data.train.labels[0].tolist() == [1, 0]
    check_split(data.train, 50, 2)


def test_one_coco_file_is_split_by_the_seed(tmp_path: Path) -> None:
    for number in range(1, 13):
        write_image(tmp_path / f"{number}.png")
    (tmp_path / "labels.json").write_text(json.dumps(coco_document(12)))
    data, again = (load(f"coco:{tmp_path}") for _ in range(2))
    assert (len(data.train), len(data.validation)) == (10, 2)
    assert data.digest == again.digest


def test_class_names_need_no_images(coco: Path) -> None:
    for image in (coco / "train2017").iterdir():
        image.write_bytes(b"no image")
    assert class_names(f"coco:{coco}") == ("apple", "zebra")


def changed(**rows: object) -> dict[str, Any]:
    """A document whose first annotation, image or category has other values."""
    document = coco_document(2)
    for name, change in rows.items():
        document[name][0].update(change)
    return document


BAD_COCO: dict[str, tuple[object, str]] = {
    "no object": ([], "no list 'categories'"),
    "no images": ({**coco_document(), "images": []}, "no list 'images'"),
    "no annotations": ({k: v for k, v in coco_document().items() if k != "annotations"}, "no list 'annotations'"),
    "no row": ({**coco_document(), "images": [5]}, "id None in 'images'"),
    "id twice": ({**coco_document(), "images": [{"id": 1}, {"id": 1}]}, "id 1 in 'images' is missing"),
    "text id": (changed(images={"id": "1"}), "id '1' in 'images'"),
    "unknown image": (changed(annotations={"image_id": 99}), "annotation 10 names image 99"),
    "list image": (changed(annotations={"image_id": [1]}), r"names image \[1\]"),
    "unknown category": (changed(annotations={"category_id": True}), "names category True"),
    "no box": (changed(annotations={"bbox": None}), "is not four numbers"),
    "short box": (changed(annotations={"bbox": [1, 2]}), "is not four numbers"),
    "not finite": (changed(annotations={"bbox": [1, 2, float("inf"), 3]}), "not finite"),
    "no name": (changed(categories={"name": ""}), "category 7 has no name"),
    "name twice": (changed(categories={"name": "apple"}), "same name"),
    "other classes": (changed(categories={"name": "horse"}), "name different categories"),
    "no file name": (changed(images={"file_name": None}), "None is no file name"),
    "no file": (changed(images={"file_name": "9.png"}), "image 1: no file '9.png'"),
    "upwards": (changed(images={"file_name": "../../secret.png"}), "lies outside"),
    "absolute": (changed(images={"file_name": "/etc/passwd"}), "lies outside"),
}


@pytest.mark.parametrize("case", BAD_COCO)
def test_bad_coco_files_say_what_and_where(coco: Path, case: str) -> None:
    document, message = BAD_COCO[case]
    write_coco(coco, "train", document)
    with pytest.raises(DataError, match=message) as caught:
        load(f"coco:{coco}")
    assert "instances_train2017.json" in str(caught.value)


@pytest.mark.parametrize("text", ["{", "\xff", "[" * 100_000])
def test_what_is_no_json_is_refused(coco: Path, text: str) -> None:
    (coco / "annotations" / "instances_val2017.json").write_text(text, encoding="latin-1")
    with pytest.raises(DataError, match=r"instances_val2017.json: no JSON"):
        load(f"coco:{coco}")


def test_several_files_without_known_names_are_refused(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / f"{name}.json").write_text("{}")
    with pytest.raises(DataError, match="found 2 annotation files"):
        load(f"coco:{tmp_path}")
