"""What is written into a device file: tables of values with remarks for the reader, and the text that they make."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Any

Document = Mapping[str, Any]
"""Values and tables by key: numbers, texts, lists of them, mappings, and these as ``Commented`` or ``Entries``."""

_SHORTEST_DIGITS, _EXACT_DIGITS = 5, 17
_SMALLEST = 1e-9


@dataclass(frozen=True)
class Commented:
    """A value or a table with a remark for the reader of the file.

    It stands behind a value and above a table; with ``on_header`` behind the table's header.
    """

    value: Any
    comment: str
    on_header: bool = False


@dataclass(frozen=True)
class Entries:
    """A table whose keys are data, such as kinds of operations: they are written in quotes.

    ``decimals``: how many digits its numbers have behind the point at least.
    """

    values: Mapping[str, Any]
    decimals: int = 0


def rounded(value: float, digits: int = _SHORTEST_DIGITS) -> float:
    """A fitted number with as many significant digits as device files keep; what is too small for them is 0."""
    return float(f"{value:.{digits}g}") if abs(value) >= _SMALLEST else 0.0


def plain(value: Any) -> Any:
    """A document, or a part of one, as a reader of the file gets it: dictionaries, lists, texts and numbers."""
    if isinstance(value, Commented):
        return plain(value.value)
    if isinstance(value, Entries):
        return plain(value.values)
    if isinstance(value, Mapping):
        return {key: plain(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [plain(part) for part in value]
    return value


def leaves(values: Mapping[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every value of a plain document behind the keys that lead to it."""
    for key, value in values.items():
        if isinstance(value, dict):
            yield from leaves(value, (*path, key))
        else:
            yield (*path, key), value


def number_text(value: float, decimals: int = 0) -> str:
    """A number in the fewest digits, five or more, that read back as the very same. Raises ``ValueError``."""
    if not isfinite(value):
        raise ValueError(f"a device file has no number {value!r}")
    if isinstance(value, int):
        return str(value)
    if decimals and float(text := f"{value:.{decimals}f}") == value:
        return text
    texts = (f"{value:.{digits}g}" for digits in range(_SHORTEST_DIGITS, _EXACT_DIGITS + 1))
    return next(text for text in texts if float(text) == value)


def one_line(text: str) -> str:
    """A text without line breaks and what no file can hold."""
    return " ".join(text.encode("utf-8", "replace").decode().split())


def value_text(value: Any, decimals: int = 0) -> str:
    """A value as TOML writes it."""
    import tomlkit

    if isinstance(value, str):
        return tomlkit.string(value).as_string()
    if isinstance(value, list | tuple):
        return f"[{', '.join([value_text(part, decimals) for part in value])}]"
    return number_text(value, decimals)


def toml_text(document: Document, remarks: Sequence[str] = ()) -> str:
    """The file, with ``remarks`` as comments on top."""
    import tomlkit

    file = tomlkit.document()
    for remark in remarks:
        file.add(tomlkit.comment(remark))
    _add_entries(file, document)
    return tomlkit.dumps(file)


def _add_entries(container: Any, document: Document, *, quoted: bool = False, decimals: int = 0) -> None:
    from tomlkit.items import KeyType, SingleKey

    for key, value in document.items():
        comment, on_header = "", False
        if isinstance(value, Commented):
            value, comment, on_header = value.value, value.comment, value.on_header
        item = _table(value, comment, on_header) if isinstance(value, Mapping | Entries) else _value(value, decimals)
        if comment and not isinstance(value, Mapping | Entries):
            _comment_behind(item, comment)
        container.append(SingleKey(key, t=KeyType.Basic) if quoted else key, item)


def _value(value: Any, decimals: int) -> Any:
    import tomlkit

    return tomlkit.value(value_text(value, decimals))


def _table(value: Mapping[str, Any] | Entries, comment: str, on_header: bool) -> Any:
    import tomlkit

    quoted, decimals = isinstance(value, Entries), 0
    if isinstance(value, Entries):
        decimals, value = value.decimals, value.values
    is_group = bool(value) and all(isinstance(plain(part), dict) for part in value.values())
    if is_group and comment:  # a table of tables has no header of its own: the remark stands above the first
        first = next(iter(value))
        value, comment = {**value, first: Commented(value[first], comment)}, ""
    table = tomlkit.table(is_super_table=is_group)
    _add_entries(table, value, quoted=quoted, decimals=decimals)
    if on_header:
        _comment_behind(table, comment)
    # What stands above a header is its indent; that of a group is not written, and must not be empty to stay so
    table.trivia.indent = " " if is_group else "\n" if on_header or not comment else f"\n# {comment}\n"
    return table


def _comment_behind(item: Any, comment: str) -> None:
    item.comment(comment)
    item.trivia.comment_ws = "  "
