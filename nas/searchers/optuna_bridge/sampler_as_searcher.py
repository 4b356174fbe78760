"""Any sampler of Optuna as a searcher: ``optuna:TPESampler``, ``optuna:GPSampler``, or a sampler object.

Each choice of the space is a parameter of an Optuna study in memory, and its value is the number of an option, 0
first: an integer where the options are numbers in ascending order, else a category. Every choice that the space can
make is asked for up front, whether a network makes it or not: samplers that model parameters jointly need all of them
in every trial, and draw the missing ones independently otherwise. What is drawn for a choice that the network does
not make has no effect.
"""

from __future__ import annotations

import copy
import inspect
import random
import warnings
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from difflib import get_close_matches
from itertools import pairwise
from math import isfinite
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, IntDistribution
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial, Trial, TrialState

from nas.searchers.choice_space import ChoiceSpace
from nas.searchers.protocol import Outcome
from search_spaces.registry import UnknownName
from search_spaces.space.genotype import Genotype

_VIOLATION_ATTRIBUTE = "excess"
# The system attribute that Optuna before 5 keeps constraints in, and the name under which later ones read the first.
_CONSTRAINTS_ATTRIBUTE, _FIRST_CONSTRAINT = "constraints", "0"


class SamplerError(ValueError):
    """A sampler that cannot be made, or cannot serve this search."""


class _EndlessStudy(optuna.Study):
    def stop(self) -> None:
        """Samplers that have tried everything ask for a stop; here who searches decides when to."""


def samplers() -> dict[str, type[BaseSampler]]:
    """The samplers that Optuna ships, by name."""
    classes = {name: getattr(optuna.samplers, name) for name in optuna.samplers.__all__}
    return {
        name: one
        for name, one in classes.items()
        if inspect.isclass(one) and issubclass(one, BaseSampler) and not inspect.isabstract(one)
    }


def _signature() -> inspect.Signature:
    """(sampler, space, rng, history, *, objectives, and every option of any sampler)."""
    positional = [
        inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD)
        for name in ("sampler", "space", "rng", "history")
    ]
    options = {"objectives"}.union(*[inspect.signature(one).parameters for one in samplers().values()])
    return inspect.Signature(
        [*positional, *[inspect.Parameter(o, inspect.Parameter.KEYWORD_ONLY) for o in sorted(options)]]
    )


class OptunaSearcher:
    """An Optuna sampler by name, with ``options`` for its constructor, or as an object, which is copied.

    A sampler by name is seeded from ``rng``; an object keeps its own seed. Losses are minimised;
    ``constraint_violation`` is a constraint, for the samplers that heed one. A loss that is not finite counts as the
    worst finite one so far; where there is none yet, the trial failed, and samplers skip it. ``objectives``: how many
    losses an outcome has, by default as many as the first outcome; the sampler restarts then, if it had assumed one.

    CMA-ES sees integers only and heeds no constraint: beyond the limits, losses count as the worst so far. It and the
    genetic samplers breed from what they asked for themselves and learn nothing from other outcomes, ``history`` ones
    included.

    Raises ``UnknownName``, and ``SamplerError`` where the sampler does not take the options or lacks a package.
    ``__signature__`` names the options of all samplers, for who checks options before there is a sampler.
    """

    __signature__ = _signature()

    def __init__(
        self,
        sampler: str | BaseSampler,
        space: ChoiceSpace,
        rng: random.Random,
        history: Sequence[Outcome] = (),
        *,
        objectives: int | None = None,
        **options: Any,
    ) -> None:
        if options and not isinstance(sampler, str):
            raise SamplerError(f"{sampler} is an object and takes no options; pass them to its class")
        self._space = space
        self._rng = rng
        self._sampler_spec = sampler
        self._options = options
        self._is_cma_es = sampler == "CmaEsSampler" or isinstance(sampler, optuna.samplers.CmaEsSampler)
        self._distributions = _distributions(space, integers_only=self._is_cma_es)
        self._objective_count_is_final = objectives is not None
        self._start(objectives or (len(history[0].losses) if history else 1))
        for outcome in history:
            self.tell(outcome)

    def _start(self, objectives: int) -> None:
        self._worst_losses = [-float("inf")] * objectives
        self._pending: dict[Genotype, deque[Trial]] = {}
        with _quiet():
            storage = optuna.storages.InMemoryStorage()
            directions = [optuna.study.StudyDirection.MINIMIZE] * objectives
            name = storage.get_study_name_from_id(storage.create_new_study(directions, "search"))
            self._study = _EndlessStudy(name, storage, self._sampler())

    def _sampler(self) -> BaseSampler:
        if isinstance(self._sampler_spec, str):
            return _make_sampler(self._sampler_spec, self._options, self._rng.getrandbits(32))
        return copy.deepcopy(self._sampler_spec)

    def ask(self) -> Genotype:
        with _quiet():
            try:
                trial = self._study.ask(self._distributions)
            except ImportError as error:
                raise SamplerError(f"{self._study.sampler} needs a package that is not installed: {error}") from None
            except ValueError as error:  # of the sampler, about a study that it is not made for
                raise SamplerError(f"{self._study.sampler} cannot serve this search: {error}") from error
        genotype = self._space.decode([trial.params[name] for name in self._distributions])
        self._pending.setdefault(genotype, deque()).append(trial)
        return genotype

    def tell(self, outcome: Outcome) -> None:
        self._check(outcome)
        pending_trials = self._pending.get(outcome.genotype)
        values = self._values(outcome)
        with _quiet():
            if pending_trials:
                self._finish(pending_trials.popleft(), values, outcome.constraint_violation)
                if not pending_trials:
                    del self._pending[outcome.genotype]
            else:
                self._add_outcome(outcome, values)

    def _check(self, outcome: Outcome) -> None:
        count = len(outcome.losses)
        if count == len(self._worst_losses):
            self._objective_count_is_final = True
            return
        if self._objective_count_is_final:
            raise SamplerError(f"the search has {len(self._worst_losses)} objectives; this outcome has {count}")
        self._objective_count_is_final = True
        self._start(count)

    def _values(self, outcome: Outcome) -> list[float] | None:
        """Finite losses, the worst so far in place of others; ``None`` where there is no finite one yet."""
        self._worst_losses = [
            max(worst, v) if isfinite(v) else worst for worst, v in zip(self._worst_losses, outcome.losses, strict=True)
        ]
        is_infeasible = self._is_cma_es and outcome.constraint_violation > 0
        values = [
            worst if is_infeasible or not isfinite(v) else v
            for worst, v in zip(self._worst_losses, outcome.losses, strict=True)
        ]
        return values if all(map(isfinite, values)) else None

    def _finish(self, trial: Trial, values: list[float] | None, constraint_violation: float) -> None:
        trial.set_user_attr(_VIOLATION_ATTRIBUTE, constraint_violation)
        if hasattr(trial, "set_constraint") and not self._is_cma_es:
            trial.set_constraint(_FIRST_CONSTRAINT, constraint_violation)
        self._study.tell(trial, values, TrialState.FAIL if values is None else TrialState.COMPLETE)

    def _add_outcome(self, outcome: Outcome, values: list[float] | None) -> None:
        """Record an outcome that was not asked for; choices that its network does not make get any option."""
        params = {
            name: index if index >= 0 else int(self._rng.random() * len(options))
            for (name, options), index in zip(
                self._space.decisions().items(), self._space.encode(outcome.genotype).tolist(), strict=True
            )
        }
        self._study.add_trial(
            optuna.create_trial(
                state=TrialState.FAIL if values is None else TrialState.COMPLETE,
                params=params,
                distributions=self._distributions,
                values=values,
                user_attrs={_VIOLATION_ATTRIBUTE: outcome.constraint_violation},
                system_attrs={} if self._is_cma_es else {_CONSTRAINTS_ATTRIBUTE: [outcome.constraint_violation]},
            )
        )


@contextmanager
def _quiet() -> Iterator[None]:
    """Without Optuna's remarks on what is experimental or deprecated in it, and its log."""
    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            warnings.simplefilter("ignore", FutureWarning)
            yield
    finally:
        optuna.logging.set_verbosity(verbosity)


def _distributions(space: ChoiceSpace, *, integers_only: bool) -> dict[str, BaseDistribution]:
    """A distribution for every choice; all of them integers where the sampler knows ``integers_only`` only."""
    return {
        name: IntDistribution(0, len(options) - 1)
        if integers_only or _ascending(options)
        else CategoricalDistribution(range(len(options)))
        for name, options in space.decisions().items()
    }


def _ascending(options: Sequence[Any]) -> bool:
    numeric = all(isinstance(o, int | float) and not isinstance(o, bool) for o in options)
    return numeric and all(a < b for a, b in pairwise(options))


def _make_sampler(name: str, options: Mapping[str, Any], seed: int) -> BaseSampler:
    table = samplers()
    if name not in table:
        close_matches = get_close_matches(name.lower(), [one.lower() for one in table], n=1, cutoff=0.4)
        hints = [one for one in table if one.lower() in close_matches]
        hint = f"did you mean {hints[0]!r}?" if hints else f"known: {', '.join(sorted(table))}"
        raise UnknownName(f"no Optuna sampler {name!r}; {hint}")
    accepted = inspect.signature(table[name]).parameters
    for option in options:
        if option not in accepted:
            raise SamplerError(f"optuna:{name} has no option {option!r}; its options: {', '.join(accepted)}")
    defaults: dict[str, Any] = {"seed": seed, "warn_independent_sampling": False}
    if not hasattr(Trial, "set_constraint"):  # Optuna before 5
        defaults["constraints_func"] = _constraints_of
    arguments = {option: value for option, value in defaults.items() if option in accepted} | dict(options)
    missing = [p.name for p in accepted.values() if p.default is p.empty and p.name not in arguments]
    if missing:
        raise SamplerError(
            f"optuna:{name} needs {', '.join(missing)}: pass a sampler object (parameter values are option numbers)"
        )
    try:
        with _quiet():
            return table[name](**arguments)
    except (TypeError, ValueError) as error:
        raise SamplerError(f"optuna:{name} does not take these options: {error}") from None


def _constraints_of(trial: FrozenTrial) -> tuple[float, ...]:
    return (float(trial.user_attrs[_VIOLATION_ATTRIBUTE]),)
