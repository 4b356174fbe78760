"""Stored studies, read: where they are, their settings, their candidates."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from nas.candidates.candidate import Candidate
from nas.study.storage import open_storage, quiet_optuna
from nas.study.study import STUDY_ATTRIBUTE, stored_candidates, stored_notes
from search_spaces.registry import UnknownName, unknown_name

if TYPE_CHECKING:
    import optuna


def _load_stored(storage: str | Path, name: str | None) -> tuple[optuna.Study, dict[str, Any]]:
    """The Optuna study and its settings' document; ``None`` names the only study of nas there is."""
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
        return optuna.load_study(study_name=name, storage=opened), nas_studies[name]


def stored_study(study: str, directory: Path, storage: str | Path | None = None) -> tuple[str | Path, str | None]:
    """Where a study is and its name there, for the functions below.

    ``study``: its name, in ``storage`` or in a folder of ``directory``; its folder; or its journal, whose only study it
    is. Raises ``UnknownName``.
    """
    if storage is not None:
        return storage, study
    path = Path(study)
    for journal in (directory / study / "study.journal", path / "study.journal", path):
        if journal.is_file():
            return journal, None
    study_names = sorted(p.parent.name for p in directory.glob("*/study.journal"))
    if not study_names:
        raise UnknownName(f"no study {study!r}: there is none in {str(directory)!r} yet; nas search makes one")
    raise unknown_name("study", study, study_names)


def load_document(storage: str | Path, name: str | None) -> tuple[str, dict[str, Any]]:
    """A study's name and the settings it was made with; ``None`` names the only one there is.

    Raises ``UnknownName`` or ``StudyError``.
    """
    study, document = _load_stored(storage, name)
    return study.study_name, document


def load_candidates(storage: str | Path, name: str | None) -> tuple[str, list[Candidate], dict[str, Any]]:
    """A study's name, its candidates so far, and the settings it was made with. Raises as ``load_document``."""
    study, document = _load_stored(storage, name)
    return study.study_name, stored_candidates(study), document


def load_notes(storage: str | Path, name: str | None, prefix: str) -> dict[str, dict[str, Any]]:
    """As ``Study.notes``, of a study that nobody searches. Raises as ``load_document``."""
    return stored_notes(_load_stored(storage, name)[0], prefix)
