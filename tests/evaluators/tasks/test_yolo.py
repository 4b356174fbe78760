"""Points, assignment, loss and decoding of the anchor-free head, against closed forms and a hand-made case."""

from __future__ import annotations

import math
import random

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional

from evaluators.tasks import yolo
from evaluators.tasks.coco_map import coco_map
from evaluators.tasks.padded_boxes import mirrored
from search_spaces.catalog import load_space
from search_spaces.pytorch.module import to_module

BINS = 16


def one_hot(reach: list[int]) -> Tensor:
    """Distance logits [4, B] whose expectation is ``reach``, almost: whole distances."""
    return 40.0 * functional.one_hot(torch.tensor(reach), BINS).float()


# -- points and decoding -----------------------------------------------------------------------------------------------


def test_points_are_the_middles_of_cells_by_level_row_and_column() -> None:
    middles, strides = yolo.points([(2, 3), (1, 2)])
    assert middles.tolist() == [[4, 4], [12, 4], [20, 4], [4, 12], [12, 12], [20, 12], [8, 8], [24, 8]]
    assert strides.tolist() == [8] * 6 + [16] * 2


def test_maps_are_flattened_in_the_order_of_points() -> None:
    sizes = [(2, 3), (1, 2)]
    outputs = {}
    for level, (height, width) in enumerate(sizes):
        position = torch.arange(height * width).reshape(1, 1, height, width) + 10.0 * level
        outputs[f"box{level}"] = position + 100 * torch.arange(4 * BINS).reshape(1, -1, 1, 1)
        outputs[f"class{level}"] = position + 100 * torch.arange(5).reshape(1, -1, 1, 1)
    distances, logits = yolo.flatten(outputs)
    assert distances.shape == (1, 8, 4, BINS)
    assert logits.shape == (1, 8, 5)
    assert distances[0, :, 2, 3].tolist() == [100 * (2 * BINS + 3) + p for p in (0, 1, 2, 3, 4, 5, 10, 11)]
    assert logits[0, :, 4].tolist() == [400 + p for p in (0, 1, 2, 3, 4, 5, 10, 11)]


def test_boxes_reach_from_the_point_in_strides() -> None:
    middles, strides = yolo.points([(1, 2), (1, 1)])
    boxes = yolo.decode(torch.stack([one_hot([0, 1, 2, 3])] * 3), middles, strides)
    torch.testing.assert_close(boxes, torch.tensor([[4.0, -4, 20, 28], [12, -4, 28, 28], [8, -8, 40, 56]]))
    even = yolo.decode(torch.zeros(1, 4, BINS), middles[:1], strides[:1])  # no preference: 7.5 strides each way
    torch.testing.assert_close(even, torch.tensor([[4 - 60.0, 4 - 60, 4 + 60, 4 + 60]]))


# -- CIoU and the distribution focal loss ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ([0, 0, 10, 10], [0, 0, 10, 10], 1.0),
        # Squares side by side share nothing; centres 10 apart; both lie in 20 x 10.
        ([0, 0, 10, 10], [10, 0, 20, 10], -(10**2) / (20**2 + 10**2)),
        # A quarter, in the middle: no distance, one shape.
        ([0, 0, 10, 10], [2.5, 2.5, 7.5, 7.5], 0.25),
        ([0, 0, 10, 10], [5, 5, 15, 15], 25 / 175 - (2 * 5**2) / (2 * 15**2)),
    ],
)
def test_ciou_of_known_boxes(first: list[float], second: list[float], expected: float) -> None:
    one, other = torch.tensor(first).float(), torch.tensor(second).float()
    assert float(yolo.ciou(one, other)) == pytest.approx(expected, abs=1e-5)
    assert float(yolo.ciou(other, one)) == pytest.approx(expected, abs=1e-5)


def test_ciou_of_crossed_bars() -> None:
    # 20 x 10 over 10 x 20 around one centre: half of one is shared, and the slants are atan 2 and atan 1/2.
    complete_iou = yolo.ciou(torch.tensor([-10.0, -5, 10, 5]), torch.tensor([-5.0, -10, 5, 10]))
    iou = 100 / 300
    shape = 4 / math.pi**2 * (math.atan(2) - math.atan(0.5)) ** 2
    assert float(complete_iou) == pytest.approx(iou - shape / (1 - iou + shape) * shape, abs=1e-5)


def test_ciou_pulls_distant_boxes_together() -> None:
    box = torch.tensor([100.0, 100, 110, 120], requires_grad=True)
    yolo.ciou(box, torch.tensor([0.0, 0, 20, 20])).backward()
    assert box.grad is not None
    assert (box.grad[:2] < 0).all()
    assert box.grad.isfinite().all()
    empty = torch.zeros(4, requires_grad=True)
    yolo.ciou(empty, torch.zeros(4)).backward()
    assert empty.grad is not None
    assert empty.grad.isfinite().all()


@given(st.floats(0, BINS - 1, width=32))
def test_distribution_focal_loss_is_least_at_the_target(target: float) -> None:
    target_tensor = torch.tensor([target])
    lower = min(math.floor(target), BINS - 2)
    weight = target - lower
    scores = torch.full((1, BINS), 1e-9)
    scores[0, lower], scores[0, lower + 1] = max(1 - weight, 1e-9), max(weight, 1e-9)
    best = float(yolo.distribution_focal(scores.log(), target_tensor))
    entropy = -sum(p * math.log(p) for p in (weight, 1 - weight) if p > 0)
    assert best == pytest.approx(entropy, abs=1e-4)
    assert float(yolo.distribution_focal(torch.zeros(1, BINS), target_tensor)) == pytest.approx(
        math.log(BINS), rel=1e-5
    )


@pytest.mark.parametrize("target", [0, 1, 7, 15])
def test_distribution_focal_loss_of_a_one_hot_target_is_zero(target: int) -> None:
    assert float(yolo.distribution_focal(one_hot([target])[0], torch.tensor(float(target)))) == pytest.approx(
        0, abs=1e-6
    )


# -- assignment --------------------------------------------------------------------------------------------------------


def hand_made() -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Four points in a row on 32 x 8 pixels; one box over the first three, another over the last two, and padding."""
    middles, _ = yolo.points([(1, 4)])
    true_boxes = torch.tensor([[[0.0, 0, 24, 8], [16, 0, 32, 8], [0, 0, 0, 0]]])
    boxes = torch.tensor([[[0.0, 0, 24, 8], [0, 0, 12, 8], [16, 0, 32, 8], [0, 0, 32, 8]]])
    scores = torch.tensor([[[0.81, 0.1], [0.25, 0.1], [0.04, 0.36], [0.5, 0.16]]])
    return scores, boxes, middles, true_boxes, torch.tensor([[0, 1, 0]])


def test_points_answer_for_the_box_they_overlap_most() -> None:
    owner, soft = yolo.assign(*hand_made())
    # The third point lies in both boxes and predicts the second.
    assert owner.tolist() == [[0, 0, 1, 1]]
    # The best of each box has its overlap, 1 for both, as its target; the others less, by alignment.
    _, boxes, _, true_boxes, _ = hand_made()
    second = float(yolo.ciou(boxes[0, 1], true_boxes[0, 0]))
    fourth = float(yolo.ciou(boxes[0, 3], true_boxes[0, 1]))
    expected = [1, (0.25 / 0.81) ** 0.5 * second**6, 1, (0.16 / 0.36) ** 0.5 * fourth**6]
    torch.testing.assert_close(soft, torch.tensor([expected]), rtol=1e-4, atol=1e-6)


def test_a_box_takes_so_many_points_and_only_from_inside() -> None:
    scores, boxes, middles, true_boxes, classes = hand_made()
    owner, soft = yolo.assign(scores, boxes, middles, true_boxes, classes, max_points=1)
    assert owner.tolist() == [[0, -1, 1, -1]]
    assert soft.tolist()[0][1::2] == [0, 0]
    one = true_boxes[:, :1].clone()
    one[..., 2] = 12.0  # its right edge is the second point, which so is not inside
    assert yolo.assign(scores, boxes, middles, one, classes[:, :1])[0].tolist() == [[0, -1, -1, -1]]


def test_images_without_boxes_have_no_answers() -> None:
    scores, boxes, middles, _, _ = hand_made()
    for count in (0, 2):
        nothing = torch.zeros(1, count, 4), torch.zeros(1, count, dtype=torch.int64)
        owner, soft = yolo.assign(scores, boxes, middles, *nothing)
        assert owner.tolist() == [[-1] * 4]
        assert not soft.any()


@given(st.integers(0, 10_000))
def test_assignment_keeps_its_promises(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    middles, strides = yolo.points([(8, 8), (4, 4), (2, 2)])
    corner = 50 * torch.rand(2, 5, 2, generator=generator)
    true_boxes = torch.cat([corner, corner + 4 + 30 * torch.rand(2, 5, 2, generator=generator)], -1)
    true_boxes[1, 3:] = 0
    classes = torch.randint(3, (2, 5), generator=generator)
    distances = 3 * torch.randn(2, len(middles), 4, BINS, generator=generator)
    scores = torch.rand(2, len(middles), 3, generator=generator)
    boxes = yolo.decode(distances, middles, strides)
    owner, soft = yolo.assign(scores, boxes, middles, true_boxes, classes)
    assert ((soft >= 0) & (soft <= 1)).all()
    assert not soft[owner < 0].any()
    for image in range(2):
        for box in range(5):
            mine = (owner[image] == box).nonzero()[:, 0]
            x1, y1, x2, y2 = true_boxes[image, box].tolist()
            assert len(mine) <= 10
            assert all(x1 < x < x2 and y1 < y < y2 for x, y in middles[mine].tolist())
            if len(mine):
                best = float(yolo.ciou(boxes[image, mine], true_boxes[image, box]).clamp(min=0).max())
                assert float(soft[image, mine].max()) == pytest.approx(best, abs=1e-5)


# -- the loss ----------------------------------------------------------------------------------------------------------


def test_the_loss_of_a_known_prediction() -> None:
    middles, strides = yolo.points([(1, 2)])
    truth = torch.tensor([[[0.0, 0, 8, 8]]]), torch.tensor([[1]])
    flat = torch.zeros(1, 2, 4, BINS)  # both predict 7.5 strides each way
    logits = torch.zeros(1, 2, 3)
    losses = yolo.loss(flat, logits, middles, strides, *truth)
    overlap = float(yolo.ciou(yolo.decode(flat, middles, strides)[0, 0], truth[0][0, 0]))
    assert 0 < overlap < 1  # the first point alone is inside, and its soft target is its overlap
    assert float(losses.box) == pytest.approx(7.5 * (1 - overlap) * overlap, rel=1e-4)
    assert float(losses.distances) == pytest.approx(1.5 * math.log(BINS) * overlap, rel=1e-4)
    assert float(losses.classes) == pytest.approx(0.5 * 6 * math.log(2), rel=1e-4)
    assert float(losses.total) == pytest.approx(float(losses.box + losses.classes + losses.distances))


def test_a_perfect_prediction_costs_nothing() -> None:
    middles, strides = yolo.points([(2, 2)])
    reaches = [[1, 1, 2, 2], [2, 1, 1, 2], [1, 2, 2, 1], [2, 2, 1, 1]]
    truth = torch.tensor([[[-4.0, -4, 20, 20]]])
    logits = torch.tensor([-20.0, 20]).expand(1, 4, 2)
    distances = torch.stack([one_hot(reach) for reach in reaches])[None]
    losses = yolo.loss(distances, logits, middles, strides, truth, torch.tensor([[1]]))
    assert float(losses.total) == pytest.approx(0, abs=1e-5)


@given(st.integers(0, 10_000))
@settings(max_examples=20)
def test_a_mirrored_image_with_mirrored_boxes_costs_the_same(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    sizes = [(8, 8), (4, 4), (2, 2)]
    middles, strides = yolo.points(sizes)
    outputs = {}
    for level, (height, width) in enumerate(sizes):
        outputs[f"box{level}"] = 3 * torch.randn(2, 4 * BINS, height, width, generator=generator)
        outputs[f"class{level}"] = torch.randn(2, 3, height, width, generator=generator)
    seen = {name: maps.flip(-1) for name, maps in outputs.items()}
    for level in range(3):  # left and right change places too
        sides = seen[f"box{level}"].chunk(4, 1)
        seen[f"box{level}"] = torch.cat([sides[side] for side in (2, 1, 0, 3)], 1)
    corner = torch.randint(0, 40, (2, 5, 2), generator=generator).float()
    boxes = torch.cat([corner, corner + torch.randint(4, 24, (2, 5, 2), generator=generator)], -1)
    boxes[1, 3:] = 0
    classes = torch.randint(3, (2, 5), generator=generator)
    other = torch.from_numpy(mirrored(boxes.numpy(), 64))
    assert np.array_equal(mirrored(other.numpy(), 64), boxes.numpy())
    assert ((other[..., 2:] - other[..., :2]) == (boxes[..., 2:] - boxes[..., :2])).all()
    plain = yolo.loss(*yolo.flatten(outputs), middles, strides, boxes, classes)
    turned = yolo.loss(*yolo.flatten(seen), middles, strides, other, classes)
    torch.testing.assert_close(torch.stack(list(turned)), torch.stack(list(plain)), rtol=1e-4, atol=1e-5)


def test_without_boxes_only_scores_are_pushed_down() -> None:
    middles, strides = yolo.points([(2, 2)])
    distances = torch.randn(2, 4, 4, BINS, requires_grad=True)
    logits = torch.zeros(2, 4, 3, requires_grad=True)
    losses = yolo.loss(distances, logits, middles, strides, torch.zeros(2, 0, 4), torch.zeros(2, 0, dtype=torch.int64))
    losses.total.backward()
    assert losses.box.item() == losses.distances.item() == 0
    assert losses.classes.item() == pytest.approx(0.5 * 24 * math.log(2))
    assert logits.grad is not None
    assert (logits.grad > 0).all()


def test_gradients_reach_every_weight_of_a_network() -> None:
    space = load_space("leyolo", image_size=64, width=0.5, num_classes=2)
    module = to_module(space.graph(space.sample(random.Random(0)))).train()
    boxes, classes = torch.tensor([[[4.0, 6, 28, 30], [2, 2, 60, 60]]]).expand(2, 2, 4), torch.tensor([[0, 1], [1, 0]])
    middles, strides = yolo.points([(8, 8), (4, 4), (2, 2)])
    yolo.loss(*yolo.flatten(module(torch.rand(2, 3, 64, 64))), middles, strides, boxes, classes).total.backward()
    missing = [n for n, p in module.named_parameters() if p.grad is None or not p.grad.isfinite().all()]
    assert not missing


def test_a_tiny_batch_is_fitted_and_found() -> None:
    middles, strides = yolo.points([(8, 8)])
    # All sides are whole strides from all points, so that no entropy of a distance between two bins remains.
    boxes = torch.tensor([[[4.0, 4, 28, 28], [36, 28, 60, 60]], [[12, 12, 52, 44], [0, 0, 0, 0]]])
    classes = torch.tensor([[0, 1], [1, 0]])
    distances = torch.zeros(2, len(middles), 4, BINS, requires_grad=True)
    logits = torch.full((2, len(middles), 2), -4.6, requires_grad=True)
    optimiser = torch.optim.Adam([distances, logits], 0.3)
    history = []
    for _ in range(200):
        total = yolo.loss(distances, logits, middles, strides, boxes, classes).total
        optimiser.zero_grad()
        total.backward()
        optimiser.step()
        history.append(total.item())
    assert history[0] > 5
    assert history[-1] < 0.01
    with torch.no_grad():
        detections = yolo.detections(distances, logits, middles, strides, 64, max_iou=0.7)
    predictions = [(b.numpy(), s.numpy(), c.numpy()) for b, s, c in detections]
    truths = [(boxes[i, :n].numpy(), classes[i, :n].numpy()) for i, n in enumerate((2, 1))]
    assert coco_map(predictions, truths, 2) == {"map": 1, "map50": 1}


# -- detections --------------------------------------------------------------------------------------------------------


def test_detections_are_the_best_scores_in_order() -> None:
    middles, strides = yolo.points([(1, 2)])
    distances = torch.stack([one_hot([0, 0, 1, 1]), one_hot([1, 1, 3, 3])])[None]
    logits = torch.tensor([[[2.0, -1.0], [0.0, -9.0]]])
    ((boxes, scores, labels),) = yolo.detections(distances, logits, middles, strides, 16)
    torch.testing.assert_close(scores, torch.tensor([2.0, 0.0, -1.0]).sigmoid())  # the fourth is below a thousandth
    assert labels.tolist() == [0, 0, 1]
    torch.testing.assert_close(boxes, torch.tensor([[4.0, 4, 12, 12], [4, 0, 16, 16], [4, 4, 12, 12]]))
    ((boxes, scores, labels),) = yolo.detections(distances, logits, middles, strides, 16, max_detections=1)
    assert labels.tolist() == [0]


def test_doubles_go_within_their_class_alone() -> None:
    middles, strides = yolo.points([(1, 2)])
    distances = torch.stack([one_hot([0, 0, 2, 2]), one_hot([1, 0, 1, 2])])[None]  # one box, twice
    logits = torch.tensor([[[2.0, -1.0], [0.0, 1.0]]])
    ((_, scores, labels),) = yolo.detections(distances, logits, middles, strides, 32, max_iou=0.7)
    assert labels.tolist() == [0, 1]
    np.testing.assert_allclose(scores, torch.tensor([2.0, 1.0]).sigmoid())
