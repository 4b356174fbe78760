"""What is the same for every format: order, splits, channels, normalisation, the digest, and what is kept."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st

from evaluators.data import on_demand
from evaluators.data import open as opening
from evaluators.data.data_set import Annotation
from evaluators.data.listing import DataRequest, ImageFile, Listing, ObjectBoxes, Regions, Sample, held_out_fifth
from evaluators.data.open import open_data_set
from evaluators.evaluator import DataError
from tests.support.image_folders import (
    check_boxes,
    images_of,
    names_of,
    opened,
    read_all,
    targets_of,
    write_image,
    write_in_three_formats,
    write_noise,
)


@pytest.mark.parametrize(
    "arguments", [{"image_size": 8}, {"image_size": 5000}, {"max_val_images": 0}, {"channels": -1}]
)
def test_impossible_numbers_are_refused(arguments: dict[str, int]) -> None:
    with pytest.raises(DataError, match=r"choose one inside|at least one image|channels is -1"):
        opened("digits", "class", **{"image_size": 16, **arguments})


def test_data_without_the_annotation_say_what_they_have(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="has no boxes, only class of each image"):
        opened(f"folder:{tmp_path}", "boxes")


# -- one data set, three formats --------------------------------------------------------------------------------------

CLASSES = ("bus", "car", "van")
WHOLE = st.integers(0, 60)


@given(
    st.lists(
        st.tuples(
            st.tuples(st.integers(40, 60), st.integers(40, 60)),
            st.lists(st.tuples(st.sampled_from(CLASSES), WHOLE, WHOLE, st.integers(1, 30), st.integers(1, 30))),
        ),
        min_size=4,
        max_size=6,
    )
)
def test_the_same_boxes_in_three_formats_are_one_data_set(tmp_path_factory: pytest.TempPathFactory, drawn: Any) -> None:
    root = tmp_path_factory.mktemp("formats")
    sizes = {f"image-{number}": size for number, (size, _) in enumerate(drawn)}
    objects = {
        name: [
            (label, min(x, width - 1), min(y, height - 1), min(x + w, width), min(y + h, height))
            for label, x, y, w, h in listed
        ]
        for (name, (width, height)), (_, listed) in zip(sizes.items(), drawn, strict=True)
    }
    names = list(sizes)
    for name in (names[0], names[-1]):  # every class in every format, boxes in either split
        objects[name] += [(label, 1, 2, 30, 40) for label in CLASSES]
    splits = {"train": {name: objects[name] for name in names[:-1]}, "val": {names[-1]: objects[names[-1]]}}
    data = [opened(text, "boxes", 32) for text in write_in_three_formats(root, splits, CLASSES, sizes)]
    assert len({each.digest for each in data}) == 1
    assert [each.class_names for each in data] == [CLASSES] * 3
    assert [names_of(each.train) for each in data] == [[f"{name}.png" for name in sorted(names[:-1])]] * 3
    first = data[0]
    for other in data[1:]:
        assert np.array_equal(images_of(other.train), images_of(first.train))
        for boxes, expected in zip(targets_of(other.train), targets_of(first.train), strict=True):
            assert np.array_equal(boxes.corners, expected.corners)
            assert np.array_equal(boxes.labels, expected.labels)
    check_boxes(first.train, 32, 3)


def test_blood_cells_in_three_formats(tmp_path: Path, shared: Callable[[str], Path]) -> None:
    import csv

    root = shared("data/bccd_detection")
    objects: dict[str, dict[str, list[Any]]] = {"train": {}, "val": {}}
    with (root / "annotations.csv").open() as file:
        for row in csv.DictReader(file):
            if row["split"] in objects and row["xmin"] != row["xmax"]:
                corners = (int(row[key]) for key in ("xmin", "ymin", "xmax", "ymax"))
                name = Path(row["file"]).stem
                objects[row["split"]].setdefault(name, []).append((row["label"], *corners))
    some = {split: dict(list(of_split.items())[:5]) for split, of_split in objects.items()}
    sizes = {name: (640, 480) for of_split in some.values() for name in of_split}
    texts = write_in_three_formats(tmp_path, some, ("Platelets", "RBC", "WBC"), sizes)
    assert len({opened(text, "boxes", 96).digest for text in texts}) == 1


# -- splits and subsets -----------------------------------------------------------------------------------------------


def plain_samples(count: int, classes: int) -> list[Sample]:
    return [Sample(ImageFile(f"{number:03}.png"), number * classes // count) for number in range(count)]


@given(st.integers(2, 40), st.integers(1, 4), st.integers(0, 5))
def test_a_fifth_of_each_class_is_held_out(count: int, classes: int, seed: int) -> None:
    samples = plain_samples(count * classes, classes)
    train, validation = held_out_fifth(samples, "class", [str(n) for n in range(classes)], seed, "here")
    assert sorted(s.image.name for s in [*train, *validation]) == [s.image.name for s in samples]
    for number in range(classes):
        held_out = sum(sample.annotation == number for sample in validation)
        assert held_out == max(1, count // 5)


def class_folders(root: Path, count: int, **changes: Any) -> Path:
    for name in ("cat", "dog"):
        for number in range(count):
            write_image(root / name / f"{number:02}.png", 20, 20, **{"colour": (number, 0, 200), **changes})
    return root


def test_the_seed_selects_split_and_subset(tmp_path: Path) -> None:
    text = f"folder:{class_folders(tmp_path, 20)}"
    first, again, other = (opened(text, "class", 16, seed=seed, max_train_images=9) for seed in (0, 0, 1))
    assert (len(first.train), len(first.validation)) == (9, 8)
    assert names_of(first.train) == names_of(again.train) != names_of(other.train)
    assert first.digest == again.digest != other.digest
    assert opened(text, "class", 17, max_train_images=9).digest != first.digest


# -- channels, depth, normalisation -----------------------------------------------------------------------------------


def test_grey_files_have_one_channel_unless_colours_are_wanted(tmp_path: Path) -> None:
    text = f"folder:{class_folders(tmp_path, 3, mode='L', colour=80)}"
    grey, colours = opened(text, "class", 16), opened(text, "class", 16, channels=3)
    assert (grey.channels, colours.channels) == (1, 3)
    assert (images_of(grey.train) == 80).all()
    assert images_of(colours.train).shape == (4, 3, 16, 16)
    assert grey.digest != colours.digest
    assert grey.normalisation.mean == grey.normalisation.std == (127.5,)
    write_image(tmp_path / "cat" / "99.png")
    assert opened(text, "class", 16).channels == 3


def test_other_depths_are_normalised_by_their_own_mean_and_deviation(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for name in ("cat", "dog"):
        for number in range(6):
            (tmp_path / name).mkdir(exist_ok=True)
            pixels = rng.normal(3000, 100, (6, 24, 24)) * np.arange(1, 7)[:, None, None]
            pixels[5] = 7
            tifffile.imwrite(tmp_path / name / f"{number}.tif", pixels.astype(np.uint16))
    data = opened(f"folder:{tmp_path}", "class", 16)
    pixels = images_of(data.train).astype(np.float64)
    assert (data.channels, str(images_of(data.train).dtype)) == (6, "uint16")
    assert data.normalisation.mean == pytest.approx(pixels.mean((0, 2, 3)), rel=1e-5)
    assert data.normalisation.std[:5] == pytest.approx(pixels.std((0, 2, 3))[:5], rel=1e-4)
    assert data.normalisation.std[5] == 1  # of a channel that is the same everywhere
    with pytest.raises(DataError, match="6 channels, other images 3"):
        read_all(opened(f"folder:{tmp_path}", "class", 16, channels=3))


def test_files_of_different_channels_are_named(tmp_path: Path) -> None:
    class_folders(tmp_path, 3)
    tifffile.imwrite(tmp_path / "cat" / "0.tif", np.zeros((5, 20, 20), np.uint8))
    with pytest.raises(DataError, match=r"has 3 channels and .*0.tif 5; give every image as many"):
        opened(f"folder:{tmp_path}", "class", 16)


# -- what is read when ------------------------------------------------------------------------------------------------


def test_images_beyond_what_is_kept_are_read_each_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = f"folder:{class_folders(tmp_path, 10)}"
    all_kept = opened(text, "class", 16)
    expected = images_of(all_kept.train)
    monkeypatch.setattr(on_demand, "MAX_KEPT_BYTES", 5 * 3 * 16 * 16)
    few_kept = opened(text, "class", 16, max_val_images=3)
    for indices in (np.array([15, 2, 2, 7, 0]), np.arange(16), np.array([4, 4]), np.arange(0)):
        pixels = few_kept.train.images(indices)
        assert np.array_equal(pixels, expected[indices])
        pixels[:] = 0
    for path in tmp_path.rglob("*.png"):
        path.write_bytes(b"")
    assert np.array_equal(few_kept.train.images(np.arange(5)), expected[:5])
    with pytest.raises(DataError, match="cannot be read"):
        few_kept.train.images(np.array([5]))


def test_the_same_data_set_is_given_until_files_change(tmp_path: Path) -> None:
    text = f"folder:{class_folders(tmp_path, 4)}"
    first = opened(text, "class", 16)
    assert opened(text, "class", 16) is first
    digests = {first.digest}
    write_image(tmp_path / "cat" / "new.png")
    second = opened(text, "class", 16)
    assert len(second.train) == len(first.train) + 1
    digests.add(second.digest)
    write_image(tmp_path / "cat" / "01.png", 90, 90)
    third = opened(text, "class", 16)
    assert len({*digests, third.digest}) == 3
    (tmp_path / "cat" / "01.png").unlink()
    with pytest.raises(DataError, match=r"01\.png: cannot be read"):
        read_all(third)


def digest_in_a_process(text: str, digests: Any) -> None:
    data = opened(text, "class", 16)
    digests.put((data.digest, data.normalisation))


def test_another_process_opens_the_same(tmp_path: Path) -> None:
    for name in ("cat", "dog"):
        for number in range(4):
            (tmp_path / name).mkdir(exist_ok=True)
            pixels = np.random.default_rng(number).integers(0, 65536, (20, 20), np.uint16)
            tifffile.imwrite(tmp_path / name / f"{number}.tif", pixels)
    context = multiprocessing.get_context("spawn")
    digests = context.Queue()
    process = context.Process(target=digest_in_a_process, args=(f"folder:{tmp_path}", digests))
    process.start()
    data = opened(f"folder:{tmp_path}", "class", 16)
    assert digests.get(timeout=60) == (data.digest, data.normalisation)
    process.join()


@pytest.mark.parametrize("annotation", ["class", "boxes"])
def test_many_files_open_in_time_that_does_not_depend_on_their_pixels(tmp_path: Path, annotation: Annotation) -> None:
    """4,000 links to one image of 4 megapixels: decoding each would take minutes."""
    image = write_image(tmp_path / "large.png", 2000, 2000)
    if annotation == "class":
        for name in ("cat", "dog"):
            (tmp_path / "data" / name).mkdir(parents=True)
            for number in range(2000):
                (tmp_path / "data" / name / f"{number}.png").hardlink_to(image)
        text = f"folder:{tmp_path / 'data'}"
    else:
        for folder in ("images", "labels"):
            (tmp_path / "data" / folder).mkdir(parents=True)
        for number in range(4000):
            (tmp_path / "data" / "images" / f"{number}.png").hardlink_to(image)
            (tmp_path / "data" / "labels" / f"{number}.txt").write_text("0 .5 .5 .5 .5")
        (tmp_path / "data" / "data.yaml").write_text("train: images\nnames: [thing]\n")
        text = f"yolo:{tmp_path / 'data'}"
    started = time.process_time()
    data = opened(text, annotation, 64, max_train_images=100_000)
    assert len(data.train) == 3200
    data.train.images(np.arange(2))
    data.train.targets(np.arange(2))
    assert data.digest
    assert time.process_time() - started < 20


# -- formats of one's own ---------------------------------------------------------------------------------------------


def listing_of(folder: Path, *annotations: Any, names: tuple[str, ...] = ("a", "b")) -> Listing:
    samples = [
        Sample(ImageFile(write_noise(folder / f"{number}.png", number)), annotation)
        for number, annotation in enumerate(annotations)
    ]
    return Listing(names, samples, None)


@pytest.mark.parametrize(
    ("annotation", "listed", "message"),
    [
        ("class", [0, 1, 0, 2], r"3.png: class 2 is not in 0\.\.1"),
        ("class", [0, 1, 0, "b"], "3.png: its format lists str, but class need int"),
        ("boxes", [0, 1, 0, 1], "0.png: its format lists int, but boxes need ObjectBoxes"),
        ("masks", [0, 1, 0, 1], "0.png: its format lists int, but masks need MaskFile"),
        ("masks", [Regions(((),), (5,))] * 2, r"0.png: class 5 is not in 0\.\.1"),
        ("boxes", [ObjectBoxes(np.empty((0, 4)), np.empty(0, np.int64))] * 9, "none of its 8 training images"),
        ("boxes", [ObjectBoxes(np.array([[90.0, 0, 99, 9]]), np.array([0]))] * 9, "none of its 8 training images"),
    ],
)
def test_what_a_format_lists_is_checked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, annotation: Any, listed: list[Any], message: str
) -> None:
    monkeypatch.setattr(opening, "import_object", lambda _: lambda request: listing_of(tmp_path, *listed))
    with pytest.raises(DataError, match=message):
        open_data_set("digits", annotation, image_size=18)


def test_a_listing_is_put_in_order_whatever_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    listing = listing_of(tmp_path, 1, 0, 1, 0, 1, 0)
    requests = []

    def list_backwards(request: DataRequest) -> Listing:
        requests.append(request)
        return Listing(listing.class_names, listing.train[::-1], None)

    monkeypatch.setattr(opening, "import_object", lambda _: list_backwards)
    data = open_data_set("digits", "class", image_size=19, max_train_images=4, max_val_images=7)
    assert targets_of(data.train).tolist() == [0, 0, 1, 1]
    assert names_of(data.train) == sorted(names_of(data.train), key=lambda name: (int(name[0]) % 2 == 0, name))
    assert requests == [DataRequest("", "class", 19, 0, 4, 7)]
