"""Everything that decides a search's result, as texts and numbers: what a study keeps of its search."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from nas.hashing.rules import DEFAULT

# Fields that studies keep under another name
_DOCUMENT_KEYS = {"repeats": "evaluations", "revisit_probability": "forget", "train_published": "references"}


@dataclass(frozen=True)
class SearchSettings:
    """Everything that decides a search's result, as texts and numbers. Kept in the study, from which it resumes."""

    space: str
    hw: str
    space_options: Mapping[str, Any] = field(default_factory=dict)
    limits: tuple[str, ...] = ()
    objectives: tuple[str, ...] = ()
    data: str = "digits"
    evaluator: Mapping[str, Any] = field(default_factory=dict)
    score: str = "entropy"
    searcher: str = "auto"
    searcher_options: Mapping[str, Any] = field(default_factory=dict)
    task: str = ""
    rules: str = DEFAULT
    repeats: int = 1
    revisit_probability: float = 0.0
    trials: int = 1000
    train: int = 12
    train_published: bool = True
    seed: int = 0
    repair: bool = True
    in_flight: int = 4
    warm_start: str = ""
    verify: int = 0
    device: str = ""

    def to_document(self) -> dict[str, Any]:
        """JSON-able data; tuples become lists. What measures is left out where nothing is measured."""
        document: dict[str, Any] = json.loads(
            json.dumps({_DOCUMENT_KEYS.get(name, name): value for name, value in self.__dict__.items()})
        )
        if not self.verify:
            del document["verify"], document["device"]
        return document

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> SearchSettings:
        """Read ``to_document``'s data."""
        names = {key: name for name, key in _DOCUMENT_KEYS.items()}
        values = {names.get(key, key): tuple(v) if isinstance(v, list) else v for key, v in document.items()}
        known_fields: dict[str, Any] = {name: value for name, value in values.items() if name in cls.__match_args__}
        return cls(**known_fields)
