"""Pascal VOC folders: boxes, masks, splits, and the errors of bad ones."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from evaluators.data import pillow_images
from evaluators.data.data_set import DataSet
from evaluators.data.formats.voc import MAX_XML_BYTES
from evaluators.data.images import IGNORE_INDEX
from evaluators.evaluator import DataError
from tests.support.image_folders import (
    check_boxes,
    images_of,
    opened,
    read_all,
    targets_of,
    voc_object,
    write_image,
    write_noise,
    write_sized_voc,
    write_voc,
)


def load(root: Path, image_size: int = 64, **changes: int) -> DataSet:
    return opened(f"voc:{root}", "boxes", image_size, **changes)


def segment(root: Path, **changes: int) -> DataSet:
    return opened(f"voc:{root}", "masks", **{"image_size": 16, **changes})


# -- boxes ------------------------------------------------------------------------------------------------------------


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
    data = load(voc, 50)
    assert data.class_names == ("cat", "dog")
    # Halved in width, as high as before; clipped; without area, outside and difficult are dropped.
    assert targets_of(data.train)[0].corners.tolist() == [[5, 10, 30, 40], [0, 25, 50, 50]]
    assert targets_of(data.train)[0].labels.tolist() == [1, 0]
    assert targets_of(data.validation)[0].corners.tolist() == [[5, 10, 30, 40]]
    check_boxes(data.train, 50, 2)
    assert abs(images_of(data.train)[0].mean(axis=(1, 2)) - [200, 30, 30]).max() < 4


def test_voc_without_lists_is_split_by_the_seed(voc: Path) -> None:
    (voc / "ImageSets" / "Main" / "val.txt").unlink()
    for number in range(10):
        write_image(voc / "JPEGImages" / f"n{number}.png")
        write_voc(voc, f"n{number}", voc_object("cat", number, 0, 50, 50))
    data, again, other = (load(voc, seed=seed) for seed in (0, 0, 5))
    assert (len(data.train), len(data.validation)) == (10, 2)
    assert data.digest == again.digest != other.digest


def test_voc_is_cut_to_the_most_images_wanted(voc: Path) -> None:
    names = [f"n{number}" for number in range(6)]
    for number, name in enumerate(names):
        write_image(voc / "JPEGImages" / f"{name}.jpg")
        write_voc(voc, name, voc_object("cat", number, 0, 50, 50))
    (voc / "ImageSets" / "Main" / "train.txt").write_text("\n".join(names))
    data = load(voc, max_train_images=3)
    assert (len(data.train), len(data.validation)) == (3, 1)
    assert data.digest == load(voc, max_train_images=3).digest


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
    "fractions": (lambda r: write_voc(r, "a", voc_object("cat", 0.1, 0.2, 0.6, 1)), "a.xml: its boxes are fractions"),
    "another size": (
        lambda r: write_sized_voc(r, "a", 200, 100, voc_object("cat", 1, 2, 30, 40)),
        "a.jpg: 100 x 50 px, but its annotation was drawn on 200 x 100 px",
    ),
    "sides exchanged": (
        lambda r: write_sized_voc(r, "a", 50, 100, voc_object("cat", 1, 2, 30, 90)),
        "a.jpg: 100 x 50 px, but its annotation was drawn on 50 x 100 px",
    ),
    "a path": (lambda r: (r / "ImageSets/Main/val.txt").write_text("../b"), "'../b' is a path"),
}


@pytest.mark.parametrize("case", BAD_VOC)
def test_bad_voc_folders_say_what_and_where(voc: Path, case: str) -> None:
    damage, message = BAD_VOC[case]
    damage(voc)
    with pytest.raises(DataError, match=message):
        read_all(load(voc))


@pytest.mark.parametrize(
    ("width", "height"), [(100, 50), (0, 0), ("", ""), ("unknown", 50), (50, 100), ("9" * 5000, 50), ("\u00b2", 50)]
)
def test_sizes_that_do_no_harm_change_nothing(voc: Path, width: object, height: object) -> None:
    """The image's, none, or the sides exchanged around boxes that are inside the image."""
    before = load(voc).digest
    write_sized_voc(voc, "a", width, height, voc_object("cat", 10, 10, 60, 40))
    data = load(voc)
    assert targets_of(data.train)[0].labels.tolist() == [0]
    assert data.digest == before


def test_one_pixel_in_the_corner_is_a_box(voc: Path) -> None:
    write_voc(voc, "a", voc_object("cat", 0, 0, 1, 1))
    assert targets_of(load(voc).train)[0].corners.tolist() == [pytest.approx([0, 0, 0.64, 1.28])]


@pytest.mark.parametrize("annotations", ["Annotations", "annotations", "annots"])
@pytest.mark.parametrize("images", ["JPEGImages", "images"])
@pytest.mark.parametrize("held_out", ["val", "valid", "validation", "test"])
def test_folders_and_lists_by_any_of_their_names(voc: Path, annotations: str, images: str, held_out: str) -> None:
    before = load(voc).digest
    (voc / "Annotations").rename(voc / annotations)
    (voc / "JPEGImages").rename(voc / images)
    (voc / "ImageSets" / "Main" / "val.txt").rename(voc / "ImageSets" / "Main" / f"{held_out}.txt")
    assert load(voc).digest == before


@pytest.mark.parametrize("suffix", [".Jpg", ".JPG", ".jPeG", ".PNG", ".Gif", ".WebP", ".tIf"])
def test_suffixes_in_any_letters(voc: Path, suffix: str) -> None:
    (voc / "JPEGImages" / "a.jpg").unlink()
    write_image(voc / "JPEGImages" / f"a{suffix}")
    data = read_all(load(voc))
    assert Path(data.train.sources(np.array([0]))[0]).name == f"a{suffix}"
    assert abs(images_of(data.train)[0].mean(axis=(1, 2)) - [200, 30, 30]).max() < 4


def test_of_two_images_with_a_name_that_with_the_usual_suffix_is_read(voc: Path) -> None:
    for suffix in (".PNG", ".Jpg", ".tiff", ".gif"):
        write_image(voc / "JPEGImages" / f"a{suffix}")
    assert load(voc).train.sources(np.array([0])) == [str(voc / "JPEGImages" / "a.jpg")]


def test_a_folder_may_be_a_link_itself(voc: Path) -> None:
    link = voc.parent / "link"
    link.symlink_to(voc)
    assert load(link).digest == load(voc).digest
    (voc / "JPEGImages").rename(voc.parent / "elsewhere")
    (voc / "JPEGImages").symlink_to(voc.parent / "elsewhere")
    with pytest.raises(DataError, match="lies outside"):
        load(link, 65)


def test_images_that_link_out_of_the_folder_are_refused(voc: Path) -> None:
    image = voc / "JPEGImages" / "a.jpg"
    image.rename(voc.parent / "secret.jpg")
    image.symlink_to(voc.parent / "secret.jpg")
    with pytest.raises(DataError, match="lies outside"):
        read_all(load(voc))


@pytest.mark.parametrize("limit", [1000, 3000])
def test_decompression_bombs_are_refused(voc: Path, monkeypatch: pytest.MonkeyPatch, limit: int) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)  # 5000 px: above twice the one, between once and twice
    with pytest.raises(DataError, match=r"a.jpg: too many pixels"):
        read_all(load(voc))
    monkeypatch.undo()
    monkeypatch.setattr(pillow_images, "MAX_IMAGE_PIXELS", limit)
    with pytest.raises(DataError, match=r"a.jpg: 100 x 50 px is over"):
        read_all(load(voc))


def test_blood_cells(shared: Callable[[str], Path]) -> None:
    root = shared("data/bccd_detection")
    data = load(root)
    assert data.class_names == ("Platelets", "RBC", "WBC")
    assert (len(data.train), len(data.validation)) == (205, 87)
    with (root / "annotations.csv").open() as file:
        rows = list(csv.DictReader(file))
    for split, name in ((data.train, "train"), (data.validation, "val")):
        check_boxes(split, 64, 3)
        mine = [r for r in rows if r["split"] == name]
        usable = [r for r in mine if int(r["xmin"]) < int(r["xmax"]) and int(r["ymin"]) < int(r["ymax"])]
        assert sum(len(boxes.labels) for boxes in targets_of(split)) == len(usable)


# -- masks -----------------------------------------------------------------------------------------------------------


def voc_masks(root: Path, *, lists: bool = True) -> Path:
    """Two images of 20 x 12 px: class 1 on the left half, ``IGNORE_INDEX`` in the top right quarter, else 0."""
    mask = np.zeros((12, 20), np.uint8)
    mask[:, :10] = 1
    mask[:6, 10:] = IGNORE_INDEX
    for name in ("one", "two"):
        write_image(root / "JPEGImages" / f"{name}.jpg", 20, 12, (90, 90, 90))
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


def test_masks_follow_their_images(tmp_path: Path) -> None:
    data = segment(voc_masks(tmp_path))
    mask = targets_of(data.train)[0]
    assert (mask[:, :8] == 1).all()
    assert (mask[:8, 8:] == IGNORE_INDEX).all()
    assert (mask[8:, 8:] == 0).all()
    assert len(data.class_names) == 21
    assert data.class_names[15] == "person"


def test_masks_without_lists_are_split(tmp_path: Path) -> None:
    data = segment(voc_masks(tmp_path, lists=False))
    assert (len(data.train), len(data.validation)) == (1, 1)


def test_classes_have_the_names_of_a_file(tmp_path: Path) -> None:
    voc_masks(tmp_path)
    (tmp_path / "class_names.txt").write_text("nothing\nleaf\n")
    assert segment(tmp_path).class_names == ("nothing", "leaf")


@pytest.mark.parametrize("classes", ["nothing\nleaf\n", None])
def test_black_and_white_masks_are_not_taken_for_black_alone(tmp_path: Path, classes: str | None) -> None:
    """White is 255, which is no class: all the rest is the background, which is easy to learn."""
    voc_masks(tmp_path)
    if classes:
        (tmp_path / "class_names.txt").write_text(classes)
    white = np.zeros((12, 20), np.uint8)
    white[3:9, 3:9] = 255
    for name in ("one", "two"):
        Image.fromarray(white).save(tmp_path / "SegmentationClass" / f"{name}.png")
    with pytest.raises(DataError, match="its 1 training masks hold only 0 and 255, which is no class but none; write"):
        segment(tmp_path)
    Image.fromarray(white // 255).save(tmp_path / "SegmentationClass" / "one.png")
    with pytest.raises(DataError, match="its 1 validation masks hold only 0 and 255"):
        segment(tmp_path, image_size=17)
    Image.fromarray(white // 255).save(tmp_path / "SegmentationClass" / "two.png")
    assert set(np.unique(targets_of(segment(tmp_path, image_size=18).train))) == {0, 1}


def test_masks_of_one_bit_are_of_two_classes(tmp_path: Path) -> None:
    voc_masks(tmp_path)
    (tmp_path / "class_names.txt").write_text("nothing\nleaf\n")
    half = np.zeros((12, 20), np.uint8)
    half[:, 10:] = 255
    for name in ("one", "two"):
        Image.fromarray(half).convert("1").save(tmp_path / "SegmentationClass" / f"{name}.png")
    mask = targets_of(segment(tmp_path).train)[0]
    assert (mask[:, :8] == 0).all()
    assert (mask[:, 8:] == 1).all()


def test_some_masks_of_background_and_margins_alone_are_read(tmp_path: Path) -> None:
    voc_masks(tmp_path, lists=False)
    for number in range(8):
        name = f"n{number}"
        write_noise(tmp_path / "JPEGImages" / f"{name}.png", number, 20, 12)
        mask = np.full((12, 20), number % 2, np.uint8)
        mask[0] = 255
        Image.fromarray(mask).save(tmp_path / "SegmentationClass" / f"{name}.png")
    assert len(read_all(segment(tmp_path, seed=3)).train) == 8


def test_masks_that_are_wrong(tmp_path: Path) -> None:
    (tmp_path / "JPEGImages").mkdir()
    with pytest.raises(DataError, match="no folder SegmentationClass in it"):
        segment(tmp_path)
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
            read_all(segment(tmp_path))
    mask.write_bytes(b"no PNG")
    with pytest.raises(DataError, match=r"one.png: cannot be read as a PNG"):
        segment(tmp_path)
    mask.unlink()
    with pytest.raises(DataError, match=r"no mask one\.png, which the lists name"):
        segment(tmp_path)
    (tmp_path / "ImageSets" / "Segmentation" / "train.txt").write_text("../one\n")
    with pytest.raises(DataError, match="is a path; list names without folders"):
        segment(tmp_path)
    (tmp_path / "ImageSets" / "Segmentation" / "train.txt").write_text("two\n")
    with pytest.raises(DataError, match=r"two is in train.txt and in val.txt"):
        segment(tmp_path)
    (tmp_path / "ImageSets" / "Segmentation" / "train.txt").write_text("one\n")
    Image.fromarray(np.zeros((12, 20), np.uint8)).save(mask)
    (tmp_path / "class_names.txt").write_text("a\na\n")
    with pytest.raises(DataError, match="2 names; give 2 to 255 that differ"):
        segment(tmp_path)
