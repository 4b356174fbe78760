"""Images to classify and to segment: digits, class folders, Pascal VOC's masks, and the errors of bad folders."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from evaluators.data.detection import load_detection_data
from evaluators.data.digits import DIGITS, draw_scenes, draw_singles
from evaluators.data.images import IGNORE_INDEX
from evaluators.data.labelled_images import (
    ImageData,
    classification_classes,
    load_classification_data,
    load_segmentation_data,
    segmentation_classes,
)
from evaluators.evaluator import DataError


def classify(text: str, **changes: int) -> ImageData:
    return load_classification_data(text, **{"image_size": 16, "seed": 0, **changes})


def segment(text: str, **changes: int) -> ImageData:
    return load_segmentation_data(text, **{"image_size": 16, "seed": 0, **changes})


def picture(path: Path, colour: tuple[int, int, int], size: tuple[int, int] = (20, 12)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, colour).save(path)


def class_folders(root: Path, parts: tuple[str, ...], count: int = 3) -> Path:
    """``parts``, each with images of one grey for each class: 10 for ``cat``, 200 for ``dog``."""
    for part in parts:
        for name, grey in (("cat", 10), ("dog", 200)):
            for number in range(count):
                picture(root / part / name / f"{number}.png", (grey,) * 3)
    return root


def voc_masks(root: Path, *, lists: bool = True) -> Path:
    """Two images of 20 x 12 px: class 1 on the left half, ``IGNORE_INDEX`` in the top right quarter, else 0."""
    mask = np.zeros((12, 20), np.uint8)
    mask[:, :10] = 1
    mask[:6, 10:] = IGNORE_INDEX
    for name in ("one", "two"):
        picture(root / "JPEGImages" / f"{name}.jpg", (90, 90, 90))
        (root / "SegmentationClass").mkdir(exist_ok=True)
        coloured = Image.fromarray(mask).convert("P")
        coloured.putpalette([i // 3 for i in range(768)])
        coloured.putdata(mask.ravel().tolist())
        coloured.save(root / "SegmentationClass" / f"{name}.png")
    if lists:
        folder = root / "ImageSets" / "Segmentation"
        folder.mkdir(parents=True)
        (folder / "train.txt").write_text("one\n")
        (folder / "val.txt").write_text("two\n")
    return root


# -- digits -----------------------------------------------------------------------------------------------------------


def test_every_handwritten_digit_is_drawn_once() -> None:
    data = classify("digits", max_train_images=5000, max_val_images=5000)
    assert (len(data.train), len(data.validation)) == (1438, 359)
    from sklearn.datasets import load_digits

    counts = np.bincount(np.concatenate([data.train.targets, data.validation.targets]))
    assert counts.tolist() == np.bincount(load_digits().target).tolist()
    assert data.class_names == DIGITS == classification_classes("digits")


def test_the_same_seed_draws_the_same_digits() -> None:
    first, again, other = (classify("digits", seed=s, max_train_images=9, max_val_images=3) for s in (0, 0, 1))
    assert np.array_equal(first.train.images, again.train.images)
    assert first.digest == again.digest != other.digest
    with pytest.raises(ValueError, match="read-only"):
        first.train.images[0] = 0


def test_a_digit_stands_out_from_its_canvas() -> None:
    """Removing the digit is what its label is about: the brightest part of an image is its ink."""
    singles, _ = draw_singles(48, 0, 20, 1)
    assert all(np.ptp(image.mean(0)) > 60 for image in singles.images)


def test_scenes_are_those_of_detection_and_masks_lie_in_their_boxes() -> None:
    scenes, held_out = draw_scenes(64, 3, 12, 4)
    detection = load_detection_data("digits", image_size=64, seed=3, max_train_images=12, max_val_images=4)
    assert np.array_equal(scenes.images, detection.train.images)
    assert np.array_equal(held_out.images, detection.validation.images)
    for mask, boxes, labels in zip(scenes.masks, scenes.boxes, scenes.labels, strict=True):
        assert set(np.unique(mask)) - {0} == {label + 1 for label in labels}
        inside = np.zeros_like(mask, bool)
        for x1, y1, x2, y2 in boxes.astype(int):
            inside[y1:y2, x1:x2] = True
        assert not mask[~inside].any()
        assert 0.2 < (mask[inside] > 0).mean() < 0.9
    data = segment("digits", image_size=64, seed=3, max_train_images=12, max_val_images=4)
    assert np.array_equal(data.train.targets, scenes.masks)
    assert data.class_names == ("background", *DIGITS) == segmentation_classes("digits")


# -- class folders ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("held_out", ["val", "test"])
def test_class_folders_with_a_split(tmp_path: Path, held_out: str) -> None:
    class_folders(tmp_path, ("train", held_out))
    (tmp_path / "train" / "cat" / "Thumbs.db").write_text("no image")
    (tmp_path / "train" / ".hidden").mkdir()
    data = classify(f"folder:{tmp_path}")
    assert data.class_names == ("cat", "dog") == classification_classes(f"folder:{tmp_path}")
    for split in (data.train, data.validation):
        assert split.targets.tolist() == [0, 0, 0, 1, 1, 1]
        assert [int(image.mean()) for image in split.images] == [10, 10, 10, 200, 200, 200]


def test_class_folders_without_a_split_are_split_class_by_class(tmp_path: Path) -> None:
    class_folders(tmp_path, ("",), count=10)
    data = classify(f"folder:{tmp_path}")
    assert data.train.targets.tolist() == [0] * 8 + [1] * 8
    assert data.validation.targets.tolist() == [0] * 2 + [1] * 2
    few = classify(f"folder:{tmp_path}", max_train_images=5, max_val_images=1)
    assert (len(few.train), len(few.validation)) == (5, 1)
    assert classify(f"folder:{tmp_path}").digest == data.digest != few.digest


def test_class_folders_that_are_wrong(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="give digits or folder:FOLDER"):
        classify("voc:somewhere")
    with pytest.raises(DataError, match="no folder '/does/not/exist'"):
        classify("folder:/does/not/exist")
    (tmp_path / "train" / "cat").mkdir(parents=True)
    with pytest.raises(DataError, match="none of val, validation, test beside it"):
        classify(f"folder:{tmp_path}")
    (tmp_path / "val" / "cat").mkdir(parents=True)
    with pytest.raises(DataError, match="1 folders of images; two classes"):
        classify(f"folder:{tmp_path}")
    class_folders(tmp_path, ("train",))
    (tmp_path / "val" / "fox").mkdir()
    with pytest.raises(DataError, match=r"val: no folder 'dog', a class of .*train; add it"):
        classify(f"folder:{tmp_path}")
    (tmp_path / "val" / "dog").mkdir()
    with pytest.raises(DataError, match=r"train: no folder 'fox', a class of .*val; add it"):
        classify(f"folder:{tmp_path}")
    (tmp_path / "val" / "fox").rmdir()
    with pytest.raises(DataError, match=r"val/cat: no image in it"):
        classify(f"folder:{tmp_path}")
    class_folders(tmp_path, ("val",))
    (tmp_path / "train" / "cat" / "0.png").write_bytes(b"\x89PNG\r\n\x1a\n then nothing")
    with pytest.raises(DataError, match=r"cat/0.png: cannot be read"):
        classify(f"folder:{tmp_path}")


def test_a_link_out_of_the_folder_is_refused(tmp_path: Path) -> None:
    picture(tmp_path / "secret.png", (1, 2, 3))
    root = class_folders(tmp_path / "data", ("",))
    (root / "cat" / "link.png").symlink_to(tmp_path / "secret.png")
    with pytest.raises(DataError, match="lies outside"):
        classify(f"folder:{root}")


def test_a_class_of_one_image_cannot_be_split(tmp_path: Path) -> None:
    class_folders(tmp_path, ("",))
    picture(tmp_path / "fox" / "only.png", (9, 9, 9))
    with pytest.raises(DataError, match="fox: one image; a split needs two"):
        classify(f"folder:{tmp_path}")


def test_cifar_10_as_it_is_unpacked(tmp_path: Path, shared: Callable[[str], Path]) -> None:
    """Both splits from the archive's test images, which come first: reading on to the others takes seconds."""
    import tarfile

    splits = {"0001.jpg": "train", "0002.jpg": "train", "0003.jpg": "test", "0004.jpg": "test"}
    with tarfile.open(shared("data/cifar10") / "cifar10-jpeg.tar.xz") as archive:
        for member in archive:
            part, _, path = member.name.partition("/")
            if part != "test":
                break
            if split := splits.get(Path(path).name):
                archive.extract(member.replace(name=f"{split}/{path}", deep=False), tmp_path, filter="data")
    data = classify(f"folder:{tmp_path}", image_size=32)
    assert data.class_names == (
        "airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"
    )  # fmt: skip
    assert (len(data.train), len(data.validation)) == (20, 20)


# -- masks ------------------------------------------------------------------------------------------------------------


def test_masks_follow_their_images(tmp_path: Path) -> None:
    data = segment(f"voc:{voc_masks(tmp_path)}", image_size=16)
    mask = data.train.targets[0]
    assert (mask[:, :8] == 1).all()
    assert (mask[:8, 8:] == IGNORE_INDEX).all()
    assert (mask[8:, 8:] == 0).all()
    assert len(data.class_names) == 21
    assert data.class_names[15] == "person"


def test_masks_without_lists_are_split(tmp_path: Path) -> None:
    data = segment(f"voc:{voc_masks(tmp_path, lists=False)}")
    assert (len(data.train), len(data.validation)) == (1, 1)


def test_classes_have_the_names_of_a_file(tmp_path: Path) -> None:
    voc_masks(tmp_path)
    (tmp_path / "class_names.txt").write_text("nothing\nleaf\n")
    assert segment(f"voc:{tmp_path}").class_names == ("nothing", "leaf")


def test_masks_that_are_wrong(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="give digits or voc:FOLDER"):
        segment("coco:somewhere")
    (tmp_path / "JPEGImages").mkdir()
    with pytest.raises(DataError, match="no folder SegmentationClass in it"):
        segment(f"voc:{tmp_path}")
    voc_masks(tmp_path)
    mask = tmp_path / "SegmentationClass" / "one.png"
    for bad, message in (
        (np.zeros((20, 12), np.uint8), "12 x 20 px, its image 20 x 12"),
        (np.full((12, 20), 21, np.uint8), r"pixel value 21 is no class; there are 0\.\.20, and 255 for none"),
        (np.zeros((12, 20, 3), np.uint8), "its pixels are RGB"),
        (np.full((12, 20), IGNORE_INDEX, np.uint8), "no pixel of its 1 training masks has a class"),
    ):
        Image.fromarray(bad).save(mask)
        with pytest.raises(DataError, match=message):
            segment(f"voc:{tmp_path}")
    mask.write_bytes(b"no PNG")
    with pytest.raises(DataError, match=r"one.png: cannot be read as a PNG"):
        segment(f"voc:{tmp_path}")
    mask.unlink()
    with pytest.raises(DataError, match=r"no mask one\.png, which the lists name"):
        segment(f"voc:{tmp_path}")
    (tmp_path / "ImageSets" / "Segmentation" / "train.txt").write_text("../one\n")
    with pytest.raises(DataError, match="is a path; list names without folders"):
        segment(f"voc:{tmp_path}")
    (tmp_path / "ImageSets" / "Segmentation" / "train.txt").write_text("two\n")
    with pytest.raises(DataError, match=r"two is in train.txt and in val.txt"):
        segment(f"voc:{tmp_path}")
    (tmp_path / "class_names.txt").write_text("a\na\n")
    with pytest.raises(DataError, match="2 names; give 2 to 255 that differ"):
        segment(f"voc:{tmp_path}/.")  # names are read once a process: another text


def test_numbers_that_make_no_sense_are_refused() -> None:
    for load in (classify, segment):
        with pytest.raises(DataError, match="image_size 8 px is outside"):
            load("digits", image_size=8)
        with pytest.raises(DataError, match="at least one image a split"):
            load("digits", max_val_images=0)
