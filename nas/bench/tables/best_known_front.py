"""The best known front of two losses, by a long evolution: they are cheap to predict for many networks at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from nas.candidates.pareto import non_dominated_indices

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


def best_known_vectors(
    losses: Callable[[Ints], Floats],
    options: Sequence[int],
    start: Ints,
    *,
    generations: int = 400,
    children: int = 2000,
    seed: int = 0,
) -> Ints:
    """Vectors of option numbers on the best front of an evolution: (networks, choices).

    ``options``: the number of each choice's options. Each child has every choice from either of two members of the
    front, and up to four choices drawn again; the front keeps what no other dominates. It starts from ``start``.
    """
    rng = np.random.default_rng(seed)
    limits = np.array(options)
    members, member_losses = _nondominated(start, losses(start))
    for _ in range(generations):
        parents = members[rng.integers(len(members), size=(2, children))]
        from_first = (rng.random((children, len(limits))) < 0.5) | (rng.random((children, 1)) < 0.5)
        offspring = np.where(from_first, parents[0], parents[1])
        for _ in range(4):
            index = rng.integers(len(limits), size=children)
            new_options = (rng.random(children) * limits[index]).astype(np.int64)
            changed = rng.random(children) < 0.5
            offspring[changed, index[changed]] = new_options[changed]
        members, member_losses = _nondominated(
            np.vstack([members, offspring]), np.vstack([member_losses, losses(offspring)])
        )
    return members


def _nondominated(members: Ints, member_losses: Floats) -> tuple[Ints, Floats]:
    front_members = non_dominated_indices(member_losses.tolist())
    return members[front_members], member_losses[front_members]
