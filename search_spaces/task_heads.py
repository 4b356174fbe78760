"""Any backbone under any head: from a space of classifiers to one of detectors or of dense prediction, and back.

A space that has a task itself is used as it is. Of another, the classifier's network is taken up to its features and
a head put on: features are tensors through which everything flows, one for each size of map, the last before the
map shrinks; where the next block begins by expanding, what it expands.
"""

from __future__ import annotations

import inspect
import random
from collections.abc import Callable
from functools import partial
from typing import Any

from search_spaces.blocks.heads import classifier, ssdlite
from search_spaces.blocks.multitask_heads import segmentation_decoder
from search_spaces.graph.builder import Builder, Tensor
from search_spaces.graph.cuts import separator_cuts
from search_spaces.graph.graph import Graph
from search_spaces.graph.operations import OPS, GraphError
from search_spaces.graph.provenance import label_runs
from search_spaces.space.choose import Choose
from search_spaces.space.genotype import SpaceError
from search_spaces.space.space import Space

HeadFunction = Callable[[Builder, list[Tensor], int], dict[str, Tensor]]


def _classify(b: Builder, features: list[Tensor], num_classes: int) -> dict[str, Tensor]:
    return {"logits": classifier(b, features[-1], num_classes)}


def _detect(b: Builder, features: list[Tensor], num_classes: int) -> dict[str, Tensor]:
    return ssdlite(b, features[-2:], num_classes=num_classes)


def _segment(b: Builder, features: list[Tensor], num_classes: int) -> dict[str, Tensor]:
    return {"segmentation": segmentation_decoder(b, features[-3:], num_classes)}


TASK_HEADS: dict[str, tuple[HeadFunction, int]] = {
    "classify": (_classify, 1000),
    "detect": (_detect, 90),
    "segment": (_segment, 21),
}
"""Tasks: the head, from features finest first, and how many classes it has by default."""


def task_of(space: Space) -> str:
    """What a space's networks do: ``classify``, ``detect``, ``segment``, or ``""`` where their outputs do not say.

    The space's option ``task`` says so, or else the outputs of one of its networks: ``box0`` and ``class0`` are a
    detector's, one row of scores a classifier's, one map of scores called ``segmentation`` a segmenter's. Raises
    ``SpaceError``.
    """
    stated_task = space.option("task")
    if stated_task in TASK_HEADS:
        return str(stated_task)
    shapes = space.graph(space.sample(random.Random(0))).output_shapes
    if {"box0", "class0"} <= set(shapes):
        return "detect"
    if len(shapes) > 1:
        return ""
    ((name, shape),) = shapes.items()
    return "classify" if len(shape) == 1 else "segment" if name == "segmentation" and len(shape) == 3 else ""


def feature_nodes(graph: Graph) -> list[int]:
    """Nodes of a classifier's graph that are its features, finest first: one for each size of map above 1x1.

    Raises ``GraphError`` where everything flows through no map.
    """
    nodes = graph.nodes
    separator_nodes = [cut.node for cut in separator_cuts(graph)]
    map_nodes = [i for i in separator_nodes if len(nodes[i].shape) >= 3 and max(nodes[i].shape[1:]) > 1]
    last: dict[tuple[int, ...], int] = {}
    for i in map_nodes:
        last[nodes[i].shape[1:]] = i
    if not last:
        raise GraphError("no map stands between the network's input and its output: it is no backbone")
    features = sorted(last.values())
    return [_unexpanded_input(graph, i, set(map_nodes)) for i in features[:-1]] + features[-1:]


def _unexpanded_input(graph: Graph, index: int, candidates: set[int]) -> int:
    """The tensor that a 1x1 convolution with its normalisation and activation widens to ``index``, or ``index``."""
    nodes = graph.nodes
    i = index
    while OPS[nodes[i].op].activation or OPS[nodes[i].op].normalises:
        i = nodes[i].inputs[0]
    if nodes[i].op == "conv" and set(nodes[i].attr("kernel")) == {1}:
        source = nodes[i].inputs[0]
        narrower = nodes[source].shape[0] < nodes[index].shape[0]
        if source in candidates and narrower and nodes[source].op != "input":
            return source
    return index


def _network_with_head(
    choose: Choose, *, space: Space, task: str, num_classes: int | None = None, **options: Any
) -> Graph:
    head, classes = TASK_HEADS[task]
    all_options = {**space.options, **options}
    all_options.pop("num_classes", None)  # the head's, not the classifier's
    graph = space.function(choose, **all_options)
    map_nodes = feature_nodes(graph)
    builder = Builder(graph.zeros)
    rebuilt: dict[int, Tensor] = {}
    labels = label_runs(graph.labels)
    for i, node in enumerate(graph.nodes[: map_nodes[-1] + 1]):
        if i in labels:
            builder.label_next(labels[i])
        rebuilt[i] = builder.rebuild(node, [rebuilt[j] for j in node.inputs])
    return builder.build(head(builder.section("head"), [rebuilt[i] for i in map_nodes], num_classes or classes))


def space_for_task(space: Space, task: str, *, own_head: bool = True) -> Space:
    """``space`` for a task, ``classify``, ``detect`` or ``segment``: its choices and notation, with that head.

    ``own_head``: a space that has the task itself is used as it is. Raises ``SpaceError``.
    """
    if task not in TASK_HEADS:
        raise SpaceError(f"no task {task!r}; there are {', '.join(TASK_HEADS)}")
    if own_head and space.accepts("task"):
        own_space = space.with_options(task=task)
        try:
            own_space.sample(random.Random(0))
        except SpaceError:
            pass
        else:
            return own_space
    if space.accepts("task") and space.option("task") != "classify":
        space = space.with_options(task="classify")
    graph = space.graph(space.sample(random.Random(0)))
    if len(graph.outputs) > 1:
        raise SpaceError(f"space {space.name!r} makes no classifier, whose backbone could go under another head")
    function = partial(_network_with_head, space=space, task=task)
    parameters = inspect.signature(space.function).parameters
    kept_parameters = [p for n, p in parameters.items() if n not in ("num_classes", "task")]
    classes = inspect.Parameter("num_classes", inspect.Parameter.KEYWORD_ONLY, default=TASK_HEADS[task][1])
    ordered = sorted([*kept_parameters, classes], key=lambda p: p.kind)
    function.__signature__ = inspect.Signature(ordered)  # type: ignore[attr-defined]
    options = {n: v for n, v in space.options.items() if n in parameters and n != "task"}
    return Space(function, space.name, options, space.notation, cheap_twin=space)
