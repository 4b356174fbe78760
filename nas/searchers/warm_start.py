"""What an earlier study of the same space, or of one much like it, says to a new search.

Its best networks are asked for first, and a model of its losses becomes a free feature of every genotype: a searcher
that learns from features learns how far to trust it. What the model does not know of its own study is left out.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Sequence
from dataclasses import replace

import numpy

from nas.candidates.candidate import Candidate
from nas.candidates.metrics import metric_row
from nas.candidates.objectives import Objective
from nas.candidates.pareto import spread
from nas.searchers.choice_space import ChoiceSpace
from nas.searchers.multi_fidelity import Asked, by_share
from nas.searchers.protocol import Free, Look, Outcome, Searcher
from nas.searchers.surrogates.acquisition import Bend
from nas.searchers.surrogates.encoding import Encoder, Rows, stacked
from nas.searchers.surrogates.gaussian_process import GaussianProcess, distances
from nas.searchers.surrogates.model_based import finite
from search_spaces.space.genotype import Genotype

_FOLDS = 5
_LEAST = 10  # outcomes that a recollection is made of
_CERTAINTY = 3.0  # deviations of a correlation by chance, 1 / sqrt(n), that a recollection's own must exceed


def adapted(space: ChoiceSpace, genotype: Genotype, rng: random.Random) -> Genotype | None:
    """A genotype of another space in this one: decisions that exist here, and random ones for the rest.

    ``None`` where fewer than half of its decisions, name and option, exist here.
    """
    options = space.decisions()
    kept = {name: value for name, value in genotype.items() if value in options.get(name, ())}
    return space.complete(kept, rng) if 2 * len(kept) >= len(genotype) else None


class Advised:
    """A searcher around another: it asks for what is advised first, in that order.

    Advice that it is told of before it asked for it, as by a study that goes on, is not asked for any more. Where the
    inner searcher asks for ``shares`` of the full training, advice is trained for the least, like all that is new.
    """

    def __init__(self, searcher: Searcher, advice: Sequence[Genotype]) -> None:
        self._searcher = searcher
        self._by_share = by_share(searcher)
        self._advice = deque(dict.fromkeys(advice))

    @property
    def shares(self) -> tuple[float, ...]:
        return self._by_share.shares

    def ask(self) -> Genotype:
        return self._advice.popleft() if self._advice else self._searcher.ask()

    def tell(self, outcome: Outcome) -> None:
        self._heed(outcome)
        self._searcher.tell(outcome)

    def ask_at(self) -> Asked:
        return Asked(self._advice.popleft(), self.shares[0]) if self._advice else self._by_share.ask_at()

    def tell_at(self, outcome: Outcome, share: float) -> None:
        self._heed(outcome)
        self._by_share.tell_at(outcome, share)

    def _heed(self, outcome: Outcome) -> None:
        if outcome.genotype in self._advice:
            self._advice.remove(outcome.genotype)


class Recollection:
    """What earlier outcomes make one expect of a genotype: a Gaussian process an objective, over the decisions.

    ``skills``: of each objective, the correlation of its losses with what the process says of them when it has not
    seen them (five-fold cross-validation). An objective where chance would do as well is not predicted: ``predict``
    returns a loss for each of ``trusted``, their places. A loss that is not finite counts as the worst finite one;
    ``most``: how many outcomes are looked at, the last ones. Raises ``ValueError`` for outcomes of other spaces.
    """

    def __init__(
        self, space: ChoiceSpace, outcomes: Sequence[tuple[Genotype, Sequence[float]]], *, most: int = 300
    ) -> None:
        outcomes = outcomes[-most:]
        self._encoder = Encoder(space)  # type: ignore[arg-type]  # which asks it for its decisions only
        self._said: dict[Genotype, tuple[float, ...]] = {}
        self._processes: list[GaussianProcess] = []
        skills, trusted = [], []
        if len(outcomes) >= _LEAST:
            rows = stacked([self._row(genotype) for genotype, _ in outcomes], self._encoder.width)
            losses = finite([losses for _, losses in outcomes])
            within = distances([rows], [rows])
            self._rows = [rows]
            for place, values in enumerate(Bend(losses)(losses).T):
                process = GaussianProcess(within, values)
                skills.append(_skill(within[0], values, process))
                if skills[-1] > _CERTAINTY / len(values) ** 0.5:
                    trusted.append(place)
                    self._processes.append(process)
        self.skills = tuple(skills)
        self.trusted = tuple(trusted)

    def _row(self, genotype: Genotype) -> Rows:
        try:
            return self._encoder.row(genotype)
        except KeyError as error:
            raise ValueError(f"the space has no option {error} that an earlier genotype has; adapt it first") from None

    def predict(self, genotype: Genotype) -> tuple[float, ...]:
        """The losses to be expected, bent as ``Bend`` does: one an objective of ``trusted``."""
        if genotype not in self._said:
            row = self._row(genotype)[None]
            self._said[genotype] = tuple(
                float(process.predict(distances([row], self._rows))[0][0]) for process in self._processes
            )
        return self._said[genotype]


def _skill(within: Rows, values: Rows, process: GaussianProcess) -> float:
    """The correlation of values with what is predicted of them by a process that has not seen them."""
    folds = numpy.arange(len(values)) % _FOLDS
    said = numpy.empty_like(values)
    for fold in range(_FOLDS):
        seen = folds != fold
        among, across = within[numpy.ix_(seen, seen)], within[numpy.ix_(~seen, seen)]
        said[~seen] = GaussianProcess([among], values[seen], process.hyperparameters).predict([across])[0]
    if min(said.std(), values.std()) < 1e-12:
        return 0.0
    return float(numpy.corrcoef(said, values)[0, 1])


def with_recollection(look: Look, recollection: Recollection) -> Look:
    """A look whose features end with what the recollection says."""

    def looked(genotype: Genotype) -> Free:
        free = look(genotype)
        return replace(free, features=(*free.features, *recollection.predict(genotype)))

    return looked


def earlier(
    candidates: Sequence[Candidate],
    objectives: Sequence[Objective],
    space: ChoiceSpace,
    rng: random.Random,
    count: int = 8,
) -> tuple[list[Genotype], Recollection | None]:
    """Advice, at most ``count`` genotypes of this space spread over the front, and a recollection if there is any.

    ``candidates`` of the earlier study (``nas.study.load.load_candidates``): the trained ones, or the scored ones where none
    was trained, whose zero-cost score then stands for a quality. Objectives that the study does not know are passed
    over; what hardware models predict and what is counted is free in a new search and not recollected.
    """
    trained = any(c.status == "trained" for c in candidates)
    pool = [c for c in candidates if c.status == ("trained" if trained else "scored")]
    known = [o for o in objectives if any(_loss(c, o) is not None for c in pool)]
    told: dict[Genotype, tuple[float, ...]] = {}
    beyond: set[Genotype] = set()
    for candidate in pool if known else ():
        losses = [_loss(candidate, objective) for objective in known]
        genotype = adapted(space, candidate.genotype, rng)
        if genotype is not None and None not in losses:
            told[genotype] = tuple(loss for loss in losses if loss is not None)
            beyond.update([genotype] if candidate.excess > 0 else [])
    able = [genotype for genotype in told if genotype not in beyond]
    advice = [able[i] for i in spread([told[genotype] for genotype in able], count)]
    paid = [i for i, o in enumerate(known) if metric_row(o.metric).origin in ("quality", "score")]
    recollection = Recollection(space, [(g, [losses[i] for i in paid]) for g, losses in told.items()]) if paid else None
    return advice, recollection if recollection is not None and recollection.trusted else None


def _loss(candidate: Candidate, objective: Objective) -> float | None:
    """A candidate's loss; of a quality that was not trained, its zero-cost score's; ``None`` where it has none."""
    metrics = candidate.metrics
    if objective.metric in metrics:
        return objective.loss(metrics)
    if candidate.status == "scored" and metric_row(objective.metric).origin == "quality" and "score" in metrics:
        return -metrics["score"]
    return None
