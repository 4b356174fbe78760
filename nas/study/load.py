"""Stored studies, read: where they are, their settings, their candidates, their notes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nas.candidates.candidate import Candidate
from nas.study.schema import upgraded_document
from nas.study.storage import JOURNAL_NAME, open_storage, quiet_optuna
from nas.study.study import STUDY_ATTRIBUTE, stored_candidates, stored_notes
from search_spaces.registry import UnknownName, unknown_name

if TYPE_CHECKING:
    import optuna


@dataclass(frozen=True)
class StoredStudy:
    """A study that is read and not searched. ``document``: what decided its search, in the schema of this release."""

    name: str
    document: dict[str, Any]
    _study: optuna.Study

    def candidates(self) -> list[Candidate]:
        """Its candidates so far, in the order in which they were added."""
        return stored_candidates(self._study)

    def notes(self, prefix: str) -> dict[str, dict[str, Any]]:
        """As ``Study.notes``."""
        return stored_notes(self._study, prefix)


def load_study(storage: str | Path, name: str | None) -> StoredStudy:
    """A study of nas; ``None`` names the only one there is. Raises ``UnknownName`` or ``StudyError``."""
    import optuna

    with quiet_optuna():
        opened = open_storage(storage)
        summaries = optuna.get_all_study_summaries(opened)
        nas_studies = {
            s.study_name: s.user_attrs[STUDY_ATTRIBUTE] for s in summaries if STUDY_ATTRIBUTE in s.user_attrs
        }
        if name is None and len(nas_studies) == 1:
            name = next(iter(nas_studies))
        if name is None or name not in nas_studies:
            raise UnknownName(
                f"no study {name or ''!r} in {storage}; it holds {', '.join(nas_studies) or 'none of nas'}"
            )
        study = optuna.load_study(study_name=name, storage=opened)
    return StoredStudy(name, upgraded_document(name, nas_studies[name]), study)


def study_name(names: Sequence[str], directory: Path, storage: str | Path | None = None) -> str:
    """The first of ``names`` that a study has, in ``storage`` or by default in a folder of ``directory``.

    Where none has, the first: that of a new study. So a search finds its study under the name that an earlier release
    gave it. Raises ``StudyError``.
    """
    if storage is None:
        stored = {name for name in names if (directory / name / JOURNAL_NAME).is_file()}
    elif "://" not in str(storage) and not Path(storage).is_file():
        stored = set()
    else:
        with quiet_optuna():
            stored = {study.study_name for study in open_storage(storage).get_all_studies()}
    return next((name for name in names if name in stored), names[0])


def stored_study(study: str, directory: Path, storage: str | Path | None = None) -> tuple[str | Path, str | None]:
    """Where a study is and its name there, for the functions below.

    ``study``: its name, in ``storage`` or in a folder of ``directory``; its folder; or its journal, whose only study it
    is. Raises ``UnknownName``.
    """
    if storage is not None:
        return storage, study
    path = Path(study)
    for journal in (directory / study / JOURNAL_NAME, path / JOURNAL_NAME, path):
        if journal.is_file():
            return journal, None
    study_names = sorted(p.parent.name for p in directory.glob(f"*/{JOURNAL_NAME}"))
    if not study_names:
        raise UnknownName(f"no study {study!r}: there is none in {str(directory)!r} yet; nas search makes one")
    raise unknown_name("study", study, study_names)


def load_document(storage: str | Path, name: str | None) -> tuple[str, dict[str, Any]]:
    """A study's name and the settings it was made with. Raises as ``load_study``."""
    study = load_study(storage, name)
    return study.name, study.document


def load_candidates(storage: str | Path, name: str | None) -> tuple[str, list[Candidate], dict[str, Any]]:
    """A study's name, its candidates so far, and the settings it was made with. Raises as ``load_study``."""
    study = load_study(storage, name)
    return study.name, study.candidates(), study.document


def load_notes(storage: str | Path, name: str | None, prefix: str) -> dict[str, dict[str, Any]]:
    """As ``Study.notes``, of a study that nobody searches. Raises as ``load_study``."""
    return load_study(storage, name).notes(prefix)
