"""Images that EXIF turns: pixels, sizes, annotations and digests follow, in every kind of file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image, ImageOps

from evaluators.data.images import RGB, PixelForm, read_header, read_image
from evaluators.data.orientation import ORIENTATION_TAG, DrawnOn
from evaluators.evaluator import DataError
from tests.support.image_folders import images_of, names_of, opened, read_all, targets_of, voc_object, write_sized_voc

ORIENTATIONS = range(1, 9)
QUARTER_TURN = 6
PIXELS = np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)


def write_turned(path: Path, orientation: int, pixels: Any = PIXELS, **options: Any) -> Path:
    """An image whose EXIF states that orientation."""
    path.parent.mkdir(parents=True, exist_ok=True)
    exif = Image.Exif()
    exif[ORIENTATION_TAG] = orientation
    Image.fromarray(pixels).save(path, exif=exif, **options)
    return path


def squashed(image: Image.Image, size: int) -> Any:
    """[C, S, S] of an image that is upright."""
    return np.asarray(image.resize((size, size), Image.Resampling.BILINEAR)).transpose(2, 0, 1)


@pytest.mark.parametrize("orientation", ORIENTATIONS)
@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.webp"])
def test_pixels_and_sizes_are_those_of_the_turned_image(tmp_path: Path, name: str, orientation: int) -> None:
    path = write_turned(tmp_path / name, orientation)
    with Image.open(path) as image:
        upright = ImageOps.exif_transpose(image).convert("RGB")
    pixels, width, height = read_image(path, 16)
    header = read_header(path)
    assert (width, height) == (header.width, header.height) == upright.size
    assert (width, height) == ((20, 30) if orientation >= 5 else (30, 20))
    assert np.array_equal(pixels, squashed(upright, 16)) or name == "a.jpg"  # which is scaled as it is decoded
    if name == "a.jpg":
        with Image.open(path) as image:
            image.draft("RGB", (16, 16))
            assert np.array_equal(pixels, squashed(ImageOps.exif_transpose(image.convert("RGB")), 16))
    deep = read_image(path, 16, PixelForm(3, "uint16"))[0] / 257
    assert abs(deep - squashed(upright, 16).astype(np.float64)).max() <= 2


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_large_photographs_are_scaled_and_turned_at_once(tmp_path: Path, orientation: int) -> None:
    across = np.broadcast_to(np.linspace(0, 255, 320).astype(np.uint8)[None, :, None], (160, 320, 3))
    path = write_turned(tmp_path / "a.jpg", orientation, np.ascontiguousarray(across), quality=95)
    with Image.open(path) as image:
        upright = ImageOps.exif_transpose(image)
    pixels, width, height = read_image(path, 16)
    assert (width, height) == upright.size
    assert abs(pixels.astype(int) - squashed(upright, 16)).max() <= 6


@pytest.mark.parametrize("orientation", ORIENTATIONS)
@pytest.mark.parametrize("mode", ["RGB", "L", "P", "CMYK"])  # read by either reader
def test_tiffs_are_turned_by_their_own_tag(tmp_path: Path, mode: str, orientation: int) -> None:
    image = Image.fromarray(PIXELS).convert(mode)
    path = tmp_path / "a.tif"
    image.save(path, tiffinfo={ORIENTATION_TAG: orientation})
    plain = Image.fromarray(np.asarray(image.convert("RGB")))
    plain.getexif()[ORIENTATION_TAG] = orientation
    upright = ImageOps.exif_transpose(plain)
    pixels, width, height = read_image(path, 16)
    header = read_header(path)
    assert (width, height) == (header.width, header.height) == upright.size
    assert np.array_equal(pixels, squashed(upright, 16))


def test_bands_of_a_tiff_are_turned_alike(tmp_path: Path) -> None:
    bands = np.random.default_rng(1).integers(0, 65536, (5, 20, 30), np.uint16)
    for name, extra in (("plain", []), ("turned", [(ORIENTATION_TAG, "H", 1, 3, True)])):
        tifffile.imwrite(tmp_path / f"{name}.tif", bands, photometric="minisblack", extratags=extra)
    form = PixelForm(5, "uint16")
    plain, turned = (read_image(tmp_path / f"{name}.tif", 30, form)[0] for name in ("plain", "turned"))
    assert abs(turned[:, ::-1, ::-1].astype(int) - plain).max() <= 1


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
@pytest.mark.parametrize("exif", [b"Exif\0\0", b"Exif\0\0II*\0", b"Exif\0\0MM\0*\0\0\0\x08\xff\xff" + b"\x01" * 40])
def test_a_broken_head_turns_nothing(tmp_path: Path, exif: bytes) -> None:
    Image.fromarray(PIXELS).save(tmp_path / "a.jpg", exif=exif)
    Image.fromarray(PIXELS).save(tmp_path / "b.jpg")
    assert np.array_equal(read_image(tmp_path / "a.jpg", 16)[0], read_image(tmp_path / "b.jpg", 16)[0])
    assert read_header(tmp_path / "a.jpg").width == 30


@pytest.mark.parametrize("orientation", [0, 9, 70])
def test_a_number_that_is_no_orientation_turns_nothing(tmp_path: Path, orientation: int) -> None:
    path = write_turned(tmp_path / "a.png", orientation)
    assert np.array_equal(read_image(path, 16)[0], squashed(Image.fromarray(PIXELS), 16))


# -- annotations and digests ------------------------------------------------------------------------------------------


def test_an_image_stays_as_it_is_where_its_annotations_were_drawn_so(tmp_path: Path) -> None:
    path = write_turned(tmp_path / "a.png", QUARTER_TURN)
    assert read_image(path, 16, RGB, DrawnOn(20, 30))[1:] == (20, 30)
    as_it_lies = read_image(path, 16, RGB, DrawnOn(30, 20))
    assert as_it_lies[1:] == (30, 20)
    assert np.array_equal(as_it_lies[0], squashed(Image.fromarray(PIXELS), 16))
    assert read_header(path, DrawnOn(30, 20)).width == 30
    for read in (read_header, lambda path, drawn_on: read_image(path, 16, RGB, drawn_on)):
        with pytest.raises(DataError, match=r"a\.png: 20 x 30 px, but its annotation was drawn on 40 x 60 px"):
            read(path, DrawnOn(40, 60))


def test_boxes_drawn_on_the_turned_image_are_on_the_turned_pixels(tmp_path: Path) -> None:
    """A white object on black, turned by a quarter: where the box is, the pixels are white, in every format."""
    pixels = np.zeros((40, 80, 3), np.uint8)
    pixels[0:20, 0:40] = 255  # after the turn: x 20 to 40 of 40, y 0 to 40 of 80
    root = tmp_path
    for name in ("a", "b"):
        for folder in ("voc/JPEGImages", "coco/images", "yolo/images"):
            write_turned(root / folder / f"{name}.png", QUARTER_TURN, pixels)
        write_sized_voc(root / "voc", name, 40, 80, voc_object("c", 20, 0, 40, 40))
    document = {
        "images": [{"id": n, "file_name": f"{name}.png", "width": 40, "height": 80} for n, name in enumerate("ab")],
        "categories": [{"id": 1, "name": "c"}],
        "annotations": [{"id": n, "image_id": n, "category_id": 1, "bbox": [20, 0, 20, 40]} for n in range(2)],
    }
    (root / "coco" / "a.json").write_text(json.dumps(document))
    (root / "yolo" / "labels").mkdir()
    for name in ("a", "b"):
        (root / "yolo" / "labels" / f"{name}.txt").write_text("0 0.75 0.25 0.5 0.5")
    (root / "yolo" / "data.yaml").write_text("train: images\nnames: [c]\n")
    data = [opened(f"{kind}:{root / kind}", "boxes", 16) for kind in ("voc", "coco", "yolo")]
    assert len({each.digest for each in data}) == 1
    for each in data:
        x1, y1, x2, y2 = targets_of(each.train)[0].corners[0].astype(int)
        assert (images_of(each.train)[0][:, y1 + 1 : y2 - 1, x1 + 1 : x2 - 1] == 255).all()
        assert images_of(each.train).mean() == pytest.approx(255 / 4, rel=0.05)


def test_turned_images_have_another_digest_than_plain_ones_with_the_same_bytes_before(tmp_path: Path) -> None:
    """The orientation is a part of the data; what is not turned has the digest of its bytes, with EXIF or without."""
    digests = []
    for orientation in (1, 3):
        for name in ("cat", "dog"):
            for number in range(2):
                write_turned(tmp_path / name / f"{number}.jpg", orientation)
        digests.append(opened(f"folder:{tmp_path}", "class", 16).digest)
    assert digests[0] != digests[1]


def test_a_mask_of_the_image_as_it_lies_in_its_file_is_refused(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_turned(tmp_path / "JPEGImages" / f"{name}.jpg", QUARTER_TURN)
        (tmp_path / "SegmentationClass").mkdir(exist_ok=True)
        mask = np.zeros((30, 20), np.uint8)
        mask[:15] = 1
        Image.fromarray(mask).save(tmp_path / "SegmentationClass" / f"{name}.png")
    (tmp_path / "class_names.txt").write_text("ground\nleaf\n")
    data = read_all(opened(f"voc:{tmp_path}", "masks", 16))
    assert (targets_of(data.train)[0][:8] == 1).all()
    assert (targets_of(data.train)[0][8:] == 0).all()
    Image.fromarray(mask.T).save(tmp_path / "SegmentationClass" / "a.png")
    Image.fromarray(mask.T).save(tmp_path / "SegmentationClass" / "b.png")
    with pytest.raises(DataError, match=r"30 x 20 px, its image 20 x 30 \(turned as EXIF says"):
        read_all(opened(f"voc:{tmp_path}", "masks", 17))


def test_images_of_python_programs_are_taken_as_they_are() -> None:
    image = Image.fromarray(PIXELS)
    image.getexif()[ORIENTATION_TAG] = QUARTER_TURN
    data = opened([(image, 0), (image, 1), (image, 0), (image, 1)], "class", 16)
    assert np.array_equal(images_of(data.train)[0], squashed(Image.fromarray(PIXELS), 16))
    assert names_of(data.train)
