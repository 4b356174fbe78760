"""The document of a study: what decided its search, as JSON-able data, read from this release and from earlier ones.

Documents have a schema number. One of an earlier schema is brought up to date when it is read; what a document lacks
has its default. So a setting that is new does not part a study from its search, and the study's file is never
rewritten.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from nas.study.earlier_names import EARLIER_NAMES
from nas.study.storage import StudyError

SCHEMA = 2
"""Of the documents that this release writes. Raised when a key gets another meaning, not for a new key."""

_Document = dict[str, Any]

_LONGEST_VALUE = 60  # characters of a value in a message

_CHANGED_BEHAVIOUR = {
    "space": "the space makes other networks or other choices",
    "hardware": "the hardware model predicts other costs",
    "evaluator_version": "the evaluator has another version, which gives other figures",
    "evaluator": "the evaluator or its data are others",
    "device": "another device measures",
}
"""What to say of each part of a fingerprint."""


class _Head(msgspec.Struct):
    """What a document says of itself; the rest of it are settings."""

    schema: int = 1  # documents of the first schema do not say so
    fingerprint: str | dict[str, str] = {}  # a text in the first schema


def _from_schema_1(document: _Document) -> _Document:
    """The keys that some options had in release 0.1.0, and what it left out.

    Its fingerprint holds the release's own number, and so says nothing to another one; known is that all evaluators
    were at their first version.
    """
    upgraded = {EARLIER_NAMES.get(key, key): value for key, value in document.items() if key != "fingerprint"}
    if isinstance(upgraded.get("evaluator"), Mapping):
        upgraded["training"] = upgraded["evaluator"]
        upgraded["evaluator"] = ""
    return {"verify": 0, "device": "", **upgraded, "fingerprint": {"evaluator_version": "1"}}


_UPGRADES: dict[int, Callable[[_Document], _Document]] = {1: _from_schema_1}
"""From each earlier schema to the next."""


def upgraded_document(name: str, stored: Mapping[str, Any]) -> _Document:
    """A stored document in the schema of this release.

    Raises ``StudyError`` where a newer release wrote it, or where it is damaged; ``name`` is the study's, for that.
    """
    schema = _head_of(name, stored).schema
    if schema > SCHEMA:
        raise StudyError(
            f"the study {name!r} was made by a newer release of nas (its document is of schema {schema}, this release"
            f" reads {SCHEMA}); upgrade nas, or choose another --study name"
        )
    document = dict(stored)
    for step in range(schema, SCHEMA):
        document = _UPGRADES[step](document)
    return {**document, "schema": SCHEMA}


def complete_document(document: Mapping[str, Any], defaults: Mapping[str, Any]) -> _Document:
    """The document of a new study, with defaults for what it lacks, so that it says everything."""
    return {"schema": SCHEMA, **_as_json({**defaults, **document})}


def require_same_search(
    name: str, stored: Mapping[str, Any], requested: Mapping[str, Any], defaults: Mapping[str, Any], resume: str
) -> None:
    """Raise ``StudyError`` unless a stored document and a search's own are of one search.

    ``stored`` is as it was written, by any release. Both get ``defaults`` for what they lack. Fingerprints are compared
    part by part, where both have them. ``resume`` is the command that goes on with the study.
    """
    theirs = complete_document(upgraded_document(name, stored), defaults)
    ours = complete_document(requested, defaults)
    unknown = sorted({*theirs} - {*ours} - {"fingerprint"})
    if unknown:
        raise StudyError(
            f"the study {name!r} was made by a newer release of nas: this one does not know its"
            f" {', '.join(unknown)}; upgrade nas, or choose another --study name"
        )
    settings = sorted({*theirs, *ours} - {"schema", "fingerprint"} - _unsaid(name, stored, ours))
    differing = [text for key in settings for text in _differences(key, theirs.get(key), ours.get(key))]
    if differing:
        raise StudyError(
            f"the study {name!r} was made with other settings ({'; '.join(differing)}); choose another --study name"
            f" for these, or go on with its own: {resume}"
        )
    changed = _changed_behaviour(_fingerprint_of(name, theirs), _fingerprint_of(name, ours))
    if changed:
        raise StudyError(
            f"the study {name!r} has these settings, but since it was made {', and '.join(changed)}; its candidates"
            " cannot be compared with new ones: undo that change, or search anew under another --study name"
        )


def _unsaid(name: str, stored: Mapping[str, Any], ours: Mapping[str, Any]) -> set[str]:
    """Settings that cannot be compared: the first schema kept nothing of an evaluator that was an object."""
    is_object = str(ours.get("evaluator", "")).startswith("<")
    return {"evaluator"} if is_object and _head_of(name, stored).schema == 1 and not stored.get("evaluator") else set()


def _head_of(name: str, document: Mapping[str, Any]) -> _Head:
    try:
        return msgspec.convert(document, _Head)
    except msgspec.ValidationError as error:
        raise StudyError(f"the study {name!r} has a document that cannot be read: {error}") from None


def _fingerprint_of(name: str, document: Mapping[str, Any]) -> dict[str, str]:
    fingerprint = _head_of(name, document).fingerprint
    return fingerprint if isinstance(fingerprint, dict) else {}


def _as_json(document: Mapping[str, Any]) -> _Document:
    """As storage gives it back: tuples are lists."""
    plain: _Document = json.loads(json.dumps(document))
    return plain


def _differences(key: str, theirs: Any, ours: Any) -> list[str]:
    """What differs in one setting, with both values; of settings in settings, each."""
    if theirs == ours:
        return []
    if isinstance(theirs, dict) and isinstance(ours, dict):
        inner = sorted({*theirs, *ours})
        return [text for k in inner for text in _differences(f"{key}.{k}", theirs.get(k), ours.get(k))]
    return [f"{key} is {_shown(theirs)} there and {_shown(ours)} here"]


def _shown(value: Any) -> str:
    text = "not set" if value is None else value if isinstance(value, str) and value else json.dumps(value)
    return text if len(text) <= _LONGEST_VALUE else text[: _LONGEST_VALUE - 3] + "..."


def _changed_behaviour(theirs: Mapping[str, str], ours: Mapping[str, str]) -> list[str]:
    """What behaves otherwise, in words; nothing where either does not say."""
    parts = (*_CHANGED_BEHAVIOUR, *sorted({*theirs} - {*_CHANGED_BEHAVIOUR}))
    return [
        _CHANGED_BEHAVIOUR.get(part, f"the {part} differs")
        for part in parts
        if part in theirs and part in ours and theirs[part] != ours[part]
    ]
