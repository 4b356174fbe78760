"""NumPy archives: images, classes, masks, arrays that stay on the disk, and the errors of bad archives."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from evaluators.data.data_set import DataSet
from evaluators.data.images import IGNORE_INDEX
from evaluators.evaluator import DataError
from tests.support.image_folders import images_of, opened, targets_of

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (20, 16, 16, 3), np.uint8)
LABELS = np.arange(20) % 2


def load(path: Path, annotation: str = "class", **changes: int) -> DataSet:
    return opened(f"npz:{path}", annotation, **{"image_size": 16, **changes})


def save(folder: Path, compressed: bool = False, **arrays: Any) -> Path:
    path = folder / "data.npz"
    (np.savez_compressed if compressed else np.savez)(path, **arrays)
    return path


@pytest.mark.parametrize("compressed", [False, True])
def test_images_are_those_of_the_arrays(tmp_path: Path, compressed: bool) -> None:
    arrays = {"x_train": IMAGES[:12], "y_train": LABELS[:12, None], "x_test": IMAGES[12:], "y_test": LABELS[12:]}
    data = load(save(tmp_path, compressed, **arrays, class_names=["even", "odd"]))
    assert data.class_names == ("even", "odd")
    assert targets_of(data.train).tolist() == [0] * 6 + [1] * 6
    assert np.array_equal(images_of(data.train), IMAGES[[*range(0, 12, 2), *range(1, 12, 2)]].transpose(0, 3, 1, 2))
    assert data.train.sources(np.array([1]))[0].endswith("data.npz: x_train[2]")
    assert len(data.validation) == 8


def test_a_fortran_array_and_one_without_a_split(tmp_path: Path) -> None:
    plain = load(save(tmp_path, images=IMAGES, labels=LABELS))
    pixels, digest = images_of(plain.train), plain.digest
    again = load(save(tmp_path, images=np.asfortranarray(IMAGES), labels=LABELS))
    assert np.array_equal(images_of(again.train), pixels)
    assert (len(again.train), len(again.validation)) == (16, 4)
    assert again.digest == digest


def test_channels_and_depth_are_those_of_the_arrays(tmp_path: Path) -> None:
    grey = load(save(tmp_path, x=IMAGES[..., 0], y=LABELS))
    assert grey.channels == 1
    assert np.array_equal(images_of(grey.train)[0, 0], IMAGES[..., 0][0])
    wide = RNG.integers(0, 65536, (20, 6, 16, 16), np.uint16)
    data = load(save(tmp_path, x=wide, y=LABELS))
    assert (data.channels, str(images_of(data.train).dtype)) == (6, "uint16")
    assert np.array_equal(images_of(data.train)[0], wide[0])


def test_masks(tmp_path: Path) -> None:
    masks = RNG.integers(0, 3, (20, 16, 16))
    masks[0, 0, 0] = IGNORE_INDEX
    data = load(save(tmp_path, images=IMAGES, labels=masks), "masks")
    assert data.class_names == ("0", "1", "2")
    everything = [*targets_of(data.train), *targets_of(data.validation)]
    assert sorted(mask.tobytes() for mask in everything) == sorted(m.tobytes() for m in masks.astype(np.uint8))


def test_an_archive_that_has_become_shorter_is_an_error(tmp_path: Path) -> None:
    path = save(tmp_path, images=IMAGES, labels=LABELS)
    data = load(path)
    path.write_bytes(path.read_bytes()[:600])
    with pytest.raises(DataError, match="cannot be read as a NumPy archive"):
        images_of(data.train)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"pictures": IMAGES}, "has pictures; give it x_train and y_train"),
        ({"x": IMAGES[0, 0], "y": LABELS}, r"x is \(16, 3\); images are"),
        ({"x": IMAGES, "y": LABELS[:5]}, r"y is \(5,\) beside x .*one class an image"),
        ({"x": IMAGES, "y": LABELS + 0.5}, "y holds float64"),
        ({"x": IMAGES, "y": LABELS - 1}, "y holds -1"),
        ({"x": IMAGES, "y": LABELS, "class_names": ["one"]}, "class_names are 1, labels go up to 1"),
        ({"x": np.array([object()] * 20), "y": LABELS}, "x.npy holds Python objects"),
        ({"x": IMAGES.astype("U3"), "y": LABELS}, r"x\[0\]: <U3 .* is no image"),
    ],
)
def test_arrays_that_do_not_fit_say_so(tmp_path: Path, arrays: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        load(save(tmp_path, **arrays))


def test_archives_that_are_none_or_claim_too_much(tmp_path: Path) -> None:
    path = tmp_path / "data.npz"
    with pytest.raises(DataError, match="no file"):
        load(path)
    path.write_bytes(b"PK no zip")
    with pytest.raises(DataError, match="cannot be read as a NumPy archive"):
        load(path)
    header = b"{'descr': '|u1', 'fortran_order': False, 'shape': (9999999, 99999, 3), }"
    head = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header
    for compression in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        with zipfile.ZipFile(path, "w", compression) as archive:
            archive.writestr("x.npy", head + b"\0" * 100)
        with pytest.raises(DataError, match=r"x.npy unpacks to 2999969700003 bytes, too many"):
            load(path)
