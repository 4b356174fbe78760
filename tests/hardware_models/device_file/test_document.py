"""What a document becomes as text, and that numbers come back as they went."""

from __future__ import annotations

import tomllib
from math import inf, nan
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hardware_models.device_file.document import (
    Commented,
    Entries,
    leaves,
    number_text,
    plain,
    rounded,
    toml_text,
)
from hardware_models.device_file.header import DeviceHeader, read_header, with_header
from hardware_models.device_file.toml_table import TomlTable

finite = st.floats(allow_nan=False, allow_infinity=False)


@given(finite, st.integers(0, 6))
def test_a_number_reads_back_as_the_very_same(value: float, decimals: int) -> None:
    text = number_text(value, decimals)
    assert tomllib.loads(f"x = {text}")["x"] == value
    assert float(text) == value


@pytest.mark.parametrize(
    ("value", "decimals", "text"),
    [
        (2500, 0, "2500"),
        (488.0, 0, "488"),
        (0.0, 0, "0"),
        (2.1901, 0, "2.1901"),
        (1.1302e-05, 0, "1.1302e-05"),
        (0.1 + 0.2, 0, "0.30000000000000004"),
        (0.05, 3, "0.050"),
        (0.0512, 3, "0.0512"),
    ],
)
def test_numbers_are_written_in_the_fewest_digits(value: float, decimals: int, text: str) -> None:
    assert number_text(value, decimals) == text


@pytest.mark.parametrize("value", [nan, inf, -inf])
def test_what_is_no_number_is_refused(value: float) -> None:
    with pytest.raises(ValueError, match="a device file has no number"):
        number_text(value)


@given(st.floats(-1e12, 1e12))
def test_a_rounded_number_is_near_and_stays(value: float) -> None:
    once = rounded(value)
    assert rounded(once) == once
    assert once == pytest.approx(value, rel=1e-4, abs=1e-9)


keys = st.text(min_size=1, max_size=6)
values = st.one_of(
    finite,
    st.integers(-(2**60), 2**60),
    st.text(max_size=8),
    st.lists(finite, max_size=3),
    st.lists(st.text(max_size=3)),
)


@given(st.dictionaries(keys, values), st.dictionaries(keys, st.dictionaries(keys, finite, min_size=1), min_size=1))
def test_any_entries_read_back(entries: dict[str, Any], groups: dict[str, dict[str, float]]) -> None:
    document = {"top": 1, "table": {"x": 0.5, "entries": Entries(entries)}, "group": Entries(groups)}
    assert tomllib.loads(toml_text(document)) == plain(document)


def test_remarks_stand_where_they_are_read() -> None:
    document = {
        "kind": "x",
        "array": Commented({"rows": Commented(4, "a source")}, "a table", on_header=True),
        "latency": Commented({"base": 0.5, "kinds": Commented(Entries({"add": (1, 2.5)}), "ms for each")}, "a sum"),
        "more": {"x": 0, "groups": Commented(Entries({"add": {"n": 1}, "mul": {"n": 2}}), "all kinds")},
    }
    assert toml_text(document, ("First.", "Second.")) == (
        "# First.\n# Second.\n"
        'kind = "x"\n\n[array]  # a table\nrows = 4  # a source\n\n# a sum\n[latency]\nbase = 0.5\n\n'
        '# ms for each\n[latency.kinds]\n"add" = [1, 2.5]\n\n'
        '[more]\nx = 0\n\n# all kinds\n[more.groups."add"]\nn = 1\n\n[more.groups."mul"]\nn = 2\n'
    )


def test_leaves_are_values_behind_their_keys() -> None:
    assert list(leaves({"a": 1, "b": {"c": [2], "d": {"e": "f"}}})) == [
        (("a",), 1),
        (("b", "c"), [2]),
        (("b", "d", "e"), "f"),
    ]


def test_a_header_stands_among_the_keys_of_the_model_and_reads_back() -> None:
    header = DeviceHeader("a\nboard", 'by "me" \\', "board", 4, "a runtime", ("one", "two"))
    document = plain(with_header({"kind": "x", "version": 2, "measured": "as written", "latency": {}}, header))
    order = ["kind", "version", "device", "about", "source", "measured", "batch", "runtime", "aliases", "latency"]
    assert list(document) == order
    read = read_header(TomlTable(tomllib.loads(toml_text(document)), "here"))
    assert read == DeviceHeader("a board", 'by "me" \\', "board", 4, "a runtime", ("one", "two"))
    assert read_header(TomlTable({}, "here")) == DeviceHeader()
