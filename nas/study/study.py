"""The durable record of a search: an Optuna study to which every finished candidate is added once.

The search runs in memory and the study mirrors it, because asking Optuna for dozens of choices a candidate costs more
than the candidate. A killed search leaves every candidate that was added, and the same search goes on from there.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from nas.candidates.candidate import Candidate
from nas.candidates.constraints import Limit
from nas.candidates.objectives import Objective
from nas.study.schema import complete_document, require_same_search
from nas.study.storage import JOURNAL_NAME, StudyError, open_storage, quiet_optuna

if TYPE_CHECKING:
    import optuna


STUDY_ATTRIBUTE = "nas"


_NOTE_PREFIX = "nas_"


class Study:
    """One search's Optuna study. ``recorded`` are the candidates that it held when it was opened, in order."""

    def __init__(self, study: optuna.Study, objectives: Sequence[Objective], limits: Sequence[Limit]) -> None:
        self._study = study
        self._objectives = tuple(objectives)
        self._limits = tuple(limits)
        self._distributions: dict[str, Any] = {}
        self.recorded = stored_candidates(study)
        self._keys = {(c.key, c.reference) for c in self.recorded}

    @classmethod
    def open(
        cls,
        storage: str | Path,
        name: str,
        objectives: Sequence[Objective],
        limits: Sequence[Limit],
        document: Mapping[str, Any],
        defaults: Mapping[str, Any] = MappingProxyType({}),
    ) -> Study:
        """Create the study, or open it where it exists, made by this release or an earlier one.

        ``document``: what decides the result, as JSON-able data, and a ``fingerprint`` of what that names. What decides
        nothing belongs into a note. ``defaults``: of all keys that this release knows; what a stored document lacks has
        them. Raises ``StudyError`` where the study is that of another search.
        """
        import optuna

        with quiet_optuna():
            study = optuna.create_study(
                storage=open_storage(storage),
                study_name=name,
                directions=[o.direction for o in objectives],
                load_if_exists=True,
            )
            stored_document = study.user_attrs.get(STUDY_ATTRIBUTE)
            if stored_document is None:
                if study.get_trials(deepcopy=False):
                    raise StudyError(f"the study {name!r} exists and is none of nas; choose another --study name")
                study.set_metric_names([o.metric for o in objectives])
                study.set_user_attr(STUDY_ATTRIBUTE, complete_document(document, defaults))
            else:
                require_same_search(name, stored_document, document, defaults, _resume_command(storage, name))
        return cls(study, objectives, limits)

    def note(self, key: str, document: Mapping[str, Any]) -> None:
        """Keep JSON-able data beside the candidates, at once; it replaces what was noted under the same key."""
        with quiet_optuna():
            self._study.set_user_attr(_NOTE_PREFIX + key, dict(document))

    def notes(self, prefix: str) -> dict[str, dict[str, Any]]:
        """What was noted under keys that begin with ``prefix``, by the rest of the key."""
        return stored_notes(self._study, prefix)

    def __contains__(self, candidate: Candidate) -> bool:
        return (candidate.key, candidate.reference) in self._keys

    def add(self, candidate: Candidate, options: dict[str, tuple[Any, ...]]) -> None:
        """Add a finished candidate; one that is there already is not changed. ``options`` are those of each choice."""
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
        attributes: dict[str, Any] = {STUDY_ATTRIBUTE: candidate.to_document(), **_dashboard_attributes(candidate)}
        state = optuna.trial.TrialState.COMPLETE
        if not complete:
            failed = candidate.status == "failed"
            state = optuna.trial.TrialState.FAIL if failed else optuna.trial.TrialState.PRUNED
        with quiet_optuna():
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


def _resume_command(storage: str | Path, name: str) -> str:
    """The command that goes on with a study, wherever it is called from this folder."""
    if "://" in str(storage):
        return f"nas resume {name}, with the same --storage"
    journal = Path(storage)
    return f"nas resume {journal.parent if journal.name == JOURNAL_NAME else journal}"


def _dashboard_attributes(candidate: Candidate) -> dict[str, Any]:
    """What optuna-dashboard shows beside the parameters."""
    attributes_shown: dict[str, Any] = {"status": candidate.status, "architecture": candidate.architecture}
    if candidate.reason:
        attributes_shown["reason"] = candidate.reason
    if candidate.reference:
        attributes_shown["published as"] = candidate.reference
    if candidate.train_seconds is not None:
        attributes_shown["train_seconds"] = round(candidate.train_seconds, 2)
    return {**attributes_shown, **candidate.metrics}


def _constraints(candidate: Candidate, limits: Sequence[Limit]) -> dict[str, Any]:
    """Optuna's own record of constraints (above zero: broken), from which the dashboard greys points out."""
    return {"constraints": [limit.constraint_violation(candidate.metrics) for limit in limits]} if limits else {}


def _param(value: Any) -> Any:
    return json.dumps(value) if isinstance(value, tuple) else value


def stored_notes(study: optuna.Study, prefix: str) -> dict[str, dict[str, Any]]:
    """As ``Study.notes``, of an Optuna study."""
    start = _NOTE_PREFIX + prefix
    return {k.removeprefix(start): v for k, v in study.user_attrs.items() if k.startswith(start)}


def stored_candidates(study: optuna.Study) -> list[Candidate]:
    """The candidates of an Optuna study, in the order in which they were added."""
    with quiet_optuna():
        trials = study.get_trials(deepcopy=False)
    return [Candidate.from_document(t.user_attrs[STUDY_ATTRIBUTE]) for t in trials if STUDY_ATTRIBUTE in t.user_attrs]
