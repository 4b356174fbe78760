"""Spaces from a YAML file: another space with options set, choices fixed or narrowed.

space: mobiledet            # a name, package.module:function, or ./file.py:function beside this file
options: {image_size: 256, blocks: ibn+fused}
fixed: {stem.width: 32}     # choices that are made already
only: {block2.width: [16, 24]}

A file with ``stages`` in place of ``space`` is a space by itself: ``stages.py`` reads it.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from math import isfinite
from pathlib import Path
from typing import Any, TypeVar

import yaml

from search_spaces.graph.graph import Graph
from search_spaces.space.choose import Choose
from search_spaces.space.genotype import SpaceError
from search_spaces.space.space import Space
from search_spaces.yaml_spaces.stages import stages_space
from search_spaces.yaml_spaces.values import as_tuples

T = TypeVar("T")
MAX_FILE_CHARACTERS = 200_000
MAX_YAML_VALUES = 20_000
MAX_YAML_DEPTH = 30
_MERGE = "tag:yaml.org,2002:merge"
_KEYS = ("space", "name", "options", "fixed", "only")


class _NarrowedChoose(Choose):
    """Passes choices on with fewer options; a choice with one remaining option is no decision at all."""

    __slots__ = ("_allowed_options", "_inner")

    def __init__(self, inner: Choose, allowed: Mapping[str, tuple[Any, ...]]) -> None:
        self._inner = inner
        self._allowed_options = allowed
        self.decisions = inner.decisions

    def one_of(self, name: str, options: Sequence[T]) -> T:
        allowed = self._allowed_options.get(name)
        if allowed is None:
            return self._inner.one_of(name, options)
        remaining_options = [o for o in options if o in allowed]
        if len(remaining_options) != len(allowed):
            raise SpaceError(f"the choice {name!r} was narrowed to {allowed!r}, and is offered {tuple(options)!r} now")
        return remaining_options[0] if len(remaining_options) == 1 else self._inner.one_of(name, remaining_options)


def load_yaml_space(path: Path, options: Mapping[str, Any], load_base: Callable[..., Space]) -> Space:
    """The space that a YAML file describes; ``options`` win over the file's. Raises ``SpaceError``.

    ``load_base(name, **options)`` loads the space that the file starts from, where that is not a YAML file too.
    """
    return _load_file(path, options, load_base, ())


def _load_file(
    path: Path, options: Mapping[str, Any], load_base: Callable[..., Space], including_files: tuple[Path, ...]
) -> Space:
    if path.resolve() in including_files:
        raise SpaceError(f"the space file {str(path)!r} starts from itself")
    document = _read_document(path)
    if isinstance(document, dict) and "stages" in document:
        if "space" in document:
            raise SpaceError(f"{path}: there is `space`, to narrow another space, or `stages`, but not both")
        return stages_space(document, path, **options)
    document = _check_narrowing(document, path)
    source, options = document["space"], {**document["options"], **options}
    if source.endswith((".yaml", ".yml")):
        base = _load_file(path.parent / source, options, load_base, (*including_files, path.resolve()))
    else:
        base = load_base(str(path.parent / source) if ".py:" in source else source, **options)
    allowed = _allowed_options(path, document, base)

    def narrowed(choose: Choose, **given: Any) -> Graph:
        return base.function(_NarrowedChoose(choose, allowed), **given)

    narrowed.__signature__ = inspect.signature(base.function)  # type: ignore[attr-defined]
    return Space(narrowed, str(document.get("name") or path.stem), dict(base.options))


def _check_narrowing(document: Any, path: Path) -> dict[str, Any]:
    """A document that narrows another space, with a mapping under each of its keys that hold one."""
    if not isinstance(document, dict) or not isinstance(document.get("space"), str):
        raise SpaceError(f"{path}: expected a mapping with a text `space`, the name of the space it starts from")
    unknown = set(map(str, document)) - set(_KEYS)
    if unknown:
        raise SpaceError(f"{path}: no key {sorted(unknown)[0]!r}; the keys are {', '.join(_KEYS)}")
    for key in ("options", "fixed", "only"):
        value = document.get(key) or {}
        if not isinstance(value, dict) or not all(isinstance(name, str) for name in value):
            raise SpaceError(f"{path}: {key!r} must be a mapping of names")
        document[key] = value
    return document


class _StrictLoader(yaml.SafeLoader):
    """PyYAML's safe loader, but keys are unique, and merged mappings (``<<``) stay small."""

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        node: yaml.MappingNode = super().compose_mapping_node(anchor)
        keys_seen = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.tag != _MERGE:
                if (key.tag, key.value) in keys_seen:
                    raise _yaml_error(f"the key {key.value!r} is there twice", key)
                keys_seen.add((key.tag, key.value))
        return node

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        merged = 0
        for key, value in node.value:
            if key.tag == _MERGE:
                for each in value.value if isinstance(value, yaml.SequenceNode) else [value]:
                    if isinstance(each, yaml.MappingNode):
                        self.flatten_mapping(each)
                        merged += len(each.value)
                    if merged > MAX_YAML_VALUES:
                        raise _yaml_error("too much is merged", node)
        super().flatten_mapping(node)


def _yaml_error(text: str, node: yaml.Node) -> yaml.YAMLError:
    return yaml.constructor.ConstructorError(problem=text, problem_mark=node.start_mark)


def _read_document(path: Path) -> Any:
    """What a YAML file holds, of a size that every later step can walk. Raises ``SpaceError``."""
    try:
        with path.open(encoding="utf-8") as file:
            text = file.read(MAX_FILE_CHARACTERS + 1)
        if len(text) > MAX_FILE_CHARACTERS:
            raise ValueError(f"it has more than {MAX_FILE_CHARACTERS} characters")
        document = yaml.load(text, _StrictLoader)  # noqa: S506 - a safe loader
        _check_size(document)
    except (OSError, ValueError, OverflowError, RecursionError, yaml.YAMLError) as error:
        raise SpaceError(f"cannot read the space file {str(path)!r}: {_error_text(error)}") from None
    return document


def _error_text(error: Exception) -> str:
    """What is wrong with a file, in a line."""
    if isinstance(error, RecursionError):
        return "it nests too deep"
    mark = getattr(error, "problem_mark", None)
    problem = getattr(error, "problem", None)
    text = f"{problem}, line {mark.line + 1}, column {mark.column + 1}" if mark and problem else str(error)
    return " ".join(text.split())


def _check_size(document: Any) -> None:
    """ValueError for what is not a tree of plain values, or for one that is too large: aliases count each time."""
    todo, count = [(document, 0)], 0
    while todo:
        value, depth = todo.pop()
        count += 1
        if count > MAX_YAML_VALUES or depth > MAX_YAML_DEPTH:
            raise ValueError(
                f"it holds more than {MAX_YAML_VALUES} values or nests more than {MAX_YAML_DEPTH} deep,"
                " aliases included"
            )
        if isinstance(value, dict):
            todo.extend((part, depth + 1) for pair in value.items() for part in pair)
        elif isinstance(value, list):
            todo.extend((part, depth + 1) for part in value)
        elif isinstance(value, int) and abs(value) >= 2**63:
            raise ValueError("it holds a whole number beyond 64 bits")
        elif isinstance(value, float) and not isfinite(value):
            raise ValueError("it holds a number that is not finite")
        elif value is not None and not isinstance(value, bool | int | float | str):
            raise ValueError(f"it holds a {type(value).__name__}; there are numbers, texts, true, false and null")


def _allowed_options(path: Path, document: Mapping[str, Any], base: Space) -> dict[str, tuple[Any, ...]]:
    """The options that remain of each choice named in the file, checked against the choice's own."""
    allowed = {name: (as_tuples(value),) for name, value in document["fixed"].items()}
    for name, values in document["only"].items():
        if not isinstance(values, list) or not values or name in allowed:
            raise SpaceError(f"{path}: `only` needs a list of options for {name!r}, which `fixed` does not name")
        allowed[name] = tuple(dict.fromkeys(as_tuples(v) for v in values))
    decisions = base.decisions() if allowed else {}
    for name, values in allowed.items():
        if name not in decisions:
            close = get_close_matches(name, decisions, n=1)
            hint = f"; did you mean {close[0]!r}?" if close else ""
            raise SpaceError(f"{path}: space {base.name!r} has no choice {name!r}{hint}")
        for value in values:
            if value not in decisions[name]:
                options = ", ".join(map(repr, decisions[name]))
                raise SpaceError(f"{path}: {name!r} cannot be {value!r}; its options are {options}")
    return allowed
