"""Activations, sums, products with constants and gates, and what does nothing."""

from __future__ import annotations

from collections.abc import Callable
from math import isclose
from typing import Any

from search_spaces.graph.builder import Builder, Tensor
from search_spaces.pytorch.from_module.call import AtenCall, AtenHandler
from search_spaces.pytorch.from_module.operands import ADVICE, HardSigmoidInput, ScaledActivation, WindowCoverage


def _act(fn: str, **expected: Any) -> Callable[[Builder, AtenCall], Tensor]:
    def act(b: Builder, call: AtenCall) -> Tensor:
        call.require(**expected)
        return b.act(call.x, fn)

    return act


def _clamp(b: Builder, call: AtenCall) -> Tensor | ScaledActivation:
    low, high = (call.arguments.get(name) for name in ("min", "max"))
    if call.op in ("hardtanh", "relu6"):
        low, high = (call["min_val"], call["max_val"]) if call.op == "hardtanh" else (0, 6)
    if low != 0 or high not in (None, 6):
        raise call.unsupported_error(
            f"a graph clamps to at least 0 (ReLU) or 0 to 6 (ReLU6), not {low} to {high}; {ADVICE}"
        )
    if high == 6 and isinstance(call.first, HardSigmoidInput):
        return ScaledActivation("hsigmoid", call.first.x)
    return b.act(call.x, "relu" if high is None else "relu6")


def _add(b: Builder, call: AtenCall) -> Tensor | HardSigmoidInput:
    sign = -1 if call.op == "sub" else 1
    constant = call.number("other")
    factor = sign * (call.number("alpha") or 0.0)
    if constant is None:
        return b.add(call.x, b.scale(call.tensor(call["other"]), factor))
    if constant * factor == 3:
        return HardSigmoidInput(call.x)
    if constant * factor != 0:
        raise call.unsupported_error(f"adding a constant is no operation of a graph; {ADVICE}")
    return call.x


def _mul(b: Builder, call: AtenCall) -> Tensor | ScaledActivation:
    constant = call.number("other")
    if constant is not None:
        return _scaled(b, call, constant)
    one, other = call.value(call["self"]), call.value(call["other"])
    for gate, x in ((one, other), (other, one)):
        if isinstance(gate, ScaledActivation) and gate.fn == "hsigmoid" and x is gate.x:
            return ScaledActivation("hswish", gate.x)
    for argument, other_argument in (("self", "other"), ("other", "self")):
        factors = call.factors(argument)
        if factors is not None:
            x = call.tensor(call[other_argument])
            return b.layer_scale(x, call.initial(factors, x))
    return b.mul(call.x, call.tensor(call["other"]))


def _scaled(b: Builder, call: AtenCall, factor: float) -> Tensor:
    if isinstance(call.first, ScaledActivation) and isclose(factor, 1 / 6, rel_tol=1e-6):
        return b.act(call.first.x, call.first.fn)
    return b.scale(call.x, factor)


def _div(b: Builder, call: AtenCall) -> Tensor:
    call.require(rounding_mode=None)
    constant = call.number("other")
    if constant is not None:
        if constant == 0:
            raise call.unsupported_error("division by zero")
        return _scaled(b, call, 1 / constant)
    x, coverage = call.x, call.value(call["other"])
    if isinstance(coverage, WindowCoverage):
        if x.is_zero:
            return x
        if x.node.attrs == coverage.window and x.operands and x.operands[0].shape[1:] == coverage.size:
            kind, kernel, stride, pads, _ = coverage.window
            return b.pool(x.operands[0], kind, kernel, stride, padding=pads, count_padding=False)
    raise call.unsupported_error(f"a graph divides by constants alone; {ADVICE}")


def _dropout(b: Builder, call: AtenCall) -> Tensor:
    if call["train"] and call["p"] != 0:
        raise call.unsupported_error(
            "dropout changes training, which a graph does not say; set p to 0, or call eval() first"
        )
    return call.x


def _softmax(b: Builder, call: AtenCall) -> Tensor:
    call.require(dtype=None, half_to_float=False)
    return b.softmax(call.x, call.axis())


ATEN_HANDLERS: dict[str, AtenHandler] = {
    "relu": _act("relu"),
    **dict.fromkeys(("relu6", "hardtanh", "clamp", "clamp_min"), _clamp),
    "hardswish": _act("hswish"),
    "hardsigmoid": _act("hsigmoid"),
    "sigmoid": _act("sigmoid"),
    "silu": _act("silu"),
    "gelu": _act("gelu", approximate="none"),
    "tanh": _act("tanh"),
    "leaky_relu": _act("leaky_relu", negative_slope=0.1),
    **dict.fromkeys(("add", "sub"), _add),
    **dict.fromkeys(("mul", "multiply"), _mul),
    **dict.fromkeys(("div", "divide", "true_divide"), _div),
    "neg": lambda b, call: b.scale(call.x, -1),
    **dict.fromkeys(("softmax", "_softmax"), _softmax),
    **dict.fromkeys(("dropout", "feature_dropout", "alpha_dropout", "feature_alpha_dropout"), _dropout),
}
