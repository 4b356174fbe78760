"""Tables of strings that plug-ins extend: rows by name, "did you mean", imports by text.

Every table of the project uses this module, and it imports none of them.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import sys
import traceback
from difflib import get_close_matches
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, TypeVar

Row = TypeVar("Row")

FILE_MODULE_PREFIX = "nas_file_"
"""How the names of modules begin that ``import_file`` makes; no other process can import them by name."""


class UnknownName(ValueError):
    """A name that no table has; the message says which names come close."""


def unknown_name(kind: str, name: str, names: list[str]) -> UnknownName:
    """The error for a name that is not in a table, with a suggestion where one is close."""
    close = get_close_matches(name.lower(), names, n=1, cutoff=0.6)
    hint = f"did you mean {close[0]!r}?" if close else f"known: {', '.join(sorted(set(names)))}"
    return UnknownName(f"no {kind} {name!r}; {hint}")


def table_with_plugins(group: str, table: dict[str, Row], row_type: type[Row]) -> dict[str, Row]:
    """``table`` and the rows that installed packages add through the entry-point group; own rows win."""
    rows = {}
    for point in entry_points(group=group):
        if point.name not in table:
            row = point.load()
            if not isinstance(row, row_type):
                raise UnknownName(
                    f"the entry point {point.value!r} of {group} is {type(row).__name__}, not {row_type.__name__}"
                )
            rows[point.name] = row
    return {**rows, **table}


def plugin_paths(group: str) -> dict[str, str]:
    """What installed packages add through the entry-point group, not loaded: ``package.module:name`` by name."""
    return {point.name: point.value for point in entry_points(group=group)}


def named_row(kind: str, name: str, table: dict[str, Row]) -> Row:
    """The row of that name. Raises ``UnknownName`` with a suggestion."""
    row = table.get(name)
    if row is None:
        raise unknown_name(kind, name, list(table))
    return row


def import_object(path: str) -> Any:
    """The object at ``package.module:name``. Raises ``UnknownName``."""
    module_name, _, attribute = path.partition(":")
    if not all(part.isidentifier() for part in module_name.split(".")):
        raise UnknownName(f"{path!r} is not of the form package.module:name")
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name and (module_name == error.name or module_name.startswith(error.name + ".")):
            raise UnknownName(f"no module {module_name!r} (in {path!r}); is it installed or on PYTHONPATH?") from None
        raise
    return _attribute(module, attribute, path)


def import_named(text: str, broken: type[Exception]) -> Any:
    """The object at ``package.module:name`` or ``./file.py:name``. Raises as ``import_object`` and ``import_file``."""
    location, _, attribute = text.rpartition(":")
    if location.endswith(".py"):
        return import_file(Path(location).expanduser(), attribute, broken)
    return import_object(text)


def _attribute(module: Any, attribute: str, path: str) -> Any:
    if not hasattr(module, attribute):
        public = [n for n, v in vars(module).items() if callable(v) and getattr(v, "__module__", "") == module.__name__]
        raise UnknownName(f"{path!r}: the module has no {attribute!r}; it defines {', '.join(public) or 'nothing'}")
    return getattr(module, attribute)


def import_file(path: Path, attribute: str, broken: type[Exception]) -> Any:
    """The object ``attribute`` of a Python file, which is run.

    Raises ``UnknownName``, and ``broken`` with the line where the file cannot be read or run.
    """
    if not path.is_file():
        raise UnknownName(f"no file {str(path)!r}")
    name = FILE_MODULE_PREFIX + hashlib.blake2b(str(path.resolve()).encode(), digest_size=8).hexdigest()
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise UnknownName(f"{str(path)!r} is no Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except SyntaxError as error:
        del sys.modules[name]
        raise broken(f"{path}:{error.lineno}: {error.msg}") from None
    except Exception as error:
        del sys.modules[name]
        lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
        where = f"{path}:{lines[-1]}" if lines else str(path)
        raise broken(f"{where}: {type(error).__name__}: {error}") from error
    return _attribute(module, attribute, f"{path}:{attribute}")
