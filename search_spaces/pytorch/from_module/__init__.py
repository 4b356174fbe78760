"""From an ``nn.Module`` to the graph that it computes: the inverse of ``module.py``, through ``torch.export``.

The exported program is read operation by operation, each through a constructor of ``Builder``, and what comes out
is checked against the shape that PyTorch found. What the vocabulary lacks is refused, never approximated.
"""

from __future__ import annotations

from search_spaces.pytorch.from_module.operands import UnsupportedModule
from search_spaces.pytorch.from_module.reader import graph_from_module

__all__ = ["UnsupportedModule", "graph_from_module"]
