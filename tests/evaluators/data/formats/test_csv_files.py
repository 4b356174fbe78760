"""CSV files of images and labels."""

from __future__ import annotations

from pathlib import Path

import pytest

from evaluators.data.data_set import DataSet
from evaluators.evaluator import DataError
from tests.support.image_folders import names_of, opened, targets_of, write_image


def load(folder: Path, text: str) -> DataSet:
    (folder / "labels.csv").write_text(text)
    return opened(f"csv:{folder / 'labels.csv'}", "class", 16)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number in range(12):
        write_image(tmp_path / "images" / f"{number:02}.png", colour=(number, 0, 0))
    return tmp_path


def test_with_splits(folder: Path) -> None:
    text = "image,note,Label,split\nimages/03.png,x,dog,train\nimages/01.png,,cat,train\nimages/02.png,,cat,valid\n"
    data = load(folder, text + "images/04.png,,dog,test\n")
    assert data.class_names == ("cat", "dog")
    assert (names_of(data.train), targets_of(data.train).tolist()) == (["01.png", "03.png"], [0, 1])
    assert names_of(data.validation) == ["02.png"]


def test_without_splits_it_is_the_class_folders_data(folder: Path) -> None:
    rows = [f"images/{number:02}.png,{'dog' if number % 2 else 'cat'}" for number in range(12)]
    data = load(folder, "file,label\n" + "\n".join(reversed(rows)))
    for number in range(12):
        target = folder / "classes" / ("dog" if number % 2 else "cat") / f"{number:02}.png"
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes((folder / "images" / f"{number:02}.png").read_bytes())
    as_folders = opened(f"folder:{folder / 'classes'}", "class", 16)
    assert data.digest == as_folders.digest
    assert names_of(data.validation) == names_of(as_folders.validation)


def test_whole_numbers_are_classes_in_their_order(folder: Path) -> None:
    rows = [f"images/{number:02}.png,{(2, 10)[number % 2]}" for number in range(8)]
    assert load(folder, "file,class\n" + "\n".join(rows)).class_names == ("2", "10")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no column file or path"),
        ("file,name\n", "no column label or class"),
        ("file,label\nimages/01.png,a\n", "1 images; two at least"),
        ("file,label\nimages/01.png,a\nimages/02.png,a\n", "one class, 'a'"),
        ("file,label\nimages/01.png,a\nimages/02.png\n", "row 3 has 1 fields for 2 columns"),
        ("file,label\nimages/01.png,a\nimages/02.png, \n", "row 3 has no label"),
        ("file,label\nimages/01.png,a\nimages/99.png,b\n", "row 3: no file 'images/99.png'"),
        ("file,label\nimages/01.png,a\n../../secret.png,b\n", "lies outside"),
        ("file,label\nimages/01.png,a\n/etc/passwd,b\n", "lies outside"),
        ("file,label\nimages/01.png,a\nimages/01.png,b\n", "row 3: 'images/01.png' is in row 2 too"),
        ("file,label,split\nimages/01.png,a,train\nimages/02.png,b,later\n", "the splits are later, train"),
        ("file,label\nimages/01.png,a\nimages/02.png,b\n", "class a: one image; a split needs two"),
        ('file,label\n"images', "is no CSV file"),
    ],
)
def test_files_that_are_wrong_say_where(folder: Path, text: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        load(folder, text)
