"""Data sets that are objects of a Python program."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from evaluators.data import on_demand
from evaluators.data.catalog import data_spec, data_text
from evaluators.data.data_set import DataSet
from evaluators.data.open import open_data_set
from evaluators.evaluator import DataError
from tests.support.image_folders import images_of, opened, read_all, targets_of

RNG = np.random.default_rng(0)
ARRAYS = RNG.integers(0, 256, (12, 20, 30, 3), np.uint8)


class Listed:
    """As torchvision's: items by index, ``classes`` and ``targets``; it counts how often an item was had."""

    classes = ("cat", "dog")

    def __init__(self, count: int = 12) -> None:
        self.targets = [number % 2 for number in range(count)]
        self.had = 0

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, index: int) -> tuple[Any, int]:
        self.had += 1
        return Image.fromarray(ARRAYS[index % 12]), self.targets[index]


def classify(data: Any, **changes: int) -> DataSet:
    return opened(data, "class", **{"image_size": 16, **changes})


def test_images_are_had_when_they_are_wanted() -> None:
    source = Listed(500)
    data = classify(source)
    assert data.class_names == ("cat", "dog")
    assert (len(data.train), len(data.validation)) == (400, 100)
    had = source.had
    assert had < 40
    data.train.images(np.arange(5))
    assert source.had == had + 5
    assert data.validation.sources(np.array([0]))[0].startswith("Listed, item ")


def test_pixels_are_the_same_as_of_a_file(tmp_path: Any) -> None:
    for number, array in enumerate(ARRAYS):
        folder = tmp_path / ("dog" if number % 2 else "cat")
        folder.mkdir(exist_ok=True)
        Image.fromarray(array).save(folder / f"{number:02}.png")
    from_files = classify(f"folder:{tmp_path}")
    for convert in (
        Image.fromarray,
        np.asarray,
        lambda array: torch.from_numpy(array).permute(2, 0, 1),
    ):
        data = classify([(convert(array), number % 2) for number, array in enumerate(ARRAYS)])
        assert np.array_equal(images_of(data.train), images_of(from_files.train))
        assert np.array_equal(images_of(data.validation), images_of(from_files.validation))


def test_floats_are_normalised_by_what_they_are() -> None:
    tensors = [(torch.rand(3, 20, 30) * 0.5 + 2, number % 3) for number in range(12)]
    data = classify(tensors)
    assert data.class_names == ("0", "1", "2")
    pixels = images_of(data.train).astype(np.float64)
    assert data.normalisation.mean == pytest.approx(pixels.mean((0, 2, 3)), rel=1e-5)
    assert data.normalisation.std == pytest.approx(pixels.std((0, 2, 3)), rel=1e-4)


def test_two_data_sets_and_mappings_of_them() -> None:
    train, held_out = Listed(12), Listed(6)
    for both in ((train, held_out), {"train": train, "test": held_out}, {"train": train, "val": held_out, "test": 3}):
        data = classify(both)
        assert (len(data.train), len(data.validation)) == (12, 6)
    two_samples = ((ARRAYS[0], 0), (ARRAYS[1], 1))
    with pytest.raises(DataError, match="one image; a split needs two"):
        classify(two_samples)


class Named:
    names = ("ant", "bee")


class Rows:
    """As Hugging Face's: mappings, ``features`` and ``column_names``."""

    column_names = ("image", "label")

    def __init__(self) -> None:
        self.features = {"image": None, "label": Named()}

    def __len__(self) -> int:
        return 12

    def __getitem__(self, key: Any) -> Any:
        if key == "label":
            return [number % 2 for number in range(12)]
        return {"image": Image.fromarray(ARRAYS[key]), "label": key % 2}


def test_rows_with_features() -> None:
    data = classify(Rows())
    assert data.class_names == ("ant", "bee")
    assert np.array_equal(images_of(data.train), images_of(classify(Listed()).train))


def test_texts_are_classes() -> None:
    data = classify([{"img": array, "label": "ab"[number % 2]} for number, array in enumerate(ARRAYS)])
    assert data.class_names == ("a", "b")
    assert targets_of(data.validation).tolist() == [0, 1]


def test_boxes_by_corners_and_by_extents() -> None:
    corners, labels = [[3, 2, 15, 12], [0, 0, 30, 20]], [1, 0]
    extents = [[3, 2, 12, 10], [0, 0, 30, 20]]
    expected = None
    for targets in (
        {"boxes": corners, "labels": labels},
        {"boxes": torch.tensor(corners), "labels": torch.tensor(labels)},
        {"bbox": extents, "category": labels},
    ):
        as_pairs = [(array, targets) for array in ARRAYS]
        as_rows = [{"image": array, "objects": targets} for array in ARRAYS]
        for source in (as_pairs, as_rows):
            data = opened(source, "boxes", 40)
            boxes = targets_of(data.train)[0]
            assert boxes.labels.tolist() == labels
            assert boxes.corners == pytest.approx(np.array([[4, 4, 20, 24], [0, 0, 40, 40]]))
            expected = expected or data.digest
            assert data.digest == expected


def test_masks() -> None:
    mask = np.zeros((20, 30), np.uint8)
    mask[:, 15:] = 2
    for form in (mask, Image.fromarray(mask), torch.from_numpy(mask)[None].long()):
        data = opened([(array, form) for array in ARRAYS], "masks", 16)
        assert data.class_names == ("0", "1", "2")
        assert (targets_of(data.train)[0] == np.repeat([0, 2], 8)).all()


def test_the_digest_is_of_pixels_and_targets_and_says_where_it_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    def digest(change: int | None = None, label: int = 0) -> str:
        arrays = ARRAYS.copy()
        if change is not None:
            arrays[change, 5, 5] ^= 1
        return classify([(array, label ^ (number % 2)) for number, array in enumerate(arrays)]).digest

    assert digest() == digest()
    assert len({digest(), digest(3), digest(11), digest(label=1)}) == 4
    monkeypatch.setattr(on_demand, "MAX_HASHED_OBJECTS", 2)
    assert digest() != digest(0)
    assert len({digest(number) for number in range(12)}) < 12


def test_it_is_the_same_data_after_a_journey_and_opened_once() -> None:
    spec = data_spec([(array, number % 2) for number, array in enumerate(ARRAYS)])
    travelled = pickle.loads(pickle.dumps(spec))  # noqa: S301 - what was just written
    assert travelled == spec
    assert hash(travelled) == hash(spec)
    arguments: dict[str, Any] = {"image_size": 16, "max_train_images": 8}
    assert open_data_set(travelled, "class", **arguments) is open_data_set(spec, "class", **arguments)
    assert data_text(spec) == str(spec) == "python:list of 12 samples"
    with pytest.raises(DataError, match="give it the object, in Python"):
        data_spec(data_text(spec))


class Broken(Listed):
    def __getitem__(self, index: int) -> tuple[Any, int]:
        if index == 7:
            raise RuntimeError("no such page")
        return super().__getitem__(index)


def test_what_goes_wrong_has_the_number_of_the_item() -> None:
    with pytest.raises(DataError, match=r"Broken, item 7: cannot be had \(RuntimeError: no such page\)"):
        read_all(classify(Broken()))
    pairs: list[Any] = [(array, number % 2) for number, array in enumerate(ARRAYS)]
    for bad, message in (
        ((ARRAYS[0], 0.5), "item 3: label 0.5 is no class"),
        ((ARRAYS[0], "a"), "labels are numbers and texts"),
        ((ARRAYS[0], -1), "label -1 is no class"),
        ((np.zeros((2, 3, 4, 5)), 0), r"item 3: float64 \(2, 3, 4, 5\) is no image"),
        (5, "item 3: int; give"),
        ({"picture": 1, "label": 0}, "item 3: no image or img"),
        ({"image": 1}, "item 3: no label or labels"),
    ):
        source = [*pairs]
        source[3] = bad
        with pytest.raises(DataError, match=message):
            read_all(classify(source))
    for target, message in (
        ({"boxes": [[1, 2, 3]], "labels": [0]}, "item 0: box .* is not four numbers"),
        ({"boxes": [[1, 2, 3, 4]], "labels": []}, "item 0: 1 boxes and 0 labels"),
        ({"boxes": []}, "item 0: no boxes and labels among boxes"),
        (3, "item 0: int has no boxes"),
    ):
        with pytest.raises(DataError, match=message):
            opened([(array, target) for array in ARRAYS], "boxes")
    for wrong in (3, [], [1, 2, 3], {"test": pairs}, object()):
        with pytest.raises(DataError, match=r"no data set|give train"):
            classify(wrong)
