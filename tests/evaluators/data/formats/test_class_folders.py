"""Folders of images with a folder for each class: splits, classes, and the errors of bad ones."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from evaluators.data.data_set import DataSet
from evaluators.evaluator import DataError
from tests.support.image_folders import images_of, opened, read_all, targets_of, write_image


def classify(root: Path, **changes: int) -> DataSet:
    return opened(f"folder:{root}", "class", **{"image_size": 16, **changes})


def class_folders(root: Path, parts: tuple[str, ...], count: int = 3) -> Path:
    """``parts``, each with images of one grey for each class: 10 for ``cat``, 200 for ``dog``."""
    for part in parts:
        for name, grey in (("cat", 10), ("dog", 200)):
            for number in range(count):
                write_image(root / part / name / f"{number}.png", 20, 12, (grey,) * 3)
    return root


@pytest.mark.parametrize("held_out", ["val", "test"])
def test_class_folders_with_a_split(tmp_path: Path, held_out: str) -> None:
    class_folders(tmp_path, ("train", held_out))
    (tmp_path / "train" / "cat" / "Thumbs.db").write_text("no image")
    (tmp_path / "train" / ".hidden").mkdir()
    data = classify(tmp_path)
    assert data.class_names == ("cat", "dog")
    for split in (data.train, data.validation):
        assert targets_of(split).tolist() == [0, 0, 0, 1, 1, 1]
        assert [int(image.mean()) for image in images_of(split)] == [10, 10, 10, 200, 200, 200]


def test_class_folders_without_a_split_are_split_class_by_class(tmp_path: Path) -> None:
    class_folders(tmp_path, ("",), count=10)
    data = classify(tmp_path)
    assert targets_of(data.train).tolist() == [0] * 8 + [1] * 8
    assert targets_of(data.validation).tolist() == [0] * 2 + [1] * 2
    few = classify(tmp_path, max_train_images=5, max_val_images=1)
    assert (len(few.train), len(few.validation)) == (5, 1)
    assert classify(tmp_path).digest == data.digest != few.digest


def test_class_folders_that_are_wrong(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no folder '/does/not/exist'"):
        classify(Path("/does/not/exist"))
    (tmp_path / "train" / "cat").mkdir(parents=True)
    with pytest.raises(DataError, match="none of val, valid, validation, test beside it"):
        classify(tmp_path)
    (tmp_path / "val" / "cat").mkdir(parents=True)
    with pytest.raises(DataError, match="1 folders of images; two classes"):
        classify(tmp_path)
    class_folders(tmp_path, ("train",))
    (tmp_path / "val" / "fox").mkdir()
    with pytest.raises(DataError, match=r"val: no folder 'dog', a class of .*train; add it"):
        classify(tmp_path)
    (tmp_path / "val" / "dog").mkdir()
    with pytest.raises(DataError, match=r"train: no folder 'fox', a class of .*val; add it"):
        classify(tmp_path)
    (tmp_path / "val" / "fox").rmdir()
    with pytest.raises(DataError, match=r"val/cat: no image in it"):
        classify(tmp_path)
    class_folders(tmp_path, ("val",))
    (tmp_path / "train" / "cat" / "0.png").write_bytes(b"\x89PNG\r\n\x1a\n then nothing")
    with pytest.raises(DataError, match=r"cat/0.png: cannot be read"):
        read_all(classify(tmp_path))


def test_a_link_out_of_the_folder_is_refused(tmp_path: Path) -> None:
    write_image(tmp_path / "secret.png", colour=(1, 2, 3))
    root = class_folders(tmp_path / "data", ("",))
    (root / "cat" / "link.png").symlink_to(tmp_path / "secret.png")
    with pytest.raises(DataError, match="lies outside"):
        classify(root)


def test_a_folder_may_be_a_link_itself(tmp_path: Path) -> None:
    root = class_folders(tmp_path / "data", ("train", "validation"))
    (tmp_path / "link").symlink_to(root)
    assert classify(tmp_path / "link").digest == classify(root).digest
    (root / "train").rename(tmp_path / "elsewhere")
    (root / "train").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(DataError, match="lies outside"):
        classify(tmp_path / "link", image_size=17)


@pytest.mark.parametrize("suffix", [".gif", ".Gif", ".Jpg", ".PNG", ".Bmp", ".TIFF"])
def test_suffixes_in_any_letters(tmp_path: Path, suffix: str) -> None:
    class_folders(tmp_path, ("",))
    for path in list(tmp_path.rglob("*.png")):
        write_image(path.with_suffix(suffix), 20, 12, (200, 30, 30))
        path.unlink()
    data = read_all(classify(tmp_path))
    assert len(data.train) == 4
    assert abs(images_of(data.train)[0].mean(axis=(1, 2)) - [200, 30, 30]).max() < 4


def test_of_a_moving_picture_the_first_is_read(tmp_path: Path) -> None:
    class_folders(tmp_path, ("",))
    frames = [Image.new("RGB", (20, 12), colour) for colour in ((250, 0, 0), (0, 250, 0), (0, 0, 250))]
    for path in list(tmp_path.rglob("*.png")):
        frames[0].save(path.with_suffix(".gif"), save_all=True, append_images=frames[1:])
        path.unlink()
    assert (images_of(classify(tmp_path).train)[0][0] > 240).all()
    assert (images_of(classify(tmp_path).train)[0][1:] < 10).all()


def test_a_class_of_one_image_cannot_be_split(tmp_path: Path) -> None:
    class_folders(tmp_path, ("",))
    write_image(tmp_path / "fox" / "only.png")
    with pytest.raises(DataError, match="class fox: one image; a split needs two"):
        classify(tmp_path)


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
    data = classify(tmp_path, image_size=32)
    assert data.class_names == (
        "airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"
    )  # fmt: skip
    assert (len(data.train), len(data.validation)) == (20, 20)
