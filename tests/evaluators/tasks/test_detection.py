"""Detection: what a detector is, its starting point, its targets, and that it learns."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from evaluators.data.data_set import Boxes
from evaluators.evaluator import EvaluationJob
from evaluators.tasks import ssd, ssd_head, yolo_head
from evaluators.tasks.catalog import network_training
from evaluators.tasks.detection import DetectionTask, head_kind
from evaluators.tasks.padded_boxes import most_boxes, padded_boxes
from evaluators.tasks.ssd_head import CLASS_BIAS, AnchorTargets
from evaluators.training.initialisation import residual_norms, zero_residual_branches
from evaluators.training.network_training import NetworkTraining
from search_spaces.blocks.mobile import conv_norm_act
from search_spaces.catalog import load_space, network_space
from search_spaces.graph.builder import Builder
from search_spaces.graph.graph import Graph
from search_spaces.pytorch.module import GraphModule, to_module
from tests.support.data_sets import in_memory, noise_data
from tests.support.small_networks import small_detector, small_yolo

SMALL_SETTINGS = {"image_size": 48, "steps": 12, "batch_size": 8, "max_train_images": 96, "max_val_images": 32}
SMALL = network_training("digits", "detect", SMALL_SETTINGS)


def initial(training: NetworkTraining, graph: Graph) -> GraphModule:
    """The network as it is before its first step."""
    module = to_module(graph, 0)
    zero_residual_branches(module)
    training.training_task.initialise(module, training.data_set())
    return module


# -- what a detector is ------------------------------------------------------------------------------------------------


def test_settings_that_make_no_sense_are_refused() -> None:
    for name in ("min_anchor_scale", "match_iou"):
        with pytest.raises(ValueError, match=f"{name} is 0.0; it must be above 0"):
            network_training("digits", "detect", {name: 0.0})
    photographs, digits = network_training("voc:somewhere"), network_training("digits")
    assert (photographs.training_task, digits.training_task) == (DetectionTask(0.2, 0.4), DetectionTask(0.4, 0.4))


def test_graphs_that_are_no_detector_for_the_data_are_refused() -> None:
    b = Builder()
    x = conv_norm_act(b, b.input((3, 48, 48)), 8, 3, 2)
    for graph, message in (
        (b.build({"logits": x}), "no detection head"),
        (small_detector(num_classes=9), "as SSD, class0 has 30 channels, not 33; use num_classes=10"),
    ):
        with pytest.raises(ValueError, match=message):
            SMALL.evaluate(EvaluationJob(graph))


def test_a_head_is_known_by_its_shapes() -> None:
    kinds = {graph: head_kind(graph.output_shapes, 64, 10).loss for graph in (small_detector(64), small_yolo(64))}
    assert list(kinds.values()) == [ssd_head.LOSS_DESCRIPTION, yolo_head.LOSS_DESCRIPTION]
    space = load_space("emo", task="detect", image_size=64, num_classes=10)
    emo = space.graph(space.sample(random.Random(0)))
    assert head_kind(emo.output_shapes, 64, 10).loss == ssd_head.LOSS_DESCRIPTION
    levels = len(emo.outputs) // 2
    map_sides = [int(emo.output_shapes[f"box{i}"][1]) for i in range(levels)]
    head = ssd_head.ssd_head(emo.output_shapes, 64, 10)
    assert len(head.anchors) == 6 * sum(side * side for side in map_sides)


def test_a_yolo_head_for_other_data_is_refused() -> None:
    good = dict(small_yolo(64).output_shapes)
    for wrong, message in (
        ({"class1": (9, 4, 4)}, "as YOLO, class1 has 9 channels, not 10; use num_classes=10"),
        ({"box2": (32, 2, 2)}, "as YOLO, box2 has 32 channels; it must have 4 times as many as there are bins"),
        ({"box1": (64, 8, 8)}, "as YOLO, box1 has 8 x 8 positions, not the 4 x 4 of stride 16"),
    ):
        with pytest.raises(ValueError, match=message):
            head_kind({**good, **wrong}, 64, 10)


# -- starting point --------------------------------------------------------------------------------------------------


def test_residual_branches_start_at_zero_and_predictors_at_the_prior() -> None:
    graph = small_detector()
    ends = residual_norms(graph)
    assert len(ends) == 2
    module = initial(SMALL, graph)
    for index, layer in module.layers.items():
        if graph.nodes[int(index)].op == "norm":
            assert (not torch.any(torch.as_tensor(layer.weight))) == (int(index) in ends)
    module.eval()
    outputs = module(torch.rand(2, 3, 48, 48))
    assert isinstance(outputs, dict)
    assert all(torch.all(v == (CLASS_BIAS if n.startswith("class") else 0)) for n, v in outputs.items())


def test_only_the_branch_of_a_sum_counts_as_residual() -> None:
    b = Builder()
    x = conv_norm_act(b, b.input((3, 8, 8)), 8, 3, act="identity")
    first, second = (conv_norm_act(b, x, 8, kernel, act="identity") for kernel in (3, 5))
    parallel = b.build({"y": b.conv(b.add(first, second), 8, 1)})
    assert residual_norms(parallel) == []
    space, architecture = network_space("mobiledet_edgetpu")
    assert len(residual_norms(space.graph(space.parse(architecture)))) == 15


def test_yolo_scores_start_at_few_objects_an_image_and_distances_flat() -> None:
    graph = small_yolo(64)
    module = initial(network_training("digits", "detect", {**SMALL_SETTINGS, "image_size": 64}), graph)
    module.eval()
    outputs = module(torch.rand(2, 3, 64, 64))
    for level, side in enumerate((8, 4, 2)):
        assert not outputs[f"box{level}"].any()
        expected = torch.full((2, 10, side, side), 5 / 10 / side**2)
        torch.testing.assert_close(outputs[f"class{level}"].exp(), expected)
    assert not any(
        layer.bias is not None
        for layer in module.layers.values()
        if isinstance(layer, torch.nn.Conv2d) and layer.weight.any()
    )


# -- training --------------------------------------------------------------------------------------------------------


def test_the_loss_falls() -> None:
    job = EvaluationJob(small_detector())
    first, last = (replace(SMALL, steps=steps).evaluate(job).metrics["final_loss"] for steps in (1, 60))
    assert last < 0.6 * first


def test_training_beats_no_training() -> None:
    training = replace(SMALL, image_size=64, steps=80, batch_size=16, max_train_images=400)
    graph = small_detector(64)
    untrained = training.evaluate_untrained(graph, seed=0)
    trained = training.evaluate(EvaluationJob(graph)).metrics
    assert untrained["map"] < 0.02
    assert trained["map50"] > 0.1
    assert trained["map"] > 3 * untrained["map"]


def test_flips_carry_the_boxes_along() -> None:
    split = SMALL.data_set().train
    anchors = ssd.anchors([(6, 6), (3, 3)], 48)
    indices = np.arange(4)
    targets = AnchorTargets(split, anchors, 0.4, 48)
    for flipped in (False, True):
        codes, classes = targets(indices, np.full(4, flipped))
        boxes = ssd.decode(codes, anchors)
        for image, truth in enumerate(split.targets(indices)):
            matched_boxes = boxes[image][classes[image] > 0]
            if flipped:
                signs, shift = torch.tensor([-1, 1, -1, 1]), torch.tensor([48, 0, 48, 0])
                matched_boxes = matched_boxes[:, [2, 1, 0, 3]] * signs + shift
            expected = torch.from_numpy(np.array(truth.corners))
            assert torch.cdist(matched_boxes, expected).min(1).values.max() < 1e-3
            assert torch.cdist(expected, matched_boxes).min(1).values.max() < 1e-3
            assert set((classes[image][classes[image] > 0] - 1).tolist()) == set(truth.labels.tolist())


def test_matches_are_remembered_within_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    split = SMALL.data_set().train
    anchors = ssd.anchors([(6, 6), (3, 3)], 48)
    rng = np.random.default_rng(0)
    batches = [(rng.permutation(20)[:8], rng.random(8) < 0.5) for _ in range(12)]
    expected = [AnchorTargets(split, anchors, 0.4, 48)(*batch) for batch in batches]
    matched = []
    match = ssd.match

    def counted(anchors: torch.Tensor, boxes: torch.Tensor, *, threshold: float) -> torch.Tensor:
        matched.append(len(boxes))
        return match(anchors, boxes, threshold=threshold)

    monkeypatch.setattr(ssd, "match", counted)
    seen = {image for indices, flips in batches for image in zip(indices.tolist(), flips.tolist(), strict=True)}
    for most in (1000, 3):
        monkeypatch.setattr(ssd_head, "MAX_MATCH_BYTES", most * 4 * len(anchors))
        targets = AnchorTargets(split, anchors, 0.4, 48)
        matched.clear()
        for batch, (codes, classes) in zip(batches, expected, strict=True):
            again = targets(*batch)
            assert torch.equal(again[0], codes)
            assert torch.equal(again[1], classes)
            assert len(targets._matches) <= most
        assert sum(matched) == len(seen) if most == 1000 else sum(matched) > len(seen)


def test_a_yolo_network_fits_eight_images() -> None:
    """They are validated on: of this data set the two splits are the same eight images."""
    settings = {"image_size": 64, "steps": 40, "batch_size": 8, "max_train_images": 8, "max_val_images": 8}
    split = network_training("digits", "detect", settings).data_set().train
    indices = np.arange(8)
    same = in_memory(split.images(indices), split.targets(indices), "boxes")
    training = network_training(same, "detect", {**settings, "horizontal_flip": False})
    job = EvaluationJob(small_yolo(64))
    first = replace(training, steps=1).evaluate(job).metrics["final_loss"]
    after = training.evaluate(job).metrics
    assert after["final_loss"] < 0.2 * first
    assert training.evaluate_untrained(job.graph, seed=0)["map"] < 0.02
    assert after["map"] > 0.7


def test_boxes_are_padded_alike_in_a_small_split() -> None:
    split = SMALL.data_set().train
    images = split.targets(np.arange(len(split)))
    most = max(len(boxes.labels) for boxes in images)
    assert most_boxes(split) == most
    corners, labels = padded_boxes(images[:3], most + 2)
    assert corners.shape == (3, most + 2, 4)
    for boxes, row, numbers in zip(images, corners, labels, strict=False):
        count = len(boxes.labels)
        assert np.array_equal(row[:count], boxes.corners)
        assert np.array_equal(numbers[:count], boxes.labels)
        assert not row[count:].any()
    assert most_boxes(noise_data("boxes", 100_000).train) == 1
    none = Boxes(np.zeros((0, 4), np.float32), np.zeros(0, np.int64))
    assert padded_boxes([none])[0].shape == (1, 1, 4)


# -- published figures of the proxy ----------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(("network", "least"), [("mobiledet_edgetpu", 0.35), ("mobiledet_dsp", 0.45)])
def test_digits_proxy(network: str, least: float) -> None:
    training = network_training("digits")
    space, architecture = network_space(network, **training.proxy)
    assert training.evaluate(EvaluationJob(space.graph(space.parse(architecture)))).metrics["map"] > least


@pytest.mark.slow
def test_blood_cells_proxy(shared: Callable[[str], Path]) -> None:
    training = network_training(f"voc:{shared('data/bccd_detection')}")
    space, architecture = network_space("mobiledet_edgetpu", **training.proxy)
    graph = space.graph(space.parse(architecture))
    assert training.evaluate_untrained(graph, seed=0)["map"] < 0.03
    assert training.evaluate(EvaluationJob(graph)).metrics["map"] > 0.2
