"""YOLO folders: data.yaml and what it names, labels, and the errors of bad ones."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from evaluators.data.data_set import DataSet
from evaluators.evaluator import DataError
from tests.support.image_folders import check_boxes, names_of, opened, targets_of, write_image

YAML = "train: images/train\nval: images/val\nnames: [cat, dog]\n"


def load(root: Path, image_size: int = 50, **changes: int) -> DataSet:
    return opened(f"yolo:{root}", "boxes", image_size, **changes)


def segment(root: Path) -> DataSet:
    return opened(f"yolo:{root}", "masks", 50)


def label(root: Path, name: str, text: str) -> None:
    path = root / "labels" / f"{name}.txt"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


@pytest.fixture
def yolo(tmp_path: Path) -> Path:
    """Images of 100 x 50 px: a and b to train, c to validate; b has no labels."""
    root = tmp_path / "yolo"
    for name in ("train/a", "train/b", "val/c"):
        write_image(root / "images" / f"{name}.jpg")
    label(root, "train/a", "1 0.5 0.5 0.4 0.6\n\n0 0.1 0.5 0.4 1\n")
    label(root, "val/c", "0 0.5 0.5 0.5 0.5")
    (root / "data.yaml").write_text(YAML)
    return root


def test_boxes_are_fractions_by_their_middle(yolo: Path) -> None:
    data = load(yolo)
    assert data.class_names == ("cat", "dog")
    assert (names_of(data.train), names_of(data.validation)) == (["a.jpg", "b.jpg"], ["c.jpg"])
    boxes = targets_of(data.train)
    assert boxes[0].corners.tolist() == [[15, 10, 35, 40], [0, 0, 15, 50]]
    assert boxes[0].labels.tolist() == [1, 0]
    assert len(boxes[1].labels) == 0
    check_boxes(data.train, 50, 2)


def test_a_polygon_is_the_box_around_it_or_a_mask(yolo: Path) -> None:
    label(yolo, "train/a", "1 0.2 0.2 0.6 0.2 0.6 0.8 0.2 0.8\n")
    label(yolo, "val/c", "0 0 0 1 0 1 1 0 1\n")
    assert targets_of(load(yolo).train)[0].corners.tolist() == [[10, 10, 30, 40]]
    data = segment(yolo)
    assert data.class_names == ("background", "cat", "dog")
    expected = np.zeros((50, 50), np.uint8)
    expected[10:40, 10:30] = 2
    assert np.array_equal(targets_of(data.train)[0], expected)
    assert (targets_of(data.validation)[0] == 1).all()
    label(yolo, "train/a", "1 0.5 0.5 0.2 0.2")
    with pytest.raises(DataError, match=r"a\.txt, line 1: a box; masks need polygons"):
        segment(yolo)


@pytest.mark.parametrize(
    ("yaml", "train"),
    [
        (YAML.replace("[cat, dog]", "{0: cat, 1: dog}") + "nc: 2\n", ["a.jpg", "b.jpg"]),
        ("path: .\n" + YAML, ["a.jpg", "b.jpg"]),
        ("path: images\ntrain: train\nval: val\nnames: [cat, dog]\n", ["a.jpg", "b.jpg"]),
        ("train: ../images/train\nval: ../images/val\nnames: [cat, dog]\n", ["a.jpg", "b.jpg"]),
        ("train: list.txt\nval: [images/val]\nnames: [cat, dog]\n", ["b.jpg"]),
        ("train: [list.txt, images/train]\nval: images/val\nnames: [cat, dog]\n", ["a.jpg", "b.jpg"]),
        ("train: images/train\ntest: images/val\nnames: [cat, dog]\n", ["a.jpg", "b.jpg"]),
    ],
)
def test_the_ways_in_which_data_yaml_is_written(yolo: Path, yaml: str, train: list[str]) -> None:
    (yolo / "data.yaml").write_text(yaml)
    (yolo / "list.txt").write_text("./images/train/b.jpg\n\n")
    label(yolo, "train/b", "0 0.5 0.5 0.5 0.5")
    data = load(yolo)
    assert (names_of(data.train), names_of(data.validation)) == (train, ["c.jpg"])
    assert sum(len(boxes.labels) for boxes in targets_of(data.train)) >= 1


def test_the_file_itself_may_be_named_and_may_have_another_name(yolo: Path) -> None:
    (yolo / "data.yaml").rename(yolo / "coco8.yaml")
    assert load(yolo).digest == load(yolo / "coco8.yaml").digest
    (yolo / "other.yaml").write_text(YAML)
    with pytest.raises(DataError, match=r"no data\.yaml, but 2 other yaml files; name the one"):
        load(yolo)


def test_without_val_a_fifth_is_held_out(yolo: Path) -> None:
    for number in range(8):
        write_image(yolo / "images" / "train" / f"n{number}.png")
        label(yolo, f"train/n{number}", "0 0.5 0.5 0.5 0.5")
    (yolo / "data.yaml").write_text("train: images/train\nnames: [cat, dog]\n")
    data = load(yolo, seed=3)
    assert (len(data.train), len(data.validation)) == (8, 2)
    assert data.digest == load(yolo, seed=3).digest


def test_labels_of_linked_images_are_beside_the_link(yolo: Path) -> None:
    (yolo / "pool").mkdir()
    (yolo / "images" / "train" / "a.jpg").rename(yolo / "pool" / "x.jpg")
    (yolo / "images" / "train" / "a.jpg").symlink_to(yolo / "pool" / "x.jpg")
    assert len(targets_of(load(yolo).train)[0].labels) == 2


@pytest.mark.parametrize("digits", [4, 5, 6, 7, 16])
def test_boxes_of_whole_pixels_survive_being_written_as_fractions(yolo: Path, digits: int) -> None:
    write_image(yolo / "images" / "train" / "a.jpg", 641, 479)
    corners = np.array([[3, 5, 120, 77], [1, 2, 640, 478], [100, 100, 101, 101], [333, 12, 334, 479]])
    rows = [
        f"0 {(x1 + x2) / 2 / 641:.{digits}f} {(y1 + y2) / 2 / 479:.{digits}f}"
        f" {(x2 - x1) / 641:.{digits}f} {(y2 - y1) / 479:.{digits}f}"
        for x1, y1, x2, y2 in corners
    ]
    label(yolo, "train/a", "\n".join(rows))
    expected = (corners / [641, 479, 641, 479] * 50).astype(np.float32)
    assert np.array_equal(targets_of(load(yolo).train)[0].corners, expected)


BOMB = "a: &a [x, x]\nb: &b [*a, *a]\nnames: *b\n"
BAD_YOLO: dict[str, tuple[Callable[[Path], object], str]] = {
    "no yaml": (lambda r: (r / "data.yaml").unlink(), r"no data\.yaml"),
    "no text": (lambda r: (r / "data.yaml").write_bytes(b"\xff\xfe\xff"), "data.yaml: cannot be read"),
    "half a yaml": (lambda r: (r / "data.yaml").write_text("names: [cat"), "data.yaml: no YAML"),
    "nested": (lambda r: (r / "data.yaml").write_text("[" * 50_000), "data.yaml: no YAML"),
    "a list": (lambda r: (r / "data.yaml").write_text("- a"), "no names of settings"),
    "an alias": (lambda r: (r / "data.yaml").write_text(BOMB), "uses an alias"),
    "an object": (lambda r: (r / "data.yaml").write_text("names: !!python/object:os.x {}"), "no YAML"),
    "no names": (lambda r: (r / "data.yaml").write_text("train: images/train"), "names is None"),
    "same names": (lambda r: (r / "data.yaml").write_text(YAML.replace("dog", "cat")), "same name"),
    "gap": (lambda r: (r / "data.yaml").write_text("names: {0: a, 2: b}"), "number them from 0 on"),
    "nc": (lambda r: (r / "data.yaml").write_text(YAML + "nc: 3"), "nc is 3, but names has 2"),
    "no train": (lambda r: (r / "data.yaml").write_text("names: [cat]"), "train is None"),
    "no folder": (lambda r: (r / "data.yaml").write_text("train: nowhere\nnames: [a]"), "no 'nowhere' in"),
    "upwards": (lambda r: (r / "data.yaml").write_text(f"train: {r.parent}\nnames: [a]"), "lies outside"),
    "path": (lambda r: (r / "data.yaml").write_text("path: /etc\n" + YAML), "path '/etc' lies outside"),
    "a list outwards": (lambda r: (r / "images/l.txt").write_text("../../../x.jpg"), "lies outside"),
    "a list of none": (
        lambda r: (r / "images/l.txt").write_text("train/z.jpg"),
        "l.txt, line 1: no file 'train/z.jpg'",
    ),
    "no images": (lambda r: (r / "images/val/c.jpg").unlink(), "no image in 'images/val'"),
    "class": (
        lambda r: label(r, "train/a", "0 .5 .5 .1 .1\n2 .5 .5 .1 .1"),
        r"a.txt, line 2: class 2 is not in 0\.\.1",
    ),
    "half a class": (lambda r: label(r, "train/a", "0.5 .5 .5 .1 .1"), r"class 0.5 is not in"),
    "negative": (lambda r: label(r, "train/a", "-1 .5 .5 .1 .1"), r"class -1 is not in"),
    "infinite class": (lambda r: label(r, "train/a", "inf .5 .5 .1 .1"), r"class inf is not in"),
    "words": (lambda r: label(r, "train/a", "0 .5 .5 .1 wide"), "a.txt, line 1: .* is no row of numbers"),
    "nan": (lambda r: label(r, "train/a", "0 .5 .5 .1 nan"), "a.txt, line 1: a number is not finite"),
    "too few": (lambda r: label(r, "train/a", "0 .5 .5 .1"), "a.txt, line 1: 3 numbers follow the class"),
    "odd": (lambda r: label(r, "train/a", "0 .5 .5 .1 .1 .1 .1 .1"), "7 numbers follow the class"),
    "no boxes": (lambda r: label(r, "train/a", ""), "none of its 2 training images has a usable box"),
    "in both": (lambda r: (r / "data.yaml").write_text(YAML.replace("val\n", "train\n")), "train and val are the same"),
    "overlap": (lambda r: (r / "data.yaml").write_text(YAML.replace("val\n", "\n")), "a.jpg is to train and to"),
}


@pytest.mark.parametrize("case", BAD_YOLO)
def test_bad_yolo_folders_say_what_and_where(yolo: Path, case: str) -> None:
    damage, message = BAD_YOLO[case]
    if "list" in case and case != "a list":
        (yolo / "data.yaml").write_text(YAML.replace("images/train", "images/l.txt"))
    damage(yolo)
    with pytest.raises(DataError, match=message):
        load(yolo)


def test_images_and_labels_that_link_out_of_the_folder_are_refused(yolo: Path) -> None:
    for path in (yolo / "labels" / "train" / "a.txt", yolo / "images" / "train" / "b.jpg"):
        outside = yolo.parent / f"secret{path.suffix}"
        path.rename(outside)
        path.symlink_to(outside)
        with pytest.raises(DataError, match="lies outside"):
            load(yolo)
        path.unlink()
        outside.rename(path)
