"""The global random sources, seeded for a while: a plug-in must draw from none of them."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def other_global_seeds(seed: int) -> Iterator[None]:
    """Run with the global random sources seeded so, and put them back: results that differ were drawn from them."""
    import numpy as np
    import torch

    states = random.getstate(), np.random.get_state(), torch.get_rng_state()
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
    try:
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])
        torch.set_rng_state(states[2])
