"""Networks as they were written and run, not in normal form: only for pricing what somebody measured.

A table of measured latencies may hold networks whose dead branches were executed. A ``Graph`` in normal form has none,
so such a row is priced through a graph made here. It is never hashed, trained or exported.
"""

from __future__ import annotations

from collections.abc import Mapping

from search_spaces.graph.builder import Builder, Tensor
from search_spaces.graph.fragment import Fragment, Node
from search_spaces.graph.graph import Graph
from search_spaces.graph.memo import remember
from search_spaces.graph.operations import OPS, Attrs, Shape

_FRAGMENTS: dict[tuple[str, Attrs, tuple[Shape, ...]], Fragment] = {}


class WrittenBuilder(Builder):
    """A builder that keeps every operation it is asked for: nothing is shared, flattened or swept."""

    def _emit(self, op: str, attrs: Attrs, operands: tuple[Tensor, ...] = ()) -> Tensor:
        shapes = tuple([t.shape for t in operands])
        key = (op, attrs, shapes)
        fragment = _FRAGMENTS.get(key)
        if fragment is None:
            node = Node(op, attrs, tuple(range(-1, -len(shapes) - 1, -1)), OPS[op].shape(shapes, attrs))
            fragment = Fragment((node,), (0,), shapes)
            remember(_FRAGMENTS, key, fragment)
        return self._splice(fragment, operands)[0]

    def build(self, outputs: Tensor | Mapping[str, Tensor]) -> Graph:
        """The graph of everything that was made, whether an output needs it or not."""
        chosen = {"output": outputs} if isinstance(outputs, Tensor) else dict(outputs)
        ends = tuple((name, tensor.index) for name, tensor in chosen.items())
        return Graph(tuple(self._pieces), ends, self._count)
