"""Spaces from a YAML file: another space with options set, choices fixed or narrowed.

space: mobiledet            # a name, package.module:function, or ./file.py:function beside this file
options: {image_size: 256, blocks: ibn+fused}
fixed: {stem.width: 32}     # choices that are made already
only: {block2.width: [16, 24]}
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any, TypeVar

import yaml

from search_spaces.graph import Graph
from search_spaces.space import Choose, Space, SpaceError

T = TypeVar("T")
_KEYS = ("space", "name", "options", "fixed", "only")


class _Narrowed(Choose):
    """Passes choices on with fewer options; choices with one option left are not decisions at all."""

    __slots__ = ("_allowed", "_inner")

    def __init__(self, inner: Choose, allowed: Mapping[str, tuple[Any, ...]]) -> None:
        self._inner = inner
        self._allowed = allowed
        self.made = inner.made

    def one_of(self, name: str, options: Sequence[T]) -> T:
        allowed = self._allowed.get(name)
        if allowed is None:
            return self._inner.one_of(name, options)
        kept = [o for o in options if o in allowed]
        if len(kept) != len(allowed):
            raise SpaceError(f"the choice {name!r} was narrowed to {allowed!r}, and is offered {tuple(options)!r} now")
        return kept[0] if len(kept) == 1 else self._inner.one_of(name, kept)


def load_yaml_space(path: Path, **options: Any) -> Space:
    """The space that a YAML file describes; ``options`` win over the file's. Raises ``SpaceError``."""
    return _load(path, options, ())


def _load(path: Path, options: Mapping[str, Any], above: tuple[Path, ...]) -> Space:
    from search_spaces.catalog import load_space

    if path.resolve() in above:
        raise SpaceError(f"the space file {str(path)!r} starts from itself")
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, OverflowError, RecursionError, yaml.YAMLError) as error:
        raise SpaceError(f"cannot read the space file {str(path)!r}: {error}") from None
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
    source, options = document["space"], {**document["options"], **options}
    if source.endswith((".yaml", ".yml")):
        base = _load(path.parent / source, options, (*above, path.resolve()))
    else:
        base = load_space(str(path.parent / source) if ".py:" in source else source, **options)
    allowed = _allowed(path, document, base)

    def narrowed(choose: Choose, **given: Any) -> Graph:
        return base.function(_Narrowed(choose, allowed), **given)

    narrowed.__signature__ = inspect.signature(base.function)  # type: ignore[attr-defined]
    return Space(narrowed, str(document.get("name") or path.stem), dict(base.options))


def _allowed(path: Path, document: Mapping[str, Any], base: Space) -> dict[str, tuple[Any, ...]]:
    """The options that each choice named in the file has left, checked against the choice's own."""
    allowed = {name: (_tuples(value),) for name, value in document["fixed"].items()}
    for name, values in document["only"].items():
        if not isinstance(values, list) or not values or name in allowed:
            raise SpaceError(f"{path}: `only` needs a list of options for {name!r}, which `fixed` does not name")
        allowed[name] = tuple(dict.fromkeys(_tuples(v) for v in values))
    decisions = base.decisions() if allowed else {}
    for name, values in allowed.items():
        if name not in decisions:
            close = get_close_matches(name, decisions, n=1)
            hint = f"; did you mean {close[0]!r}?" if close else ""
            raise SpaceError(f"{path}: space {base.name!r} has no choice {name!r}{hint}")
        for value in values:
            if value not in decisions[name]:
                raise SpaceError(f"{path}: {name!r} cannot be {value!r}; its options are {_listed(decisions[name])}")
    return allowed


def _listed(options: tuple[Any, ...]) -> str:
    return ", ".join(map(repr, options))


def _tuples(value: Any) -> Any:
    return tuple(_tuples(v) for v in value) if isinstance(value, list) else value
