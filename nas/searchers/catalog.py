"""Search algorithms by name: tables of strings.

A searcher is a file here and a row in ``SEARCHERS``, or an entry point of the group ``nas.searchers``. A name with a
colon is a row of ``SEARCHER_FAMILIES`` with what it is made of: ``optuna:TPESampler``.
"""

from __future__ import annotations

import inspect
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from nas.searchers.protocol import Featurizer, Outcome, Searcher
from search_spaces.registry import import_object, named_row, table_with_plugins
from search_spaces.space.genotype import Genotype
from search_spaces.space.space import Space


@dataclass(frozen=True)
class SearcherRow:
    """One named searcher: a factory of (space, random source, earlier outcomes), and what it is in a line."""

    factory: str
    summary: str


SEARCHERS: dict[str, SearcherRow] = {
    "auto": SearcherRow(
        "nas.searchers.auto:AutoSearch", "gp where candidates are trained, evolution or nsga2 where they are predicted"
    ),
    "evolution": SearcherRow(
        "nas.searchers.evolution:AgingEvolution",
        "regularised (aging) evolution, several objectives and hard limits (arXiv 1802.01548)",
    ),
    "gp": SearcherRow(
        "nas.searchers.surrogates.bayesian:BayesianSearch",
        "Gaussian processes over decisions and zero-cost features, expected (hypervolume) improvement",
    ),
    "local": SearcherRow(
        "nas.searchers.local_search:LocalSearch",
        "local search with restarts, Pareto local search for several objectives (arXiv 2004.08996)",
    ),
    "nsga2": SearcherRow(
        "nas.searchers.nsga2:Nsga2", "NSGA-II, non-dominated sorting and crowding (doi 10.1109/4235.996017)"
    ),
    "predictor": SearcherRow(
        "nas.searchers.surrogates.tree_ensemble:TreeEnsembleSearch",
        "an ensemble of trees over decisions and zero-cost features, Thompson sampling (after arXiv 1910.11858)",
    ),
    "random": SearcherRow("nas.searchers.random_search:RandomSearch", "independent random genotypes"),
    "sobol": SearcherRow("nas.searchers.low_discrepancy:LowDiscrepancy", "points that fill the space evenly"),
}


# Searchers that are made of something else, by the word before the colon: factories that take the word after it first
SEARCHER_FAMILIES: dict[str, SearcherRow] = {
    "halving": SearcherRow(
        "nas.searchers.successive_halving:SuccessiveHalving",
        "short trainings first, longer ones for the best (ASHA, arXiv 1810.05934): halving:gp",
    ),
    "optuna": SearcherRow(
        "nas.searchers.optuna_bridge.sampler_as_searcher:OptunaSearcher", "any sampler of Optuna: optuna:TPESampler"
    ),
}


# What a search knows and a factory may ask for, by the names of keyword-only parameters: the present one first, after
# it the one that factories of early releases have.
_CONTEXT_PARAMETERS: dict[str, tuple[str, ...]] = {
    "network_key": ("network_key", "name_of"),
    "featurize": ("featurize", "look"),
    "objectives": ("objectives",),
}


def make_searcher(
    name: str,
    space: Space,
    rng: random.Random,
    history: Sequence[Outcome] = (),
    *,
    network_key: Callable[[Genotype], str] | None = None,
    featurize: Featurizer | None = None,
    objectives: int | None = None,
    **options: Any,
) -> Searcher:
    """The searcher of that name on ``space``, starting from ``history`` outcomes if there are any.

    ``options`` are keyword arguments of its own. ``network_key`` tells a genotype's network, ``featurize`` what is
    known of it without paying (its key is ``network_key``'s where that is not given), ``objectives`` is how many losses
    an outcome has: for those that take them. Raises ``UnknownName``, and ``ValueError`` for an option that it does not
    have.
    """
    family, colon, inner = name.partition(":")
    if colon:
        row = named_row("family of searchers", family, SEARCHER_FAMILIES)
    else:
        row = named_row("searcher", name, table_with_plugins("nas.searchers", SEARCHERS, SearcherRow))
    factory: Callable[..., Searcher] = import_object(row.factory)
    if featurize is not None and network_key is None:
        network_key = _key_from_featurizer(featurize)
    context = {"network_key": network_key, "featurize": featurize, "objectives": objectives}
    parameters = inspect.signature(factory).parameters.values()
    keyword_names = {p.name for p in parameters if p.kind is p.KEYWORD_ONLY}
    context_arguments = {
        parameter: context[meaning]
        for meaning, names in _CONTEXT_PARAMETERS.items()
        for parameter in names
        if parameter in keyword_names
    }
    accepts_any_option = any(p.kind is p.VAR_KEYWORD for p in parameters)  # then it checks them itself
    option_names = keyword_names - set(context_arguments)
    for option in options if not accepts_any_option else ():
        if option not in option_names:
            known_options = ", ".join(sorted(option_names)) or "none"
            raise ValueError(f"the searcher {name!r} has no option {option!r}; its options: {known_options}")
    leading_arguments = (inner,) if colon else ()
    return factory(*leading_arguments, space, rng, history, **context_arguments, **options)


def _key_from_featurizer(featurize: Featurizer) -> Callable[[Genotype], str]:
    def key_of_genotype(genotype: Genotype) -> str:
        return featurize(genotype).key

    return key_of_genotype
