"""Strategies by name: a table of strings. Other packages add rows through the entry-point group ``nas.strategies``."""

from __future__ import annotations

from dataclasses import dataclass

from nas.engine.options import SettingError
from nas.engine.problem import SearchProblem
from nas.engine.strategies.strategy import SearchContext, Strategy, StrategyFactory
from search_spaces.registry import import_named, named_row, table_with_plugins


@dataclass(frozen=True)
class StrategyRow:
    """One named strategy: its factory, and what it is in a line."""

    factory: str
    summary: str


STRATEGIES: dict[str, StrategyRow] = {
    "score_then_train": StrategyRow(
        "nas.engine.strategies.score_then_train:ScoreThenTrain",
        "a zero-cost score ranks many candidates, the promising ones are trained, in rounds",
    ),
    "train_every_candidate": StrategyRow(
        "nas.engine.strategies.train_every_candidate:TrainEveryCandidate",
        "every candidate within the limits is trained, at as many fidelities as the searcher asks for",
    ),
    "predict_only": StrategyRow(
        "nas.engine.strategies.predict_only:PredictOnly", "nothing is trained: prediction and zero-cost score rank"
    ),
}


def default_strategy(problem: SearchProblem) -> str:
    """The strategy that score and training budget ask for."""
    if problem.evaluator is None:
        return "predict_only"
    return "train_every_candidate" if problem.score is None else "score_then_train"


def find_strategy(strategy: str | StrategyFactory, problem: SearchProblem) -> StrategyFactory:
    """What makes the strategy: by name, ``package.module:name`` or ``./file.py:name``, or itself.

    ``auto`` is ``default_strategy``.

    Raises ``UnknownName``.
    """
    if not isinstance(strategy, str):
        return strategy
    name = default_strategy(problem) if strategy == "auto" else strategy
    table = table_with_plugins("nas.strategies", STRATEGIES, StrategyRow)
    path = name if ":" in name else named_row("strategy", name, table).factory
    factory: StrategyFactory = import_named(path, SettingError)
    return factory


def make_strategy(factory: StrategyFactory, context: SearchContext) -> Strategy:
    """The strategy of this search. Raises ``SettingError`` where it cannot run it."""
    made = factory(context)
    if not isinstance(made, Strategy):
        raise SettingError(f"the strategy {factory!r} makes {type(made).__name__}, which has no method run()")
    return made
