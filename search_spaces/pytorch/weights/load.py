"""Weights read from files into a network, by the names of its nodes: its own and timm's."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from search_spaces.graph.graph import Graph
from search_spaces.graph.operations import GraphError
from search_spaces.pytorch.weights.names import graph_tensors, named_tensors, state_keys
from search_spaces.pytorch.weights.timm_names import timm_places

if TYPE_CHECKING:
    from torch import Tensor, nn

    from search_spaces.pytorch.module import GraphModule

State = Mapping[str, "Tensor"]
Network = TypeVar("Network", bound="Graph | nn.Module")
TIMM_FILE = "model.safetensors"
_IGNORED = ("num_batches_tracked",)
_LISTED = 4  # names in an error


class WeightsFileError(GraphError):
    """A file of weights that cannot be read, or that holds another network's."""


def load_weights(network: Graph | GraphModule, source: str | Path) -> GraphModule:
    """Read weights into a network; the module, a new one of a graph.

    ``source``: a ``.safetensors``, ``.pt`` or ``.pth`` file whose keys are the names of nodes
    (``stage2.layer1/expand/conv.weight``, see ``save_weights``) or those of ``to_module``'s own ``state_dict``;
    ``timm:NAME=FILE`` for a file of timm's; ``timm:NAME`` for the one that the Hugging Face hub has under
    ``timm/NAME``, for which the package huggingface_hub must be there. Every tensor of the network must be in the file,
    in its shape, and every tensor of the file in the network. Raises ``WeightsFileError`` before anything is changed.
    """
    import torch

    from search_spaces.pytorch.module import to_module

    module = to_module(network) if isinstance(network, Graph) else network
    text = str(source)
    if text.startswith("timm:"):
        name, _, path = text.removeprefix("timm:").partition("=")
        state = _read_state(Path(path) if path else _timm_file(name))
        keys = timm_keys(module.graph, state)
    else:
        state = _read_state(Path(text))
        keys = _own_keys(module, state)
    found = _matched(module, keys, state, text)
    with torch.no_grad():
        for tensor, value in found:
            tensor.copy_(value)
    return module


def save_weights(module: GraphModule, path: str | Path) -> None:
    """Write a module's weights under the names of its nodes, as ``.safetensors``; ``load_weights`` reads them."""
    from safetensors.torch import save_file

    save_file({name: tensor.detach().contiguous() for name, tensor in named_tensors(module).items()}, str(path))


def timm_keys(graph: Graph, state: Mapping[str, Any]) -> dict[str, str]:
    """The key in timm's state of each tensor of a graph, by our name; raises ``WeightsFileError`` for one without."""
    places = timm_places(graph)
    keys = {}
    for name, (node, array, _) in graph_tensors(graph).items():
        place = places.get(node)
        if place is None:
            raise WeightsFileError(f"weights: no name of timm's is known for {name}; see timm_names.py for what is")
        own = place.arrays.get(array, array)
        keys[name] = next((f"{p}.{own}" for p in place.paths if f"{p}.{own}" in state), f"{place.paths[0]}.{own}")
    return keys


def _own_keys(module: GraphModule, state: Mapping[str, Any]) -> dict[str, str]:
    """Names of nodes, or the module's own keys where the file has those."""
    own = state_keys(module)
    return own if any(key in state for key in own.values()) else {name: name for name in own}


def _matched(module: GraphModule, keys: Mapping[str, str], state: State, source: str) -> list[tuple[Tensor, Tensor]]:
    """Each tensor of the module with its value from the file, in the same shape."""
    missing = [f"{name} ({key})" if key != name else name for name, key in keys.items() if key not in state]
    left = sorted({key for key in state if not key.endswith(_IGNORED)} - set(keys.values()))
    if missing or left:
        parts = [f"it lacks {_listed(missing)}"] * bool(missing) + [f"it has also {_listed(left)}"] * bool(left)
        raise WeightsFileError(f"weights: {source} is of another network: {', and '.join(parts)}")
    found = []
    for name, tensor in named_tensors(module).items():
        value = state[keys[name]]
        without_ones = [[n for n in t.shape if n > 1] for t in (tensor, value)]  # a 1x1 convolution as a linear layer
        if without_ones[0] != without_ones[1]:
            raise WeightsFileError(
                f"weights: {source}: {keys[name]} is {tuple(value.shape)}, where {name} is {tuple(tensor.shape)}"
            )
        found.append((tensor, value.reshape(tensor.shape)))
    return found


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return ", ".join(names[:_LISTED]) + more


# -- files -------------------------------------------------------------------------------------------------------------


def _read_safetensors(path: Path) -> State:
    from safetensors.torch import load_file

    return load_file(path)


def _read_torch(path: Path) -> State:
    import torch

    return torch.load(path, map_location="cpu", weights_only=True)  # type: ignore[no-any-return]


READERS: dict[str, Callable[[Path], State]] = {
    ".safetensors": _read_safetensors,
    ".pt": _read_torch,
    ".pth": _read_torch,
}


def _read_state(path: Path) -> State:
    """The tensors of a file, by key. Nothing in a file is run."""
    reader = READERS.get(path.suffix)
    if reader is None:
        raise WeightsFileError(f"weights: {path} is none of {', '.join(READERS)}")
    if not path.is_file():
        raise WeightsFileError(f"weights: there is no file {path}")
    try:
        state: Any = reader(path)
    except Exception as error:  # the readers raise errors of many kinds for a file that is damaged
        raise WeightsFileError(f"weights: {path} cannot be read: {error}") from error
    if isinstance(state, Mapping) and isinstance(state.get("state_dict"), Mapping):
        state = state["state_dict"]
    if not isinstance(state, Mapping) or not all(hasattr(value, "shape") for value in state.values()):
        raise WeightsFileError(f"weights: {path} holds no tensors by name")
    return state


def _timm_file(name: str) -> Path:
    """The file of published weights from the hub."""
    try:
        hf_hub_download = import_module("huggingface_hub").hf_hub_download
    except ImportError:
        raise WeightsFileError(
            f"weights: timm:{name} is fetched with the package huggingface_hub, which is not installed;"
            f" pip install huggingface_hub, or give a file: timm:{name}=model.safetensors"
        ) from None
    try:
        return Path(hf_hub_download(f"timm/{name}", TIMM_FILE))
    except Exception as error:  # of the network, the hub and its cache
        raise WeightsFileError(
            f"weights: the hub gave no {TIMM_FILE} of timm/{name}: {error}; names there end in the training, such as"
            f" mobilenetv3_large_100.ra_in1k; a file of your own is timm:{name}=model.safetensors"
        ) from error
