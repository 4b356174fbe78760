"""Everything that decides a search's result, as texts and numbers: what a study keeps of its search."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from nas.hashing.equivalence import DEFAULT

# Fields that studies keep under another name, which the keywords of ``nas.search`` and the command line share.
_DOCUMENT_KEYS = {"repeats": "evaluations", "revisit_probability": "forget", "train_published": "references"}


@dataclass(frozen=True)
class SearchSettings:
    """Everything that decides a search's result, as texts and numbers. Kept in the study, from which it resumes.

    ``repeats``: trainings of one network with different seeds, whose mean is its quality. ``revisit_probability``: the
    chance that a network that was trained so often is trained again. ``train_published``: whether the space's published
    networks are trained beside the candidates. The other fields are the arguments of ``nas.search``.
    """

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

    def check(self) -> None:
        """Raise ``ValueError`` for numbers that make no sense; the message has the word that a user writes."""
        if self.trials < 1:
            raise ValueError(f"trials must be at least 1, not {self.trials}")
        if self.train < 0:
            raise ValueError(f"train must be at least 0, not {self.train}")
        if self.repeats < 1:
            raise ValueError(f"evaluations must be at least 1, not {self.repeats}")
        if self.in_flight < 1:
            raise ValueError(f"in_flight must be at least 1, not {self.in_flight}")
        if not 0 <= self.revisit_probability <= 1:
            raise ValueError(f"forget is a probability, 0 to 1, not {self.revisit_probability}")
        if self.train == 0 and self.score == "none":
            raise ValueError("nothing ranks the candidates: choose a score, or train some (train=12)")

    def to_document(self) -> dict[str, Any]:
        """JSON-able data; tuples become lists. ``verify`` and ``device`` are left out where nothing is measured.

        Keys and their order are those of all releases: fingerprints of studies are made from the text.
        """
        document: dict[str, Any] = json.loads(
            json.dumps({_DOCUMENT_KEYS.get(name, name): value for name, value in self.__dict__.items()})
        )
        if not self.verify:
            del document["verify"], document["device"]
        return document

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> SearchSettings:
        """Read ``to_document``'s data; keys that this release does not know are passed over."""
        field_names = {key: name for name, key in _DOCUMENT_KEYS.items()}
        values: dict[str, Any] = {
            field_names.get(key, key): tuple(value) if isinstance(value, list) else value
            for key, value in document.items()
        }
        return cls(**{name: value for name, value in values.items() if name in cls.__match_args__})
