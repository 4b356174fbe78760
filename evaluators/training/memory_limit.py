"""How much memory a training will take, and what is said when there is not as much."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from evaluators.evaluator import OutOfMemory

ACTIVATION_COPIES = 2.0


PARAMETER_COPIES = 8.0


WORKSPACE_MIB = 100.0
"""Memory that training takes: so often the graph's activations and parameters, and a rest; from measured peaks."""


@contextmanager
def translate_memory_errors() -> Iterator[None]:
    """Turn what an allocator says when memory runs out into ``OutOfMemory``."""
    try:
        yield
    except MemoryError:
        raise OutOfMemory("memory ran out in training; a smaller batch_size, image_size or width needs less") from None
    except RuntimeError as error:
        if "can't allocate memory" not in str(error) and "not enough memory" not in str(error):
            raise
        raise OutOfMemory(f"memory ran out in training: {str(error).splitlines()[0]}") from None
