"""Hardware-aware neural architecture search: a chip, a data set, an evening, a Pareto front.

``import nas`` is all that a user needs, and costs nothing: every name is loaded when it is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hardware_models.catalog import load_hardware as load_hardware
    from hardware_models.cost import Cost as Cost
    from hardware_models.cost import HardwareModel as HardwareModel
    from nas.cache import EvaluationCache as EvaluationCache
    from nas.candidate import Candidate as Candidate
    from nas.candidate import Measurement as Measurement
    from nas.engine import search as search
    from nas.hashing import functional_hash as functional_hash
    from nas.hashing.same import same_network as same_network
    from nas.objectives import Limit as Limit
    from nas.objectives import Objective as Objective
    from nas.result import SearchResult as SearchResult
    from nas.searchers.as_sampler import NativeSampler as NativeSampler
    from search_spaces import blocks as blocks
    from search_spaces import heads as heads
    from search_spaces.builder import Builder as Builder
    from search_spaces.builder import Tensor as Tensor
    from search_spaces.builder import block as block
    from search_spaces.catalog import load_network as load_network
    from search_spaces.catalog import load_space as load_space
    from search_spaces.from_torch import graph_from_module as graph_from_module
    from search_spaces.graph import Graph as Graph
    from search_spaces.module import to_module as to_module
    from search_spaces.opened import space_from as space_from
    from search_spaces.ops import GraphError as GraphError
    from search_spaces.space import Choose as Choose
    from search_spaces.space import Genotype as Genotype
    from search_spaces.space import GenotypeError as GenotypeError
    from search_spaces.space import Space as Space
    from search_spaces.space import SpaceError as SpaceError

__version__ = "0.1.0"

_HOMES = {
    "Builder": "search_spaces.builder",
    "Candidate": "nas.candidate",
    "Choose": "search_spaces.space",
    "Cost": "hardware_models.cost",
    "EvaluationCache": "nas.cache",
    "Genotype": "search_spaces.space",
    "GenotypeError": "search_spaces.space",
    "Graph": "search_spaces.graph",
    "GraphError": "search_spaces.ops",
    "HardwareModel": "hardware_models.cost",
    "Limit": "nas.objectives",
    "Measurement": "nas.candidate",
    "NativeSampler": "nas.searchers.as_sampler",
    "Objective": "nas.objectives",
    "SearchResult": "nas.result",
    "Space": "search_spaces.space",
    "SpaceError": "search_spaces.space",
    "Tensor": "search_spaces.builder",
    "block": "search_spaces.builder",
    "functional_hash": "nas.hashing",
    "graph_from_module": "search_spaces.from_torch",
    "load_hardware": "hardware_models.catalog",
    "load_network": "search_spaces.catalog",
    "load_space": "search_spaces.catalog",
    "same_network": "nas.hashing.same",
    "search": "nas.engine",
    "space_from": "search_spaces.opened",
    "to_module": "search_spaces.module",
}
_MODULES = {"blocks": "search_spaces.blocks", "heads": "search_spaces.heads"}

__all__ = sorted([*_HOMES, *_MODULES])


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        value = getattr(import_module(_HOMES[name]), name)
    elif name in _MODULES:
        value = import_module(_MODULES[name])
    else:
        raise AttributeError(f"module 'nas' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
