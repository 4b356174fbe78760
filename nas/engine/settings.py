"""Everything that decides a search's result, as texts and numbers: what a study keeps of its search."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from nas.hashing.rules import DEFAULT


@dataclass(frozen=True)
class Settings:
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
    evaluations: int = 1
    forget: float = 0.0
    trials: int = 1000
    train: int = 12
    references: bool = True
    seed: int = 0
    repair: bool = True
    in_flight: int = 4
    warm_start: str = ""
    verify: int = 0
    device: str = ""

    def to_document(self) -> dict[str, Any]:
        """JSON-able data; tuples become lists. What measures is left out where nothing is measured."""
        document: dict[str, Any] = json.loads(json.dumps(self.__dict__))
        if not self.verify:
            del document["verify"], document["device"]
        return document

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Settings:
        """Read ``to_document``'s data."""
        given: dict[str, Any] = {
            k: tuple(v) if isinstance(v, list) else v for k, v in document.items() if k in cls.__match_args__
        }
        return cls(**given)
