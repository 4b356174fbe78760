"""What a strategy is, and what it works with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from nas.engine.device_feedback import DeviceFeedback
from nas.engine.options import SettingError
from nas.engine.progress import Reporter
from nas.engine.reference_networks import ReferenceNetworks
from nas.engine.searcher_factory import SearcherFactory
from nas.engine.state import SearchState
from nas.engine.training_jobs import TrainingScheduler
from nas.searchers.protocol import Searcher


@runtime_checkable
class Strategy(Protocol):
    """How a search spends its budget."""

    def run(self) -> None:
        """Propose, evaluate and record candidates until the budget is spent, or nothing new is to be had.

        Everything that is drawn follows from the seed, so that a resumed search draws it again.
        """
        ...


@dataclass(frozen=True)
class SearchContext:
    """All that a strategy works with.

    ``state`` holds the problem and the candidates so far, and records finished ones. ``searcher`` is the first one that
    ``make_searcher`` made. ``trainings`` is ``None`` where nothing is trained; ``trainings_are_shared`` says whether a
    cache keeps them. ``feedback`` measures on a real device, where there is one.
    """

    state: SearchState
    make_searcher: SearcherFactory
    searcher: Searcher
    trainings: TrainingScheduler | None
    trainings_are_shared: bool
    reference_networks: ReferenceNetworks
    feedback: DeviceFeedback
    reporter: Reporter

    def required_trainings(self, strategy: str) -> TrainingScheduler:
        """The trainings of a strategy that needs them. Raises ``SettingError`` where nothing is to be trained."""
        if self.trainings is None:
            raise SettingError(f"the strategy {strategy} trains candidates: say how many, as in train=12")
        return self.trainings


StrategyFactory = Callable[[SearchContext], Strategy]
"""A strategy of one's own: a class, or any function of the context."""
