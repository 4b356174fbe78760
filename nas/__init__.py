"""Hardware-aware neural architecture search: a chip, a data set, an evening, a Pareto front.

``import nas`` is all that a user needs, and costs nothing: every name is loaded when it is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from evaluators.evaluator import Artifact as Artifact
    from evaluators.evaluator import CurvePoint as CurvePoint
    from evaluators.evaluator import Evaluation as Evaluation
    from evaluators.evaluator import EvaluationCost as EvaluationCost
    from evaluators.evaluator import EvaluationFailure as EvaluationFailure
    from evaluators.evaluator import EvaluationJob as EvaluationJob
    from evaluators.evaluator import Evaluator as Evaluator
    from evaluators.evaluator import QualityMetric as QualityMetric
    from hardware_models.catalog import load_hardware as load_hardware
    from hardware_models.cost import Cost as Cost
    from hardware_models.cost import HardwareModel as HardwareModel
    from nas.cache import EvaluationCache as EvaluationCache
    from nas.candidates.candidate import Candidate as Candidate
    from nas.candidates.candidate import Measurement as Measurement
    from nas.candidates.constraints import Limit as Limit
    from nas.candidates.objectives import Objective as Objective
    from nas.engine.result import SearchResult as SearchResult
    from nas.engine.search import run as run
    from nas.engine.search import search as search
    from nas.engine.settings import SearchSettings as SearchSettings
    from nas.hashing import functional_hash as functional_hash
    from nas.hashing.isomorphism import same_network as same_network
    from nas.searchers.optuna_bridge.searcher_as_sampler import NativeSampler as NativeSampler
    from nas.version import __version__ as __version__
    from search_spaces.blocks import heads as heads
    from search_spaces.blocks import mobile as blocks  # noqa: F401
    from search_spaces.catalog import load_network as load_network
    from search_spaces.catalog import load_space as load_space
    from search_spaces.graph.block_memo import block as block
    from search_spaces.graph.builder import Builder as Builder
    from search_spaces.graph.builder import Tensor as Tensor
    from search_spaces.graph.graph import Graph as Graph
    from search_spaces.graph.operations import GraphError as GraphError
    from search_spaces.graph.serialise import graph_from_json as graph_from_json
    from search_spaces.module_spaces import space_from as space_from
    from search_spaces.pytorch.from_module import graph_from_module as graph_from_module
    from search_spaces.pytorch.module import to_module as to_module
    from search_spaces.pytorch.weights import load_weights as load_weights
    from search_spaces.pytorch.weights import shared_parameters as shared_parameters
    from search_spaces.space.choose import Choose as Choose
    from search_spaces.space.genotype import Genotype as Genotype
    from search_spaces.space.genotype import GenotypeError as GenotypeError
    from search_spaces.space.genotype import SpaceError as SpaceError
    from search_spaces.space.space import Space as Space

_HOMES = {
    "Artifact": "evaluators.evaluator",
    "Builder": "search_spaces.graph.builder",
    "Candidate": "nas.candidates.candidate",
    "Choose": "search_spaces.space.choose",
    "Cost": "hardware_models.cost",
    "CurvePoint": "evaluators.evaluator",
    "Evaluation": "evaluators.evaluator",
    "EvaluationCache": "nas.cache",
    "EvaluationCost": "evaluators.evaluator",
    "EvaluationFailure": "evaluators.evaluator",
    "EvaluationJob": "evaluators.evaluator",
    "Evaluator": "evaluators.evaluator",
    "Genotype": "search_spaces.space.genotype",
    "GenotypeError": "search_spaces.space.genotype",
    "Graph": "search_spaces.graph.graph",
    "GraphError": "search_spaces.graph.operations",
    "HardwareModel": "hardware_models.cost",
    "Limit": "nas.candidates.constraints",
    "Measurement": "nas.candidates.candidate",
    "NativeSampler": "nas.searchers.optuna_bridge.searcher_as_sampler",
    "Objective": "nas.candidates.objectives",
    "QualityMetric": "evaluators.evaluator",
    "SearchResult": "nas.engine.result",
    "SearchSettings": "nas.engine.settings",
    "Space": "search_spaces.space.space",
    "SpaceError": "search_spaces.space.genotype",
    "Tensor": "search_spaces.graph.builder",
    "__version__": "nas.version",
    "block": "search_spaces.graph.block_memo",
    "functional_hash": "nas.hashing",
    "graph_from_json": "search_spaces.graph.serialise",
    "graph_from_module": "search_spaces.pytorch.from_module",
    "load_hardware": "hardware_models.catalog",
    "load_network": "search_spaces.catalog",
    "load_space": "search_spaces.catalog",
    "load_weights": "search_spaces.pytorch.weights",
    "run": "nas.engine.search",
    "same_network": "nas.hashing.isomorphism",
    "search": "nas.engine.search",
    "shared_parameters": "search_spaces.pytorch.weights",
    "space_from": "search_spaces.module_spaces",
    "to_module": "search_spaces.pytorch.module",
}
_MODULES = {"blocks": "search_spaces.blocks.mobile", "heads": "search_spaces.blocks.heads"}

__all__ = sorted([*(name for name in _HOMES if name != "__version__"), *_MODULES])


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
