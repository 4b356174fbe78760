"""COCO folders: boxes, polygons and runs, where files may lie, and the errors of bad ones."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from evaluators.data.data_set import DataSet
from evaluators.evaluator import DataError
from tests.support.image_folders import check_boxes, names_of, opened, targets_of, write_image


def load(root: Path, image_size: int = 64, **changes: int) -> DataSet:
    return opened(f"coco:{root}", "boxes", image_size, **changes)


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
    data = load(coco, 50)
    assert data.class_names == ("apple", "zebra")  # by id
    assert (len(data.train), len(data.validation)) == (2, 1)
    assert targets_of(data.train)[0].corners.tolist() == [[5, 10, 30, 40], [0, 20, 25, 50]]
    assert targets_of(data.train)[0].labels.tolist() == [1, 0]
    check_boxes(data.train, 50, 2)


def test_one_coco_file_is_split_by_the_seed(tmp_path: Path) -> None:
    for number in range(1, 13):
        write_image(tmp_path / f"{number}.png")
    (tmp_path / "labels.json").write_text(json.dumps(coco_document(12)))
    data, again = (load(tmp_path) for _ in range(2))
    assert (len(data.train), len(data.validation)) == (10, 2)
    assert data.digest == again.digest


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
        load(coco)
    assert "instances_train2017.json" in str(caught.value)


@pytest.mark.parametrize("text", ["{", "\xff", "[" * 100_000])
def test_what_is_no_json_is_refused(coco: Path, text: str) -> None:
    (coco / "annotations" / "instances_val2017.json").write_text(text, encoding="latin-1")
    with pytest.raises(DataError, match=r"instances_val2017.json: no JSON"):
        load(coco)


def test_several_files_without_known_names_are_refused(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / f"{name}.json").write_text("{}")
    with pytest.raises(DataError, match="found 2 annotation files"):
        load(tmp_path)


# -- where files are, which classes there are -------------------------------------------------------------------------


def test_a_category_that_only_groups_others_is_no_class(coco: Path) -> None:
    for part, first, count in (("train", 1, 2), ("val", 3, 1)):
        document = coco_document(count, first)
        document["categories"] = [
            {"id": 0, "name": "animals", "supercategory": "none"},
            {"id": 7, "name": "zebra", "supercategory": "animals"},
            {"id": 9, "name": "yak", "supercategory": "yak"},
        ]
        write_coco(coco, part, document)
    data = load(coco)
    assert data.class_names == ("zebra", "yak")
    assert targets_of(data.train)[0].labels.tolist() == [0]
    # An object of the group itself makes it a class, in whichever split it is
    document["annotations"][0]["category_id"] = 0
    write_coco(coco, "val", document)
    assert load(coco).class_names == ("animals", "zebra", "yak")


def test_a_folder_for_each_split_with_the_file_beside_its_images(tmp_path: Path) -> None:
    for split, first, count in (("train", 1, 2), ("valid", 3, 1), ("test", 4, 1)):
        for number in range(first, first + count):
            write_image(tmp_path / split / f"{number}.png")
        (tmp_path / split / "_annotations.coco.json").write_text(json.dumps(coco_document(count, first)))
    data = load(tmp_path)
    assert (names_of(data.train), names_of(data.validation)) == (["1.png", "2.png"], ["3.png"])


@pytest.mark.parametrize("validation", ["val", "valid", "validation", "test"])
def test_files_with_the_plain_names_of_splits(coco: Path, validation: str) -> None:
    before = load(coco).digest
    for name, renamed in (("train", "train"), ("val", validation)):
        (coco / "annotations" / f"instances_{name}2017.json").rename(coco / "annotations" / f"{renamed}.json")
    (coco / "train2017").rename(coco / "train")
    assert load(coco).digest == before


def test_a_folder_to_train_with_alone_is_split(tmp_path: Path) -> None:
    for number in range(1, 11):
        write_image(tmp_path / "train" / f"{number}.png")
    (tmp_path / "train" / "_annotations.coco.json").write_text(json.dumps(coco_document(10)))
    data = load(tmp_path)
    assert (len(data.train), len(data.validation)) == (8, 2)


@pytest.mark.parametrize("folder", ["", "annotations"])
def test_a_file_is_read_alone_and_split(tmp_path: Path, folder: str) -> None:
    for number in range(1, 6):
        write_image(tmp_path / "images" / f"{number}.png")
    (tmp_path / folder).mkdir(exist_ok=True)
    path = tmp_path / folder / "labels.json"
    path.write_text(json.dumps(coco_document(5)))
    before = load(tmp_path).digest
    (tmp_path / folder / "more.json").write_text("{}")
    data = load(path)
    assert (len(data.train), len(data.validation)) == (4, 1)
    assert data.digest == before
    with pytest.raises(DataError, match=r"no file '.*none\.json'; give coco:FILE"):
        load(tmp_path / "none.json")


def test_a_folder_may_be_a_link_itself(coco: Path) -> None:
    link = coco.parent / "link"
    link.symlink_to(coco)
    assert load(link).digest == load(coco).digest
    assert load(link / "annotations" / "instances_train2017.json").class_names == ("apple", "zebra")


@pytest.mark.parametrize("size", [{"width": 100, "height": 50}, {"width": 0, "height": 0}, {"width": "x"}])
def test_the_size_of_an_image_may_be_stated(coco: Path, size: dict[str, Any]) -> None:
    before = load(coco).digest
    write_coco(coco, "train", changed(images=size))
    assert load(coco).digest == before


def test_boxes_on_an_image_of_another_size_are_refused(coco: Path) -> None:
    write_coco(coco, "train", changed(images={"width": 200, "height": 100}))
    with pytest.raises(DataError, match=r"1\.png: 100 x 50 px, but its annotation was drawn on 200 x 100 px"):
        load(coco)


def test_without_a_file_to_validate_with_that_to_test_with_is_taken(coco: Path) -> None:
    (coco / "annotations" / "instances_val2017.json").rename(coco / "annotations" / "instances_test2017.json")
    assert names_of(load(coco).validation) == ["3.png"]


def test_images_are_in_the_order_of_their_names_whatever_the_files_order(coco: Path) -> None:
    document = coco_document(2)
    document["annotations"][0]["bbox"] = [0, 0, 100, 50]
    write_coco(coco, "train", document)
    before = load(coco)
    assert names_of(before.train) == ["1.png", "2.png"]
    document["images"].reverse()
    write_coco(coco, "train", document)
    assert names_of(load(coco).train) == ["1.png", "2.png"]
    assert load(coco).digest == before.digest


# -- masks ------------------------------------------------------------------------------------------------------------


def segmented(coco: Path, *segmentations: object) -> Any:
    """The mask at 50 px of the first training image with an object of each segmentation: zebra, then apple."""
    document = coco_document(2)
    document["annotations"] = [
        {"id": n, "image_id": 1, "category_id": (7, 3)[n % 2], "segmentation": segmentation}
        for n, segmentation in enumerate(segmentations)
    ]
    write_coco(coco, "train", document)
    validation = coco_document(1, 3)
    validation["annotations"][0]["segmentation"] = [[0, 0, 9, 0, 9, 9]]
    write_coco(coco, "val", validation)
    data = opened(f"coco:{coco}", "masks", 50)
    assert data.class_names == ("background", "apple", "zebra")
    return targets_of(data.train)[0]


def test_polygons_are_painted_in_the_order_of_the_file(coco: Path) -> None:
    mask = segmented(coco, [[20, 10, 60, 10, 60, 40, 20, 40]], [[0, 20, 40, 20, 40, 50, 0, 50]])
    expected = np.zeros((50, 50), np.uint8)
    expected[10:40, 10:30] = 2  # halved in width
    expected[20:50, 0:20] = 1
    assert np.array_equal(mask, expected)


def test_runs_are_columns_and_texts_of_them_are_read(coco: Path) -> None:
    """Columns 10 to 19, 5 of 100 x 50 px high: as a list, and as COCO's own tool writes it."""
    counts = [10 * 50] + [5, 45] * 9 + [5, 45 + 80 * 50]
    expected = np.zeros((50, 50), np.uint8)
    expected[0:5, 5:10] = 2
    assert np.array_equal(segmented(coco, {"size": [50, 100], "counts": counts}), expected)
    assert np.array_equal(segmented(coco, {"size": [50, 100], "counts": compressed(counts)}), expected)


def compressed(counts: list[int]) -> str:
    """Runs as COCO's text, from its description: 5 bits a character, differences to the run before the last."""
    text = ""
    for number, count in enumerate(counts):
        value = count - counts[number - 2] if number > 2 else count
        while True:
            bits, value = value & 31, value >> 5
            done = value == (-1 if bits & 16 else 0)
            text += chr(48 + (bits if done else bits | 32))
            if done:
                break
    return text


@pytest.mark.parametrize(
    "segmentation",
    [
        None,
        [],
        [[1, 2, 3, 4]],
        [[1, 2, 3, 4, 5, float("nan")]],
        [["a"] * 6],
        {"size": [50, 100], "counts": [4999]},
        {"size": [50, 100], "counts": [-1, 5001]},
        {"size": [50, 100], "counts": "~~~"},
        {"size": [10**9, 10**9], "counts": [1]},
        {"counts": [5000]},
    ],
)
def test_masks_that_are_none_say_where(coco: Path, segmentation: object) -> None:
    with pytest.raises(DataError, match=r"instances_train2017.json: annotation 0: "):
        segmented(coco, segmentation)


def test_runs_of_another_size_than_the_image_are_refused(coco: Path) -> None:
    with pytest.raises(DataError, match=r"1.png: a mask of runs: 50 x 100 px, its image 100 x 50"):
        segmented(coco, {"size": [100, 50], "counts": [5000]})
