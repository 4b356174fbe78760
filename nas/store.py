"""The durable record of a search: an Optuna study to which every finished candidate is added once.

The search runs in memory and the study mirrors it, because asking Optuna for dozens of choices a candidate costs more
than the candidate. A killed search leaves every candidate that was added, and the same search goes on from there.
"""

from __future__ import annotations

import json
import os
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nas.candidate import Candidate
from nas.objectives import Limit, Objective
from search_spaces.catalog import UnknownName, unknown

if TYPE_CHECKING:
    import optuna
    from optuna.storages import BaseStorage

_ATTRIBUTE = "nas"
_NOTE = "nas_"
_SYNC_EVERY_S = 1.0


class StudyError(ValueError):
    """A study that cannot be opened, or that belongs to another search."""


@contextmanager
def _quiet_optuna() -> Iterator[None]:
    import optuna

    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            yield
    finally:
        optuna.logging.set_verbosity(before)


def _journal_backend(path: Path) -> Any:
    """A journal file that survives its writer's death at any moment.

    Optuna's own lock is a file that a killed writer leaves behind, and its reader refuses a line that a killed writer
    left half written. Here the lock is the kernel's, gone with its process, and such a line is cut off. Lines are
    flushed to the disk once a second rather than each: a killed process loses nothing, a power cut a second.
    """
    from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock

    try:
        import fcntl
    except ImportError:  # Windows: Optuna's own locking
        return JournalFileBackend(str(path))

    class KernelLock(JournalFileOpenLock):
        def __init__(self, file_path: str) -> None:
            super().__init__(file_path)
            self._descriptor = -1

        def acquire(self) -> bool:
            self._descriptor = os.open(self._lock_file, os.O_CREAT | os.O_RDWR, 0o644)
            fcntl.flock(self._descriptor, fcntl.LOCK_EX)
            return True

        def release(self) -> None:
            os.close(self._descriptor)

    class DurableJournal(JournalFileBackend):
        def __init__(self, file_path: str) -> None:
            self._kernel_lock = KernelLock(file_path)
            self._synced = time.monotonic()
            super().__init__(file_path, self._kernel_lock)
            self._cut_half_line()

        def _cut_half_line(self) -> None:
            self._kernel_lock.acquire()
            try:
                with open(self._file_path, "rb+") as file:
                    content = file.read()
                    whole = content.rfind(b"\n") + 1
                    if whole != len(content):
                        file.truncate(whole)
            finally:
                self._kernel_lock.release()

        def append_logs(self, logs: list[dict[str, Any]]) -> None:
            lines = "".join(json.dumps(log, separators=(",", ":")) + "\n" for log in logs).encode()
            self._kernel_lock.acquire()
            try:
                with open(self._file_path, "ab") as file:
                    file.write(lines)
                    if time.monotonic() - self._synced > _SYNC_EVERY_S:
                        file.flush()
                        os.fsync(file.fileno())
                        self._synced = time.monotonic()
            finally:
                self._kernel_lock.release()

    return DurableJournal(str(path))


def open_storage(storage: str | Path) -> BaseStorage:
    """Optuna storage from a URL (``sqlite:///runs.db``, ``postgresql://...``) or a journal file's path."""
    import optuna

    text = str(storage)
    if "://" in text:
        try:
            with _quiet_optuna():
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
    with _quiet_optuna():
        return optuna.storages.JournalStorage(_journal_backend(path))


class Study:
    """One search's Optuna study. ``known`` are the candidates that it held when it was opened, in order."""

    def __init__(self, study: optuna.Study, objectives: Sequence[Objective], limits: Sequence[Limit]) -> None:
        self._study = study
        self._objectives = tuple(objectives)
        self._limits = tuple(limits)
        self._distributions: dict[str, Any] = {}
        self.known = _candidates(study)
        self._keys = {(c.key, c.reference) for c in self.known}

    @classmethod
    def open(
        cls,
        storage: str | Path,
        name: str,
        objectives: Sequence[Objective],
        limits: Sequence[Limit],
        document: dict[str, Any],
    ) -> Study:
        """Create the study, or open it where it exists. Raises ``StudyError`` where it is that of another search."""
        import optuna

        with _quiet_optuna():
            study = optuna.create_study(
                storage=open_storage(storage),
                study_name=name,
                directions=[o.direction for o in objectives],
                load_if_exists=True,
            )
            known = study.user_attrs.get(_ATTRIBUTE)
            if known is None:
                if study.get_trials(deepcopy=False):
                    raise StudyError(f"the study {name!r} exists and is none of nas; choose another --study name")
                study.set_metric_names([o.metric for o in objectives])
                study.set_user_attr(_ATTRIBUTE, document)
            elif known != document:
                changed = sorted(k for k in {*known, *document} if known.get(k) != document.get(k))
                raise StudyError(
                    f"the study {name!r} was made with other settings ({', '.join(changed)}); choose another --study"
                    " name, or resume it as it was: nas resume " + name
                )
        return cls(study, objectives, limits)

    def note(self, key: str, document: Mapping[str, Any]) -> None:
        """Keep JSON-able data beside the candidates, at once; what was noted under the same key goes."""
        with _quiet_optuna():
            self._study.set_user_attr(_NOTE + key, dict(document))

    def notes(self, prefix: str) -> dict[str, dict[str, Any]]:
        """What was noted under keys that begin with ``prefix``, by the rest of the key."""
        return _notes(self._study, prefix)

    def __contains__(self, candidate: Candidate) -> bool:
        return (candidate.key, candidate.reference) in self._keys

    def add(self, candidate: Candidate, options: dict[str, tuple[Any, ...]]) -> None:
        """Add a finished candidate; one that is there already is left alone. ``options`` are those of each choice."""
        import optuna

        if candidate in self:
            return
        metrics = candidate.metrics
        complete = candidate.status not in ("failed", "stopped") and all(o.metric in metrics for o in self._objectives)
        params, distributions = {}, {}
        for name, value in candidate.genotype.items() if options else ():
            params[name] = _param(value)
            if name not in self._distributions:
                choices = [_param(option) for option in options[name]]
                self._distributions[name] = optuna.distributions.CategoricalDistribution(choices)
            distributions[name] = self._distributions[name]
        attributes: dict[str, Any] = {_ATTRIBUTE: candidate.to_document(), **_shown(candidate)}
        state = optuna.trial.TrialState.COMPLETE
        if not complete:
            failed = candidate.status == "failed"
            state = optuna.trial.TrialState.FAIL if failed else optuna.trial.TrialState.PRUNED
        with _quiet_optuna():
            self._study.add_trial(
                optuna.trial.create_trial(
                    state=state,
                    values=[metrics[o.metric] for o in self._objectives] if complete else None,
                    params=params,
                    distributions=distributions,
                    user_attrs=attributes,
                    system_attrs=_constraints(candidate, self._limits),
                )
            )
        self._keys.add((candidate.key, candidate.reference))


def _shown(candidate: Candidate) -> dict[str, Any]:
    """What optuna-dashboard shows beside the parameters."""
    shown: dict[str, Any] = {"status": candidate.status, "architecture": candidate.architecture}
    if candidate.reason:
        shown["reason"] = candidate.reason
    if candidate.reference:
        shown["published as"] = candidate.reference
    if candidate.train_seconds is not None:
        shown["train_seconds"] = round(candidate.train_seconds, 2)
    return {**shown, **candidate.metrics}


def _constraints(candidate: Candidate, limits: Sequence[Limit]) -> dict[str, Any]:
    """Optuna's own record of constraints (above zero: broken), from which the dashboard greys points out."""
    return {"constraints": [limit.excess(candidate.metrics) for limit in limits]} if limits else {}


def _param(value: Any) -> Any:
    return json.dumps(value) if isinstance(value, tuple) else value


def _stored(storage: str | Path, name: str | None) -> tuple[optuna.Study, dict[str, Any]]:
    import optuna

    with _quiet_optuna():
        opened = open_storage(storage)
        summaries = optuna.get_all_study_summaries(opened)
        ours = {s.study_name: s.user_attrs[_ATTRIBUTE] for s in summaries if _ATTRIBUTE in s.user_attrs}
        if name is None and len(ours) == 1:
            name = next(iter(ours))
        if name is None or name not in ours:
            raise UnknownName(f"no study {name or ''!r} in {storage}; it holds {', '.join(ours) or 'none of nas'}")
        return optuna.load_study(study_name=name, storage=opened), ours[name]


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
    known = sorted(p.parent.name for p in directory.glob("*/study.journal"))
    if not known:
        raise UnknownName(f"no study {study!r}: there is none in {str(directory)!r} yet; nas search makes one")
    raise unknown("study", study, known)


def load_document(storage: str | Path, name: str | None) -> tuple[str, dict[str, Any]]:
    """A study's name and the settings it was made with; ``None`` names the only one there is.

    Raises ``UnknownName`` or ``StudyError``.
    """
    study, document = _stored(storage, name)
    return study.study_name, document


def load_candidates(storage: str | Path, name: str | None) -> tuple[str, list[Candidate], dict[str, Any]]:
    """A study's name, its candidates so far, and the settings it was made with. Raises as ``load_document``."""
    study, document = _stored(storage, name)
    return study.study_name, _candidates(study), document


def load_notes(storage: str | Path, name: str | None, prefix: str) -> dict[str, dict[str, Any]]:
    """As ``Study.notes``, of a study that nobody searches. Raises as ``load_document``."""
    return _notes(_stored(storage, name)[0], prefix)


def _notes(study: optuna.Study, prefix: str) -> dict[str, dict[str, Any]]:
    start = _NOTE + prefix
    return {k.removeprefix(start): v for k, v in study.user_attrs.items() if k.startswith(start)}


def _candidates(study: optuna.Study) -> list[Candidate]:
    with _quiet_optuna():
        trials = study.get_trials(deepcopy=False)
    return [Candidate.from_document(t.user_attrs[_ATTRIBUTE]) for t in trials if _ATTRIBUTE in t.user_attrs]
