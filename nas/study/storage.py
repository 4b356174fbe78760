"""Optuna storage from a URL or a path."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from nas.study.journal import journal_backend

if TYPE_CHECKING:
    from optuna.storages import BaseStorage


JOURNAL_NAME = "study.journal"
"""Of a study's file in its folder, where no other storage is named."""


class StudyError(ValueError):
    """A study that cannot be opened, or that belongs to another search."""


def require_study_name(name: str) -> None:
    """Raise ``StudyError`` for what is no name of a study: it names one folder, inside that of the studies."""
    if not name.strip():
        raise StudyError("the study's name is empty; give one, or leave it out for one made from the settings")
    if name in (".", "..") or name != as_study_name(name):
        raise StudyError(
            f"{name!r} is no name of a study: it names one folder, and so is neither '.' nor '..' and has no '/', '\\'"
            " or NUL; --directory says where that folder is"
        )


def as_study_name(text: str) -> str:
    """The text with an underscore for each character that no name of a study has."""
    return re.sub(r"[/\\\0]", "_", text)


@contextmanager
def quiet_optuna() -> Iterator[None]:
    """Without Optuna's log of what it does, and its warnings of what is experimental."""
    import optuna

    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            yield
    finally:
        optuna.logging.set_verbosity(verbosity)


def open_storage(storage: str | Path) -> BaseStorage:
    """Optuna storage from a URL (``sqlite:///runs.db``, ``postgresql://...``) or a journal file's path."""
    import optuna

    text = str(storage)
    if "://" in text:
        try:
            with quiet_optuna():
                return optuna.storages.get_storage(text)
        except (ImportError, ValueError) as error:
            raise StudyError(f"cannot open the storage {text!r}: {error}") from None
        except Exception as error:
            # SQLAlchemy's errors, without asking for SQLAlchemy where a journal serves
            if type(error).__module__.startswith("sqlalchemy"):
                raise StudyError(f"cannot open the storage {text!r}: {error}") from None
            raise
    path = Path(text)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    except OSError as error:
        raise StudyError(f"cannot write the study {text!r}: {error.strerror}; choose another --directory") from None
    with quiet_optuna():
        return optuna.storages.JournalStorage(journal_backend(path))
