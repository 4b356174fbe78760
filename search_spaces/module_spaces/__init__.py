"""A module of one's own as a search space: what is open in it is said by the names of its modules.

The module is recorded once, through ``torch.export``, as calls of a ``Builder`` that know which named module they
came from. A candidate replays the recording with other widths, kernels, activations, and blocks.
"""

from __future__ import annotations

from search_spaces.module_spaces.space import original, space_from

__all__ = ["original", "space_from"]
