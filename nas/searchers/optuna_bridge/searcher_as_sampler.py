"""Searchers of this package as a sampler of Optuna: ``optuna.create_study(sampler=NativeSampler("evolution"))``.

Parameters that every finished trial of the study has are drawn together by the searcher; others, as in the first
trial, are drawn independently at random. Each parameter becomes a choice among listed options: its categories, its
steps, or points of a grid where there are more than ``resolution`` of them or no steps. Values that other samplers
drew count as the nearest point of the grid.
"""

from __future__ import annotations

import math
import random
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers import BaseSampler
from optuna.search_space import IntersectionSearchSpace
from optuna.study import Study, StudyDirection
from optuna.trial import FrozenTrial, TrialState

from nas.searchers.catalog import make_searcher
from nas.searchers.choice_space import FlatSpace
from nas.searchers.protocol import Outcome, Searcher
from search_spaces.space.genotype import DecisionValue, Genotype
from search_spaces.space.space import Space

# Studies with n_jobs call one sampler from several threads. A lock of each sampler's own could not be pickled.
_LOCK = threading.Lock()

_FINISHED = (TrialState.COMPLETE, TrialState.FAIL, TrialState.PRUNED)


@dataclass(frozen=True)
class _Parameter:
    """One parameter as a choice: its options, and the value of the parameter for each of them."""

    distribution: BaseDistribution
    options: tuple[DecisionValue, ...]
    values: tuple[Any, ...]

    def option(self, value: Any) -> DecisionValue:
        """The option that a value of the parameter counts as: its own, or the nearest."""
        if isinstance(self.distribution, CategoricalDistribution):
            return self.options[int(self.distribution.to_internal_repr(value))]
        if getattr(self.distribution, "log", False):
            return min(self.options, key=lambda o: abs(math.log(cast(float, o)) - math.log(value)))
        return min(self.options, key=lambda o: abs(cast(float, o) - value))

    def value(self, option: DecisionValue) -> Any:
        return self.values[self.options.index(option)]


def _parameter(distribution: BaseDistribution, resolution: int) -> _Parameter:
    if isinstance(distribution, CategoricalDistribution):
        choices = distribution.choices
        has_text_choices = all(isinstance(c, str) for c in choices) and len(set(choices)) == len(choices)
        return _Parameter(distribution, choices if has_text_choices else tuple(range(len(choices))), choices)
    if not isinstance(distribution, IntDistribution | FloatDistribution):
        raise ValueError(f"a {type(distribution).__name__} has no listed choices")
    values = _grid(distribution, resolution)
    return _Parameter(distribution, values, values)


def _grid(distribution: IntDistribution | FloatDistribution, resolution: int) -> tuple[float, ...]:
    """Ascending values from the lowest to the highest, evenly spaced, or by even factors where it is logarithmic."""
    low, high, step = distribution.low, distribution.high, distribution.step
    if low == high:
        return (low,)
    fractions = [i / (resolution - 1) for i in range(resolution)]
    if distribution.log:
        points = [min(low * (high / low) ** fraction, high) for fraction in fractions]
    else:
        points = [min(low + (high - low) * fraction, high) for fraction in fractions]
    if step is None:
        return tuple(sorted({*points[:-1], high}))
    steps = round((high - low) / step)
    is_short = steps < resolution and not distribution.log
    indices = range(steps + 1) if is_short else sorted({round((point - low) / step) for point in points})
    return tuple([min(low + index * step, high) for index in indices])


class NativeSampler(BaseSampler):
    """A searcher by name (``nas.searchers.catalog.SEARCHERS``), with ``options`` of its own, as an Optuna sampler.

    ``resolution``: how many values a parameter has at most. Failed and pruned trials count as failures, constraints as
    hard limits, by the sum of what is above zero. Before each draw the searcher is told of all trials that finished
    since, in their order and whoever ran them: studies in a file or data base go on where they were, and several
    processes may work on one. Raises ``UnknownName`` for the searcher, and ``ValueError``.
    """

    def __init__(
        self, searcher: str = "evolution", *, seed: int | None = None, resolution: int = 128, **options: Any
    ) -> None:
        if resolution < 2:
            raise ValueError(f"a grid has at least 2 points, not {resolution}")
        self._name = searcher
        self._options = options
        self._resolution = resolution
        self._rng = random.Random(seed)
        self._independent = optuna.samplers.RandomSampler(seed=seed)
        self._study = ""
        self._intersection = IntersectionSearchSpace()
        self._own_trials: set[int] = set()  # numbers of the trials that this sampler drew for
        self._reset()
        self._validate()

    def _validate(self) -> None:
        """Whether there is such a searcher with such options, before a study begins."""
        space = FlatSpace({"choice": (0, 1)})
        make_searcher(self._name, cast(Space, space), random.Random(0), objectives=1, **self._options)

    def __str__(self) -> str:
        return f"NativeSampler({self._name!r})"

    def __getstate__(self) -> dict[str, Any]:
        """Without the searcher, which is built again from the study."""
        return {**self.__dict__, "_searcher": None, "_parameters": {}, "_synchronised_trials": set()}

    def reseed_rng(self) -> None:
        """Draw what comes from a source that nobody seeded, as Optuna asks of samplers whose trials run in parallel."""
        self._rng.seed()
        self._independent.reseed_rng()

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """The parameters that all finished trials have in common."""
        with _LOCK:
            if self._study != study.study_name:
                self._study = study.study_name
                self._intersection = IntersectionSearchSpace()
                self._reset()
            return self._intersection.calculate(study)

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Values of these parameters, as the searcher asks for them."""
        if not search_space:
            return {}
        with _LOCK:
            searcher = self._synchronised_searcher(study, search_space)
            genotype = searcher.ask()
            return {name: parameter.value(genotype[name]) for name, parameter in self._parameters.items()}

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """A random value."""
        return self._independent.sample_independent(study, trial, param_name, param_distribution)

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        """Remember that this trial is one of ours."""
        if self._study != study.study_name:
            self._own_trials = set()
        self._own_trials.add(trial.number)

    def _reset(self) -> None:
        self._searcher: Searcher | None = None
        self._parameters: dict[str, _Parameter] = {}
        self._synchronised_trials: set[int] = set()

    def _synchronised_searcher(self, study: Study, search_space: Mapping[str, BaseDistribution]) -> Searcher:
        """The searcher, told of every trial that finished since; a new one where the parameters are others."""
        if {name: parameter.distribution for name, parameter in self._parameters.items()} != dict(search_space):
            self._reset()
        finished = study.get_trials(deepcopy=False, states=_FINISHED)
        new = [t for t in finished if t.number not in self._synchronised_trials]
        self._synchronised_trials.update(t.number for t in new)
        if self._searcher is None:
            self._parameters = {name: _parameter(d, self._resolution) for name, d in search_space.items()}
            foreign_trials = [t for t in new if t.number not in self._own_trials]
            new = [t for t in new if t.number in self._own_trials]
            self._searcher = make_searcher(
                self._name,
                # No searcher that this package ships needs more of a space than its choices.
                cast(Space, FlatSpace({name: one.options for name, one in self._parameters.items()})),
                self._rng,
                [o for o in (self._outcome(t, study.directions) for t in foreign_trials) if o is not None],
                network_key=Genotype.to_json,
                objectives=len(study.directions),
                **self._options,
            )
        for one in new:
            outcome = self._outcome(one, study.directions)
            if outcome is not None:
                self._searcher.tell(outcome)
        return self._searcher

    def _outcome(self, trial: FrozenTrial, directions: Sequence[StudyDirection]) -> Outcome | None:
        """What became of a trial; ``None`` where it lacks one of the parameters."""
        if any(name not in trial.params for name in self._parameters):
            return None
        genotype = Genotype({name: one.option(trial.params[name]) for name, one in self._parameters.items()})
        if trial.state == TrialState.COMPLETE:
            signs = [-1 if d == StudyDirection.MAXIMIZE else 1 for d in directions]
            losses = tuple([sign * value for sign, value in zip(signs, trial.values, strict=True)])
        else:
            losses = tuple([math.inf] * len(directions))
        return Outcome(genotype, losses, _constraint_violation(trial))


def _constraint_violation(trial: FrozenTrial) -> float:
    constraints: Mapping[str, float] | None = getattr(trial, "constraints", None)
    if constraints is None:  # Optuna before 5
        constraints = dict(enumerate(trial.system_attrs.get("constraints") or ()))  # type: ignore[arg-type]
    return sum(max(0.0, value) for value in constraints.values())
