"""Operations with weights, and products of tensors: convolutions, linear layers, attention."""

from __future__ import annotations

from search_spaces.graph.builder import Builder, Tensor
from search_spaces.pytorch.from_module.call import AtenCall, AtenHandler
from search_spaces.pytorch.from_module.operands import absorbable_pads, add_pads


def _conv(b: Builder, call: AtenCall) -> Tensor:
    call.weight("weight")
    out_channels, _, *kernel = call.node_shape(call["weight"])
    rank = len(kernel)
    value = call.first
    frame = absorbable_pads(value, 0)
    x = call.x if frame is None else value.x
    dilation = call.per_axis("dilation", rank)
    if call["padding"] == "valid":
        own_pads = ((0, 0),) * rank
    elif call["padding"] == "same":  # PyTorch has it at stride 1 alone
        total = [d * (k - 1) for k, d in zip(kernel, dilation, strict=True)]
        own_pads = tuple((n // 2, n - n // 2) for n in total)
    else:
        own_pads = tuple((n, n) for n in call.per_axis("padding", rank))
    bias = call.bias(x)
    return b.conv(
        x,
        out_channels,
        kernel,
        call.per_axis("stride", rank),
        groups=call["groups"],
        dilation=dilation,
        padding=own_pads if frame is None else add_pads(own_pads, frame),
        bias=bias,
    )


def _linear(b: Builder, call: AtenCall) -> Tensor:
    call.weight("weight")
    return b.linear(call.x, call.node_shape(call["weight"])[0], bias=call.bias(call.x))


def _matmul(b: Builder, call: AtenCall) -> Tensor:
    return b.matmul(call.x, call.tensor(call.node.args[1]))


def _attention(b: Builder, call: AtenCall) -> Tensor:
    call.require(attn_mask=None, dropout_p=0.0, is_causal=False, enable_gqa=False)
    query, key, value = (call.tensor(call[name]) for name in ("query", "key", "value"))
    rank = len(key.shape)
    scores = b.matmul(query, b.permute(key, (*range(rank - 2), rank - 1, rank - 2)))
    factor = query.shape[-1] ** -0.5 if call["scale"] is None else call["scale"]
    return b.matmul(b.softmax(b.scale(scores, factor)), value)


ATEN_HANDLERS: dict[str, AtenHandler] = {
    **dict.fromkeys(("conv1d", "conv2d", "conv3d"), _conv),
    "linear": _linear,
    **dict.fromkeys(("matmul", "bmm"), _matmul),
    "scaled_dot_product_attention": _attention,
}
