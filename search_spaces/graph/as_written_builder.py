"""Networks as they were written and run, not in normal form: only for pricing what somebody measured.

A table of measured latencies may hold networks whose dead branches were executed. A ``Graph`` in normal form has none,
so such a row is priced through a graph made here. It is never hashed, trained or exported.
"""

from __future__ import annotations

from collections.abc import Mapping

from search_spaces.graph.builder import Builder, Tensor
from search_spaces.graph.fragment import Fragment, Node
from search_spaces.graph.graph import Graph
from search_spaces.graph.memo import memo_put
from search_spaces.graph.operations import OPS, Attrs, Shape

_AS_WRITTEN_FRAGMENTS: dict[tuple[str, Attrs, tuple[Shape, ...]], Fragment] = {}


class AsWrittenBuilder(Builder):
    """A builder that keeps every operation: nothing is shared, flattened or swept."""

    def _emit(self, op: str, attrs: Attrs, operands: tuple[Tensor, ...] = ()) -> Tensor:
        shapes = tuple([t.shape for t in operands])
        key = (op, attrs, shapes)
        fragment = _AS_WRITTEN_FRAGMENTS.get(key)
        if fragment is None:
            node = Node(op, attrs, tuple(range(-1, -len(shapes) - 1, -1)), OPS[op].shape(shapes, attrs))
            fragment = Fragment((node,), (0,), shapes)
            memo_put(_AS_WRITTEN_FRAGMENTS, key, fragment)
        return self.splice(fragment, operands)[0]

    def build(self, outputs: Tensor | Mapping[str, Tensor]) -> Graph:
        """The graph of everything that was made, whether an output needs it or not."""
        outputs_by_name = {"output": outputs} if isinstance(outputs, Tensor) else dict(outputs)
        named_outputs = tuple((name, tensor.index) for name, tensor in outputs_by_name.items())
        return Graph(tuple(self.pieces), named_outputs, self.node_count, self.provenance())
