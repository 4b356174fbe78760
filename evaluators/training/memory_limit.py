"""How much memory training a network takes, and the failure when there is not as much."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager

from evaluators.evaluator import OutOfMemory
from search_spaces.graph.fragment import FLOAT_BYTES
from search_spaces.graph.graph import Graph

ACTIVATION_COPIES = 2.0
PARAMETER_COPIES = 8.0
WORKSPACE_MIB = 100.0
"""Training takes the graph's activations and parameters so many times, and a constant; from measured peaks."""


def training_memory_mib(graph: Graph, batch_size: int) -> float:
    """Estimated peak memory (MiB) of training the network on batches of that size."""
    activations = batch_size * sum(math.prod(node.shape) for node in graph.nodes)
    elements = ACTIVATION_COPIES * activations + PARAMETER_COPIES * graph.params
    return elements * FLOAT_BYTES / 2**20 + WORKSPACE_MIB


def check_training_memory(graph: Graph, batch_size: int, limit_mib: float) -> None:
    """Raise ``OutOfMemory`` when training the network is estimated above the limit."""
    mib = training_memory_mib(graph, batch_size)
    if mib > limit_mib:
        raise OutOfMemory(
            f"training is estimated at {mib:.0f} MiB, over the limit of {limit_mib:g} MiB; "
            "a smaller batch_size, image_size or width needs less"
        )


@contextmanager
def translate_memory_errors() -> Iterator[None]:
    """Turn an allocator's errors into ``OutOfMemory``."""
    try:
        yield
    except MemoryError:
        raise OutOfMemory("memory ran out in training; a smaller batch_size, image_size or width needs less") from None
    except RuntimeError as error:
        if not any(words in str(error) for words in ("can't allocate memory", "not enough memory", "out of memory")):
            raise
        raise OutOfMemory(f"memory ran out in training: {str(error).splitlines()[0]}") from None
