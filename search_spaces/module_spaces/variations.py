"""What ``vary`` opens in a recording: one variation for each choice, checked against the module."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import floor
from typing import Any

from search_spaces.graph.operations import ACTIVATIONS, OPS, GraphError
from search_spaces.module_spaces.network import NetworkChanges, VariableNetwork, strides, with_kernel
from search_spaces.module_spaces.regions import Region, find_region, steps_in
from search_spaces.module_spaces.replacements import OWN, resolve_block
from search_spaces.module_spaces.widths import CONSTANT, ExtentTerm
from search_spaces.pytorch.from_module.recording import Recording
from search_spaces.space.genotype import DecisionValue, SpaceError

GATES = ("sigmoid", "hsigmoid")
ApplyChoice = Callable[[NetworkChanges, Any], None]


@dataclass(frozen=True)
class Variation:
    """One choice. It is made where one of ``steps`` is in the network, or one of ``ends`` is a replaced module's.

    ``own``: the option that is the module's own, ``None`` where none is.
    """

    name: str
    options: tuple[DecisionValue, ...]
    own: DecisionValue
    steps: frozenset[int]
    apply: ApplyChoice
    ends: frozenset[int] = frozenset()
    width_of: int = CONSTANT  # the variable that a width sets
    layer: int = CONSTANT  # the step that a width is named after


class VariationNotApplicable(SpaceError):
    """A key that means nothing to this module: an error, unless a pattern found the module among others."""


def make_variation(
    key: str, path: str, options: tuple[Any, ...], network: VariableNetwork, children: Sequence[str]
) -> Variation:
    """The choice that one key of one module opens.

    Raises ``SpaceError``, and ``VariationNotApplicable`` where the key does not apply.
    """
    if key == "depth":
        return _depth(path, options, network, children)
    return _VARIATION_MAKERS[key](path, options, network)


def _single_step(network: VariableNetwork, path: str, kinds: Sequence[str], key: str) -> int:
    """The one step of these kinds that a module makes."""
    indices = [index for index in steps_in(network.steps, path) if network.steps[index].op in kinds]
    if len(indices) != 1:
        owners = dict.fromkeys(network.steps[index].owner for index in indices)
        hint = f"; name one of {', '.join(owners)}" if indices else ""
        what = " or ".join("convolution" if k == "conv" else "linear layer" for k in kinds)
        raise VariationNotApplicable(f"vary: {path}.{key}: {path!r} makes {len(indices)} {what}s, not one{hint}")
    return indices[0]


# -- widths ------------------------------------------------------------------------------------------------------------


def _width(path: str, options: tuple[Any, ...], network: VariableNetwork) -> Variation:
    index = _single_step(network, path, ("conv", "linear"), "width")
    where, widths = f"vary: {path}.width", network.widths
    axis = network.axes[index][-1 if network.steps[index].op == "linear" else 0]
    if len(axis) != 1 or axis[0].variable == CONSTANT:
        raise VariationNotApplicable(f"{where}: its width is that of what it reads; open what makes those channels")
    factor, root = axis[0]
    if root in widths.fixed_reasons:
        raise SpaceError(f"{where}: its width cannot change: it is tied to {widths.fixed_reasons[root]}")
    if root in logits(network):
        raise SpaceError(f"{where}: it gives the network's output, whose size the option num_classes sets")
    as_factors = any(isinstance(option, float) for option in options)
    own = widths.extent((ExtentTerm(factor, root),))
    sizes: dict[DecisionValue, int] = {}
    for option in options:
        if isinstance(option, bool) or not isinstance(option, int | float) or option <= 0:
            raise SpaceError(f"{where}: options are factors such as 0.5 or numbers of channels, not {option!r}")
        exact = Fraction(option) * widths.own[root] if as_factors else Fraction(option) / factor
        multiple = network.multiples.get(root, 1)
        if not as_factors and exact % multiple:
            raise SpaceError(f"{where}: {option} channels do not divide; use a multiple of {multiple * factor}")
        sizes[option] = max(1, floor(exact / multiple + Fraction(1, 2))) * multiple
    sources, ends = _steps_of_class(network, root)

    def apply(changes: NetworkChanges, value: Any) -> None:
        changes.sizes[root] = sizes[value]

    own_option: DecisionValue = (1.0 if 1.0 in options else None) if as_factors else (own if own in options else None)
    return Variation(f"{path}.width", options, own_option, sources, apply, ends, root, index)


def _steps_of_class(network: VariableNetwork, root: int) -> tuple[frozenset[int], frozenset[int]]:
    """The layers whose output is of the class of ``root``, and all steps whose result is."""
    sources = {network.widths.sources[v] for v in network.widths.members(root)} - {-1}
    ends = {p for p, axes in enumerate(network.axes) if axes and any(part.variable == root for part in axes[0])}
    return frozenset(sources), frozenset(ends)


def logits(network: VariableNetwork) -> dict[int, int]:
    """The widths of layers that give an output directly, by root, and those layers."""
    layers = {}
    for index in network.recording.outputs.values():
        while _passes_all_on(network, index):
            index = network.steps[index].operands[0]
        step = network.steps[index]
        if step.op in ("conv", "linear") and index not in network.axis_trace.depthwise:
            layers[network.axes[index][-1 if step.op == "linear" else 0][0].variable] = index
    return layers


def _passes_all_on(network: VariableNetwork, index: int) -> bool:
    """Whether a step only moves or pools what another one gives, and all of it."""
    step = network.steps[index]
    operation = OPS[step.op]
    computes = operation.parameters is not None or operation.activation
    return len(step.operands) == 1 and not computes and index not in network.ranges


# -- kernels and activations -------------------------------------------------------------------------------------------


def _kernel(path: str, options: tuple[Any, ...], network: VariableNetwork) -> Variation:
    index = _single_step(network, path, ("conv",), "kernel")
    where, step = f"vary: {path}.kernel", network.steps[index]
    own = tuple(step.options["kernel"])
    if max(own) > 1 and len({k for k in own if k > 1}) > 1:
        raise VariationNotApplicable(f"{where}: a kernel of {own} has no one size")
    kernels: dict[DecisionValue, tuple[int, ...]] = {}
    for option in options:
        if isinstance(option, bool) or not isinstance(option, int) or option < 1 or option % 2 == 0:
            raise SpaceError(f"{where}: options are odd sizes such as 3, 5, 7, not {option!r}")
        kernels[option] = tuple([option if k > 1 or max(own) == 1 else 1 for k in own])
        try:
            with_kernel(step, kernels[option])
        except GraphError as error:
            raise SpaceError(f"{where}: {error}") from None

    def apply(changes: NetworkChanges, value: Any) -> None:
        changes.kernels[index] = kernels[value]

    size = max(own)
    return Variation(f"{path}.kernel", options, size if size in options else None, frozenset({index}), apply)


def _act(path: str, options: tuple[Any, ...], network: VariableNetwork) -> Variation:
    acts = [index for index in steps_in(network.steps, path) if network.steps[index].op == "act"]
    # a block's gates weigh its features, and are none of its activations
    acts = [index for index in acts if network.steps[index].options["fn"] not in GATES] or acts
    where = f"vary: {path}.act"
    if not acts:
        raise VariationNotApplicable(f"{where}: {path!r} makes no activation")
    names = (*ACTIVATIONS, "identity", OWN)
    for option in options:
        if option not in names:
            raise SpaceError(f"{where}: no activation {option!r}; known: {', '.join(names)}")
    current_functions = {network.steps[index].options["fn"] for index in acts}
    own = OWN if OWN in options else current_functions.pop() if len(current_functions) == 1 else None

    def apply(changes: NetworkChanges, value: Any) -> None:
        if value != OWN:
            changes.activations.update(dict.fromkeys(acts, value))

    return Variation(f"{path}.act", options, own if own in options else None, frozenset(acts), apply)


# -- modules left out or replaced --------------------------------------------------------------------------------------


def _region(network: VariableNetwork, path: str, where: str) -> Region:
    region = find_region(network.recording, path)
    if isinstance(region, str):
        raise VariationNotApplicable(f"{where}: {region}")
    return region


def removable_region(recording: Recording, path: str) -> Region | str:
    """The region of a module that may be left out, or why it may not."""
    region = find_region(recording, path)
    if isinstance(region, Region):
        before, after = recording.steps[region.source].shape, recording.steps[region.end].shape
        if before != after:
            return f"{path!r} makes {after} of {before}; only a module that keeps its shape can be left out"
    return region


def _keep(path: str, options: tuple[Any, ...], network: VariableNetwork) -> Variation:
    where = f"vary: {path}.keep"
    if any(option is not True and option is not False for option in options):
        raise SpaceError(f"{where}: options are True and False, not {options!r}")
    region = removable_region(network.recording, path)
    if isinstance(region, str):
        raise VariationNotApplicable(f"{where}: {region}")

    def apply(changes: NetworkChanges, value: Any) -> None:
        if not value:
            changes.drop(path, region)

    return Variation(f"{path}.keep", options, True if True in options else None, region.steps, apply)


def removable_children(options: Sequence[Any], children: Sequence[str]) -> Sequence[str]:
    """The children that some depth leaves out."""
    whole = [option for option in options if isinstance(option, int) and option >= 0]
    return children[min(whole) :] if whole else ()


def _depth(path: str, options: tuple[Any, ...], network: VariableNetwork, children: Sequence[str]) -> Variation:
    where = f"vary: {path}.depth"
    if not children:
        raise VariationNotApplicable(f"{where}: {path!r} is no Sequential or ModuleList of several modules")
    for option in options:
        if isinstance(option, bool) or not isinstance(option, int) or not 0 <= option <= len(children):
            raise SpaceError(f"{where}: options are numbers of modules to keep, 0 to {len(children)}, not {option!r}")
    regions: dict[str, Region] = {}
    for child in removable_children(options, children):
        if not steps_in(network.steps, child):
            continue  # a dropout in evaluation, say
        region = removable_region(network.recording, child)
        if isinstance(region, str):
            raise VariationNotApplicable(f"{where}: {region}")
        regions[child] = region

    def apply(changes: NetworkChanges, value: Any) -> None:
        for child in children[value:]:
            if child in regions:
                changes.drop(child, regions[child])

    steps = frozenset(index for region in regions.values() for index in region.steps)
    own = len(children) if len(children) in options else None
    return Variation(f"{path}.depth", options, own, steps or frozenset(steps_in(network.steps, path)), apply)


def _block(path: str, options: tuple[Any, ...], network: VariableNetwork) -> Variation:
    where = f"vary: {path}.block"
    region = _region(network, path, where)
    before, after = network.steps[region.source].shape, network.steps[region.end].shape
    if len(before) != len(after) or len(after) < 2 or not strides(before, after):
        raise VariationNotApplicable(
            f"{where}: from {before} to {after} is no block on maps, (channels, positions...), with one stride"
        )
    pairs = [resolve_block(option) for option in options]
    functions = dict(pairs)
    if len(functions) < len(pairs):
        raise SpaceError(f"{where}: two blocks have one name: {', '.join(name for name, _ in pairs)}")

    def apply(changes: NetworkChanges, value: Any) -> None:
        if value != OWN:
            changes.drop(path, region, functions[value])

    return Variation(f"{path}.block", tuple(functions), OWN if OWN in functions else None, region.steps, apply)


_VARIATION_MAKERS: dict[str, Callable[[str, tuple[Any, ...], VariableNetwork], Variation]] = {
    "width": _width,
    "kernel": _kernel,
    "act": _act,
    "keep": _keep,
    "block": _block,
}
VARIATION_KEYS = (*_VARIATION_MAKERS, "depth")
STRUCTURAL_KEYS = ("block", "depth", "keep")
