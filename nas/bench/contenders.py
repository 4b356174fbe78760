"""The contenders of a bench: searchers by name, and other packages' algorithms with their authors' settings."""

from __future__ import annotations

import importlib.util
import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from nas.bench.tables.table import BenchTable
from nas.searchers.catalog import SEARCHER_FAMILIES, SEARCHERS, SearcherRow, make_searcher
from nas.searchers.protocol import Searcher
from search_spaces.registry import import_object, table_with_plugins, unknown_name


@dataclass(frozen=True)
class Contender:
    """A searcher (a name, or a factory ``package.module:name``), its options, and what they are in words.

    ``required_package``: another package that must be installed. ``is_external``: whether that package implements it.
    """

    searcher: str
    options: Mapping[str, Any] = field(default_factory=dict)
    about: str = ""
    required_package: str = ""
    is_external: bool = False


CONTENDERS: dict[str, Contender] = {
    "evolution-published": Contender(
        "evolution",
        {"population": 100, "tournament": 25},
        "regularised evolution with the paper's settings: population 100, tournament 25 (arXiv 1802.01548)",
    ),
    "optuna-tpe": Contender(
        "optuna:TPESampler",
        {"multivariate": True},
        "Optuna's TPE, multivariate, 10 random trials first",
        "optuna",
        True,
    ),
    "optuna-nsga2": Contender("optuna:NSGAIISampler", {}, "Optuna's NSGA-II, population 50", "optuna", True),
    "optuna-gp": Contender(
        "optuna:GPSampler",
        {"deterministic_objective": True},
        "Optuna's Gaussian process, told that nothing is noisy, 10 random trials first",
        "optuna",
        True,
    ),
    "pymoo-nsga2": Contender(
        "nas.bench.pymoo_searcher:PymooSearcher",
        {"algorithm": "integers"},
        "pymoo's genetic algorithm, NSGA-II for several objectives, on rounded option numbers as its guide for integers"
        " has it: SBX and polynomial mutation with eta 3, no duplicates, population 20",
        "pymoo",
        True,
    ),
    "pymoo-mixed": Contender(
        "nas.bench.pymoo_searcher:PymooSearcher",
        {"algorithm": "mixed"},
        "pymoo's MixedVariableGA on choices, with rank and crowding for several objectives, population 20",
        "pymoo",
        True,
    ),
}
"""By their names in a bench, where every searcher takes part by its own name too."""

PREFERRED_SEARCHERS = ("auto", "gp", "predictor", "evolution", "local", "nsga2", "sobol", "random")
SLOW_CONTENDERS = ("optuna-gp",)
"""Not in a bench unless they are named: a run takes minutes."""


def default_names() -> list[str]:
    """Every searcher, the preferred ones first, then the other contenders but for the slow ones."""
    own = table_with_plugins("nas.searchers", SEARCHERS, SearcherRow)
    names = [name for name in PREFERRED_SEARCHERS if name in own]
    return [*names, *(n for n in own if n not in names), *(n for n in CONTENDERS if n not in SLOW_CONTENDERS)]


def contender(name: str) -> Contender:
    """The contender of that name. Raises ``UnknownName``."""
    if name in CONTENDERS:
        return CONTENDERS[name]
    own = table_with_plugins("nas.searchers", SEARCHERS, SearcherRow)
    family = name.partition(":")[0]
    if name in own:
        return Contender(name, about=own[name].summary)
    if family != name and family in SEARCHER_FAMILIES:
        is_external = family == "optuna"
        required_package = "optuna" if is_external else ""
        return Contender(name, about=f"{name}, as it comes", required_package=required_package, is_external=is_external)
    raise unknown_name("searcher", name, [*own, *CONTENDERS])


def missing_package(name: str) -> str:
    """Why a contender cannot take part here; empty where it can. Raises ``UnknownName``."""
    required_package = contender(name).required_package
    if required_package and importlib.util.find_spec(required_package) is None:
        return f"{required_package} is not installed"
    return ""


def make_contender(name: str, table: BenchTable, seed: int) -> Searcher:
    """A fresh searcher for a table. Raises ``UnknownName``, and ``ImportError`` where a package is missing."""
    entry = contender(name)
    rng = random.Random(seed)
    if "." in entry.searcher:
        make = import_object(entry.searcher)
        searcher: Searcher = make(table.space, rng, objectives=len(table.objectives), **entry.options)
        return searcher
    space: Any = table.space
    return make_searcher(
        entry.searcher, space, rng, featurize=table.featurize, objectives=len(table.objectives), **entry.options
    )
