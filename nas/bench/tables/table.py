"""Bench tables: search problems whose networks' quality is known, and the best of which is known.

A table is addressed by name: ``nb201_c100`` (NAS-Bench-201 on CIFAR-100, 200 epochs), ``nb201_c100_val`` (searched by
validation accuracy after 12 epochs, tested after 200), ``nb201_c10@pixel3`` (error against a device's latency),
``nb101``, ``accel@zcu102`` (a surrogate of Accel-NASBench: error against an accelerator's time). Measurements are not
part of the project; a folder holds them.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from nas.candidates.pareto import hypervolume, non_dominated_indices
from nas.searchers.choice_space import ChoiceSpace
from nas.searchers.protocol import KnownFeatures
from search_spaces.registry import import_object, unknown_name
from search_spaces.space.genotype import Genotype

Losses = tuple[float, ...]
Floats = NDArray[np.float64]


class BenchError(ValueError):
    """A table that is missing or unusable; the message says what to do."""


@dataclass(frozen=True)
class KnownOptimum:
    """The best that a search of a table can find.

    ``least``: of one objective, the least loss that the search sees; ``least_test_loss``: the least test loss.
    ``front``: of two, the losses that none dominates; ``reference``: the point that its hypervolume is measured from;
    ``exact``: whether the front is the true one, or only the best known.
    """

    least: float = float("nan")
    least_test_loss: float = float("nan")
    front: tuple[Losses, ...] = ()
    reference: Losses = ()
    exact: bool = True

    @cached_property
    def hypervolume(self) -> float:
        """The front's hypervolume; 0 for one objective."""
        return hypervolume(self.front, self.reference) if self.front else 0.0


class BenchTable(Protocol):
    """A search problem whose answers are known. All losses are less-is-better, errors in per cent.

    ``networks``: the number of distinct ones, ``None`` where they were not counted.
    """

    @property
    def name(self) -> str: ...

    @property
    def title(self) -> str: ...

    @property
    def objectives(self) -> tuple[str, ...]: ...

    @property
    def networks(self) -> int | None: ...

    @property
    def space(self) -> ChoiceSpace: ...

    @property
    def optimum(self) -> KnownOptimum: ...

    def losses(self, genotype: Genotype) -> Losses:
        """The losses that the search sees (validation)."""

    def test_losses(self, genotype: Genotype) -> Losses:
        """The losses that regret is measured by: the same, but where a table has test losses."""

    def seconds(self, genotype: Genotype) -> float:
        """Simulated time of a training; ``nan`` where it is unknown."""

    def featurize(self, genotype: Genotype) -> KnownFeatures:
        """The network's key, and ``graph_features``."""


@dataclass(frozen=True)
class TabularBenchmark:
    """A tabular benchmark: every genotype of the space is listed.

    ``numbers`` gives a genotype's network by its decisions' values in order; ``keys``, ``validation`` and ``test``
    (networks, objectives), ``training_s`` (networks) and ``features`` (networks, ``graph_features``) are by network.
    ``make_space`` is called once a process, and pickled in place of the space.
    """

    name: str
    title: str
    objectives: tuple[str, ...]
    make_space: Callable[[], ChoiceSpace]
    numbers: Mapping[Hashable, int]
    keys: Sequence[str]
    validation: Floats
    test: Floats
    training_s: Floats
    features: Floats

    def __getstate__(self) -> dict[str, Any]:
        return {field.name: getattr(self, field.name) for field in fields(self)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)

    @cached_property
    def space(self) -> ChoiceSpace:
        return self.make_space()

    @property
    def networks(self) -> int | None:
        return len(self.keys)

    @cached_property
    def optimum(self) -> KnownOptimum:
        return optimum_of(self.validation, self.test)

    @cached_property
    def _known_features(self) -> list[KnownFeatures]:
        return [KnownFeatures(key, tuple(row)) for key, row in zip(self.keys, self.features.tolist(), strict=True)]

    def _network_number(self, genotype: Genotype) -> int:
        return self.numbers[tuple(genotype.values())]

    def losses(self, genotype: Genotype) -> Losses:
        return tuple(self.validation[self._network_number(genotype)].tolist())

    def test_losses(self, genotype: Genotype) -> Losses:
        return tuple(self.test[self._network_number(genotype)].tolist())

    def seconds(self, genotype: Genotype) -> float:
        return float(self.training_s[self._network_number(genotype)])

    def featurize(self, genotype: Genotype) -> KnownFeatures:
        return self._known_features[self._network_number(genotype)]


def optimum_of(validation: Floats, test: Floats) -> KnownOptimum:
    """The optimum of networks with these losses (networks, objectives)."""
    if validation.shape[1] == 1:
        return KnownOptimum(float(validation.min()), float(test.min()))
    best = front_points(validation)
    return KnownOptimum(front=best, reference=hypervolume_reference(best, validation))


def front_points(losses: Floats) -> tuple[Losses, ...]:
    """The points that no other dominates, sorted."""
    return tuple(sorted(tuple(losses[i].tolist()) for i in non_dominated_indices(losses.tolist())))


def hypervolume_reference(best: Sequence[Losses], losses: Floats) -> Losses:
    """The reference point: the first loss's median, and a tenth of the front's range above its worst for the others.

    Networks worse than the median in quality count nothing, however fast they are: those that compute next to nothing
    would have most of the volume otherwise.
    """
    median = float(np.median(losses[:, 0]))
    others = [[point[i] for point in best if point[0] < median] for i in range(1, losses.shape[1])]
    return (median, *(max(values) + 0.1 * (max(values) - min(values)) for values in others))


def first_occurrences(names: Sequence[Hashable]) -> tuple[list[int], list[int]]:
    """The number of each name among the distinct ones, in order of appearance, and the first index of each."""
    numbers: dict[Hashable, int] = {}
    firsts: list[int] = []
    for index, name in enumerate(names):
        if name not in numbers:
            numbers[name] = len(firsts)
            firsts.append(index)
    return [numbers[name] for name in names], firsts


# By the part of a name before "_" or "@": the function that opens the table of that name in a folder
TABLE_OPENERS: dict[str, str] = {
    "nb201": "nas.bench.tables.nasbench201:open_table",
    "nb101": "nas.bench.tables.nasbench101:open_table",
    "accel": "nas.bench.tables.accel_nasbench:open_table",
}

DEFAULT_TABLES: tuple[str, ...] = (
    "nb201_c10",
    "nb201_c100",
    "nb201_in16",
    "nb201_c10_val",
    "nb201_c100_val",
    "nb201_in16_val",
    "nb101",
    "nb201_c10@pixel3",
    "nb201_c10@1080ti_32",
    "nb201_c100@pi5",
    "accel@zcu102",
    "accel@a100",
    "accel@tpuv2",
)
"""The tables of a bench that names none."""

QUICK_TABLES: tuple[str, ...] = ("nb201_c100", "nb201_c10@pixel3", "accel@zcu102")


def open_table(name: str, data: Path) -> BenchTable:
    """The table of that name from the measurements in ``data``. Raises ``UnknownName``, ``BenchError``."""
    opener = TABLE_OPENERS.get(name.replace("@", "_").partition("_")[0])
    if opener is None:
        raise unknown_name("table", name, list(DEFAULT_TABLES))
    table: BenchTable = import_object(opener)(name, data)
    return table


def existing_file(path: Path, what: str) -> Path:
    """The path, if there is a file. Raises ``BenchError``."""
    if not path.is_file():
        raise BenchError(f"no {what} at {str(path)!r}; --data names the folder that holds it")
    return path
