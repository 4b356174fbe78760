"""Normalisations."""

from __future__ import annotations

from torch import fx
from torch.export.graph_signature import InputKind

from search_spaces.graph.builder import Builder, Tensor
from search_spaces.pytorch.from_module.call import AtenCall, AtenHandler
from search_spaces.pytorch.from_module.operands import ADVICE
from search_spaces.pytorch.from_module.shapes import permutation


def _batch_norm(b: Builder, call: AtenCall) -> Tensor:
    if call["weight"] is None or call["bias"] is None:
        raise call.unsupported_error("a graph's batch normalisation has a scale and a shift; set affine=True")
    if call["running_mean"] is None or call["running_var"] is None:
        raise call.unsupported_error(
            "a graph's batch normalisation has running statistics; set track_running_stats=True"
        )
    program = call.program
    if call["training"] != program.module.training:
        mode = "evaluation" if program.module.training else "training"
        raise call.unsupported_error(
            f"it is in {mode} mode, the module is not; call train() or eval() on the whole module"
        )
    call.weight("weight")
    call.bias(call.x)
    for name in ("running_mean", "running_var"):
        call.weight(name, InputKind.BUFFER)
    owner = program.module.get_submodule(program.state_names[call["running_mean"]][1].rpartition(".")[0])
    if getattr(owner, "momentum", 0.0) is None:
        raise call.unsupported_error(
            "a graph's batch normalisation has a momentum, no cumulative average; set momentum"
        )
    return b.norm(call.x, "batch", eps=call["eps"], momentum=call["momentum"])


def _layer_norm(b: Builder, call: AtenCall) -> Tensor | None:
    if len(call["normalized_shape"]) != 1:
        raise call.unsupported_error(f"a graph normalises over one axis, not {call['normalized_shape']}; {ADVICE}")
    if call["weight"] is None or call["bias"] is None:
        raise call.unsupported_error(
            "a graph's layer normalisation has a scale and a shift; set elementwise_affine and bias"
        )
    call.weight("weight")
    call.bias(call.x)
    # An axis moved to the end and back, as to_module() does it, is that axis.
    source, users = call.node.args[0], list(call.node.users)
    assert isinstance(source, fx.Node)
    to_last, from_last = permutation(source), permutation(users[0]) if len(users) == 1 else None
    if to_last and from_last and to_last[0] == 0 and [to_last[i] for i in from_last] == list(range(len(to_last))):
        source_tensor = call.tensor(source.args[0])
        call.program.values[users[0]] = b.norm(source_tensor, "layer", eps=call["eps"], axis=to_last[-1] - 1)
        return None
    return b.norm(call.x, "layer", eps=call["eps"], axis=-1)


ATEN_HANDLERS: dict[str, AtenHandler] = {"batch_norm": _batch_norm, "layer_norm": _layer_norm}
