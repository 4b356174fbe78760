"""The only way to make a graph: constructors that return the normal form.

Every constructor applies the rules that look at its operands (identity and zero removed, equal parameter-free
operations shared, nested activations folded); ``Builder.build`` applies those that need the whole graph (dead
branches swept, sums and concatenations that feed one sum or concatenation flattened). ``@block`` makes a function
of a builder and a tensor cheap to repeat.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from search_spaces.graph.arguments import (
    Ints,
    Padding,
    as_bool,
    as_float,
    as_int,
    axis_index,
    per_axis,
    resolve_padding,
)
from search_spaces.graph.fragment import Node
from search_spaces.graph.graph import Graph, Rebuilt
from search_spaces.graph.normal_form import any_flattens, rebuild_nodes
from search_spaces.graph.operations import OPS, Attrs, GraphError
from search_spaces.graph.splice import Tensor as Tensor  # a block imports both names from here
from search_spaces.graph.tensor_operations import TensorOperations
from search_spaces.graph.zero_channels import NOTHING_REMOVABLE, RemovableZeros, removable_zero_operands


class Builder(TensorOperations):
    """Builds one graph. Not to be shared between threads; a tensor belongs to the builder that made it.

    ``zeros`` says what normalisation, and convolutions and linear layers with a bias, leave of a zero: ``"absorb"``
    nothing, so that dead branches vanish whole; ``"bias"`` their shift, a constant that is trained, as in a network
    that is run as it was written.
    """

    def __init__(self, zeros: str = "absorb") -> None:
        super().__init__(zeros)

    # -- operations with parameters ------------------------------------------------------------------------------

    def conv(
        self,
        x: Tensor,
        out_channels: int,
        kernel: Ints = 1,
        stride: Ints = 1,
        *,
        groups: int = 1,
        dilation: Ints = 1,
        padding: Padding = "same",
        bias: bool = False,
    ) -> Tensor:
        """Convolution over all spatial axes of ``x`` (one to three); ``padding='same'`` is TensorFlow's SAME."""
        size = x.shape[1:]
        rank = len(size)
        out_channels, groups = as_int("conv: out_channels", out_channels), as_int("conv: groups", groups)
        kernel, stride = per_axis("conv: kernel", kernel, rank), per_axis("conv: stride", stride, rank)
        dilation = per_axis("conv: dilation", dilation, rank)
        dilation = tuple([1 if k == 1 else d for k, d in zip(kernel, dilation, strict=True)])
        pads = resolve_padding(padding, size, kernel, stride, dilation)
        attrs = (out_channels, kernel, stride, pads, dilation, groups, as_bool("conv: bias", bias))
        if x.is_zero and not (bias and self.zeros == "bias"):
            return self.zero(OPS["conv"].shape((x.shape,), attrs))
        if groups == 1 and x.contains_zero:
            x = self._drop_zero_channels(x, 0)
        return self._emit("conv", attrs, (x,))

    def _drop_zero_channels(self, x: Tensor, axis: int) -> Tensor:
        """What a dense layer over ``axis`` sees of ``x``: weights on channels that are always zero never learn."""
        if not x.contains_zero or x.node.attrs != (axis,):
            return x
        return self.concat([self._drop_zero_channels(t, axis) for t in x.operands if not t.is_zero], axis)

    def depthwise(self, x: Tensor, kernel: Ints = 3, stride: Ints = 1, **options: Any) -> Tensor:
        """Depthwise convolution: ``conv`` with one group a channel."""
        return self.conv(x, x.channels, kernel, stride, groups=x.channels, **options)

    def linear(self, x: Tensor, out_features: int, *, bias: bool = True) -> Tensor:
        """Linear layer over the last axis of ``x``."""
        attrs = (as_int("linear: out_features", out_features), as_bool("linear: bias", bias))
        if x.is_zero and not (bias and self.zeros == "bias"):
            return self._absorb("linear", attrs, (x,))
        if x.contains_zero:
            OPS["linear"].shape((x.shape,), attrs)
            x = self._drop_zero_channels(x, len(x.shape) - 1)
        return self._emit("linear", attrs, (x,))

    def norm(
        self, x: Tensor, kind: str = "batch", *, eps: float = 1e-5, momentum: float = 0.1, axis: int = 0
    ) -> Tensor:
        """Batch normalisation over channels, or layer normalisation over one axis, with scale and shift.

        ``momentum`` is PyTorch's: the weight of the new statistics.
        """
        attrs = (
            kind,
            as_float("norm: eps", eps),
            as_float("norm: momentum", momentum) if kind == "batch" else 0.0,
            axis_index("norm: axis", axis, len(x.shape)),
        )
        if x.is_zero and self.zeros == "absorb":
            return self._absorb("norm", attrs, (x,))
        return self._emit("norm", attrs, (x,))

    def layer_scale(self, x: Tensor, initial: float = 1e-6) -> Tensor:
        """LayerScale (arXiv 2103.17239, eq. 4): a trained factor for each channel, ``initial`` at first."""
        attrs = (as_float("layer_scale: initial", initial),)
        return self._absorb("layer_scale", attrs, (x,)) if x.is_zero else self._emit("layer_scale", attrs, (x,))

    # -- the graph -------------------------------------------------------------------------------------------------

    def rebuild(self, node: Node, operands: Sequence[Tensor]) -> Tensor:
        """A node of another graph through its constructor, on operands of this one. Raises ``GraphError``."""
        return self.construct(node.op, node.attrs, operands)

    def construct(self, op: str, attrs: Attrs, operands: Sequence[Tensor]) -> Tensor:
        """An operation by name through its constructor, or by its row where it has none. Raises ``GraphError``."""
        constructor = getattr(self, op, None)
        if constructor is None:
            return self.operation(op, operands, attrs)
        arguments = dict(zip(OPS[op].attrs, attrs, strict=True))
        if op == "concat":
            return self.concat(operands, **arguments)
        tensor: Tensor = constructor(*operands, **arguments)
        return tensor

    def build(self, outputs: Tensor | Mapping[str, Tensor]) -> Graph:
        """The finished graph with these outputs; one tensor alone becomes the output named ``output``."""
        outputs_by_name = {"output": outputs} if isinstance(outputs, Tensor) else dict(outputs)
        if not outputs_by_name or not self._inputs:
            raise GraphError("a graph needs at least one input and one output")
        for name in outputs_by_name:
            if not isinstance(name, str) or not name.isprintable() or not name:
                raise GraphError(f"output {name!r} needs a name of printable characters")
        tensors = outputs_by_name.values()
        output_indices = [t.index for t in tensors if isinstance(t, Tensor) and t.builder is self]
        if len(output_indices) < len(tensors):
            strange = [name for name, t in outputs_by_name.items() if getattr(t, "builder", None) is not self]
            raise GraphError(f"output {strange[0]!r} is not a tensor of this builder")
        builder: Builder = self
        while True:
            if not builder._is_normal_form(output_indices):
                builder, output_indices = builder._rebuilt(output_indices)
                continue
            if not builder.concats_with_zeros:
                break
            # Only now, when operations that were written twice are shared
            removable = removable_zero_operands(builder.nodes(), output_indices, builder.zeros)
            if not removable.operands:
                break
            builder, output_indices = builder._rebuilt(output_indices, removable)
        named_outputs = tuple(zip(outputs_by_name, output_indices, strict=True))
        return Graph(tuple(builder.pieces), named_outputs, builder.node_count, builder.provenance())

    def _is_normal_form(self, output_indices: list[int]) -> bool:
        if self._has_unfolded_pair:
            return False
        read = set(output_indices).union(self._inputs, *[piece[1] for piece in self.pieces])
        if len(read) < self.tensor_count:  # something is dead
            return False
        return not (self._flattenable and any_flattens(self._flattenable, self.pieces, output_indices))

    def _rebuilt(
        self, output_indices: list[int], removable: RemovableZeros = NOTHING_REMOVABLE
    ) -> tuple[Builder, list[int]]:
        """Another builder with the nodes that the outputs need, and the outputs' indices there."""
        builder = Builder(self.zeros)
        unfinished = self.unfinished()
        sources: list[int] = []  # of each piece of the other builder: the node here that it was made for

        def rebuild(index: int, node: Node, operands: Sequence[Tensor]) -> Tensor:
            tensor = builder.rebuild(node, operands)
            while len(sources) < builder.node_count:
                sources.append(index)
            return tensor

        outputs = rebuild_nodes(unfinished.nodes, output_indices, rebuild, removable)
        builder._rebuilt_from = Rebuilt(unfinished, sources)
        return builder, [tensor.index for tensor in outputs]
