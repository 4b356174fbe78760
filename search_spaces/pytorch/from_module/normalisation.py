"""Normalisations."""

from __future__ import annotations

from torch import fx
from torch.export.graph_signature import InputKind

from search_spaces.graph.builder import Builder, Tensor
from search_spaces.pytorch.from_module.call import Call, Operation
from search_spaces.pytorch.from_module.operands import ADVICE
from search_spaces.pytorch.from_module.shapes import permutation


def _batch_norm(b: Builder, call: Call) -> Tensor:
    if call["weight"] is None or call["bias"] is None:
        raise call.refusal("a graph's batch normalisation has a scale and a shift; set affine=True")
    if call["running_mean"] is None or call["running_var"] is None:
        raise call.refusal("a graph's batch normalisation has running statistics; set track_running_stats=True")
    program = call.program
    if call["training"] != program.module.training:
        mode = "evaluation" if program.module.training else "training"
        raise call.refusal(f"it is in {mode} mode, the module is not; call train() or eval() on the whole module")
    call.weight("weight")
    call.bias(call.x)
    for name in ("running_mean", "running_var"):
        call.weight(name, InputKind.BUFFER)
    owner = program.module.get_submodule(program.owned[call["running_mean"]][1].rpartition(".")[0])
    if getattr(owner, "momentum", 0.0) is None:
        raise call.refusal("a graph's batch normalisation has a momentum, no cumulative average; set momentum")
    return b.norm(call.x, "batch", eps=call["eps"], momentum=call["momentum"])


def _layer_norm(b: Builder, call: Call) -> Tensor | None:
    if len(call["normalized_shape"]) != 1:
        raise call.refusal(f"a graph normalises over one axis, not {call['normalized_shape']}; {ADVICE}")
    if call["weight"] is None or call["bias"] is None:
        raise call.refusal("a graph's layer normalisation has a scale and a shift; set elementwise_affine and bias")
    call.weight("weight")
    call.bias(call.x)
    # An axis moved to the end and back, as to_module() does it, is that axis.
    source, users = call.node.args[0], list(call.node.users)
    assert isinstance(source, fx.Node)
    there, back = permutation(source), permutation(users[0]) if len(users) == 1 else None
    if there and back and there[0] == 0 and [there[i] for i in back] == list(range(len(there))):
        whole = call.tensor(source.args[0])
        call.program.values[users[0]] = b.norm(whole, "layer", eps=call["eps"], axis=there[-1] - 1)
        return None
    return b.norm(call.x, "layer", eps=call["eps"], axis=-1)


OPERATIONS: dict[str, Operation] = {"batch_norm": _batch_norm, "layer_norm": _layer_norm}
