"""The table of formats: texts taken apart, formats of installed packages, each with an example."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from evaluators.data.catalog import DATA_FORMATS, DataSpec, data_format, data_formats, data_spec, data_text
from evaluators.evaluator import DataError
from search_spaces.registry import UnknownName
from tests.support.image_folders import names_of, opened, targets_of, write_noise
from tests.support.installed_package import installed_package


def test_texts_are_taken_apart_once() -> None:
    assert data_spec("digits") == DataSpec("digits")
    assert data_spec("voc:a:b") == DataSpec("voc", "a:b")
    assert data_spec(data_spec("voc:x")) == DataSpec("voc", "x")
    for text in ("digits", "voc:a:b"):
        assert data_text(text) == str(data_spec(text)) == text


def test_texts_that_name_nothing() -> None:
    with pytest.raises(UnknownName, match="no kind of data 'yollo'; did you mean 'yolo'"):
        data_spec("yollo:x")
    with pytest.raises(DataError, match=r"--data yolo needs a folder with data\.yaml, as in yolo:path/to/data\.yaml"):
        data_spec("yolo")
    with pytest.raises(DataError, match="--data digits needs nothing after it, not '3'"):
        data_spec("digits:3")


@pytest.mark.parametrize("kind", [kind for kind, row in DATA_FORMATS.items() if row.needs])
def test_every_format_has_an_example_and_misses_what_is_not_there(kind: str) -> None:
    row = DATA_FORMATS[kind]
    assert data_spec(row.example).kind == kind
    for location in ("/does/not/exist", "\0", "a" * 5000):
        for annotation in row.annotations:
            with pytest.raises(DataError, match=r"no folder|no file"):
                opened(f"{kind}:{location}", annotation)


OWN_FORMAT = '''
from pathlib import Path

from evaluators.data.catalog import DataFormat
from evaluators.data.listing import DataRequest, ImageFile, Listing, Sample


def open_prefixed(request: DataRequest) -> Listing:
    """Images whose names begin with their class."""
    paths = sorted(Path(request.location).glob("*.png"))
    names = sorted({path.name.split("_")[0] for path in paths})
    samples = [Sample(ImageFile(path), names.index(path.name.split("_")[0])) for path in paths]
    return Listing(tuple(names), samples, None, (Path(request.location),))


ROW = DataFormat("neighbour:open_prefixed", ("class",), "a folder", "prefixed:photos", {"steps": 7})
'''


def test_a_package_adds_a_format_in_one_file(tmp_path: Path) -> None:
    for number in range(12):
        write_noise(tmp_path / "data" / f"{('cat', 'dog')[number % 2]}_{number:02}.png", number)
    with installed_package(tmp_path / "site", OWN_FORMAT, {"nas.data": {"prefixed": "ROW"}}):
        assert "prefixed" in data_formats()
        assert data_format(data_spec("prefixed:x")).defaults == {"steps": 7}
        data = opened(f"prefixed:{tmp_path / 'data'}", "class", 16)
        assert data.class_names == ("cat", "dog")
        assert targets_of(data.validation).tolist() == [0, 1]
        assert names_of(data.train)[0].startswith("cat_")
        assert data.train.images(np.array([0])).shape == (1, 3, 16, 16)
        with pytest.raises(DataError, match="has no boxes, only class of each image"):
            opened(f"prefixed:{tmp_path / 'data'}", "boxes", 16)
        with pytest.raises(DataError, match="--data prefixed needs a folder, as in prefixed:photos"):
            data_spec("prefixed")


def test_a_row_that_is_none_is_refused(tmp_path: Path) -> None:
    with (
        installed_package(tmp_path, "ROW = 3", {"nas.data": {"odd": "ROW"}}),
        pytest.raises(UnknownName, match=r"of nas\.data is int, not DataFormat"),
    ):
        data_spec("odd:x")
