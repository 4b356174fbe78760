"""Anchors, box coding, matching, loss, decoding and suppression, against closed forms and brute force."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from evaluators.tasks import ssd

SIZES_320 = [(20, 20), (10, 10), (5, 5), (3, 3), (2, 2), (1, 1)]


def random_boxes(generator: torch.Generator, *shape: int, size: float = 100.0) -> Tensor:
    corner = torch.rand(*shape, 2, generator=generator) * size
    return torch.cat([corner, corner + 1 + torch.rand(*shape, 2, generator=generator) * size / 2], -1)


def iou_of_two(a: list[float], b: list[float]) -> float:
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    shared = max(0.0, width) * max(0.0, height)
    return shared / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared)


# -- anchors ---------------------------------------------------------------------------------------------------------


def test_published_head_has_2034_anchors() -> None:
    anchors = ssd.anchors(SIZES_320, 320)
    assert anchors.shape == (2034, 4)
    first = anchors[:3]  # scale 0.1 square; 0.2 at ratios 2 and 1/2; all around the middle of the first 16x16 cell
    half = 32 * math.sqrt(2)
    expected = [[32, 32], [2 * half, half], [half, 2 * half]]
    torch.testing.assert_close(first[:, 2:] - first[:, :2], torch.tensor(expected))
    torch.testing.assert_close(first[:, 2:] + first[:, :2], torch.full((3, 2), 16.0))


def test_scales_are_spaced_evenly_over_the_levels_there_are() -> None:
    anchors = ssd.anchors(SIZES_320, 100)
    squares = {round(float(a[2] - a[0]), 4) for a in anchors if abs((a[2] - a[0]) - (a[3] - a[1])) < 1e-3}
    scales = [0.35, 0.5, 0.65, 0.8, 0.95, 1.0]
    geometric = [math.sqrt(a * b) for a, b in itertools.pairwise(scales)]
    assert squares == {round(100 * s, 4) for s in [0.1, *scales[:-1], *geometric]}
    small = ssd.anchors([(4, 4), (2, 2), (1, 1)], 64, min_scale=0.4, max_scale=0.8)
    assert len(small) == 4 * 4 * 3 + 2 * 2 * 6 + 6
    assert float(small[4 * 4 * 3][2] - small[4 * 4 * 3][0]) == pytest.approx(0.6 * 64)


def test_order_is_row_column_shape_as_in_the_flattened_maps() -> None:
    sizes = [(2, 3), (1, 2)]
    maps: dict[str, Tensor] = {}
    for level, (height, width) in enumerate(sizes):
        count = 6 if level else 3
        position = torch.arange(height * width).reshape(1, 1, height, width).float()
        maps[f"box{level}"] = position + 100 * torch.arange(count * 4).reshape(1, -1, 1, 1)
        maps[f"class{level}"] = position.expand(1, count * 3, height, width)
    codes, logits = ssd.flatten(maps, num_classes=2)
    anchors = ssd.anchors(sizes, 60)
    assert codes.shape == (1, len(anchors), 4)
    assert logits.shape == (1, len(anchors), 3)
    assert codes[0, 3 * 4 + 2].tolist() == [804, 904, 1004, 1104]  # position 4, third shape
    x, y = (anchors[3 * 4][2:] + anchors[3 * 4][:2]).tolist()
    assert (x / 2, y / 2) == pytest.approx((30, 45))  # position 4 of 2x3: row 1, column 1


@pytest.mark.parametrize("names", [[], ["logits"], ["box0", "class0", "box2", "class2"], ["box0", "class1"]])
def test_other_outputs_are_no_head(names: list[str]) -> None:
    with pytest.raises(ValueError, match="no detection head"):
        ssd.level_count(dict.fromkeys(names))


def test_the_paper_s_counts_leave_out_the_longest_ratios() -> None:
    """Six default boxes have the ratios 1, 2, 1/2, 3, 1/3 and a second square; four do without 3 and 1/3."""
    anchors = ssd.anchors([(2, 2), (1, 1), (1, 1)], 100, counts=(6, 4, 6), min_scale=0.2, max_scale=0.8)
    assert len(anchors) == 4 * 6 + 4 + 6
    width, height = (anchors[:, 2:] - anchors[:, :2]).unbind(-1)
    ratios, side = width / height, (width * height).sqrt()
    six, four = [1, 2, 1 / 2, 3, 1 / 3, 1], [1, 2, 1 / 2, 1]
    assert ratios.tolist() == pytest.approx([*six * 4, *four, *six])
    expected = [*[20.0] * 5, math.sqrt(20 * 50)] * 4 + [50.0] * 3 + [math.sqrt(50 * 80)]
    assert side.tolist() == pytest.approx([*expected, *[80.0] * 5, math.sqrt(80 * 100)])


def test_counts_are_read_from_the_head_s_shapes() -> None:
    def shapes(*counts: int) -> dict[str, tuple[int, int, int]]:
        return {f"{kind}{i}": (4 * n, 1, 1) for i, n in enumerate(counts) for kind in ("box", "class")}

    for counts in ((3, 6, 6), (6, 6), (4, 6, 6, 4), (3,)):
        assert ssd.anchor_counts(shapes(*counts)) == counts
    for counts, message in (((6, 3), "box1 has 12 channels.* for 16 or 24"), ((5,), "box0 has 20.* 12 or 16 or 24")):
        with pytest.raises(ValueError, match=message):
            ssd.anchor_counts(shapes(*counts))
        with pytest.raises(ValueError, match=message):
            ssd.anchors([(1, 1)] * len(counts), 32, counts=counts)


# -- coding ----------------------------------------------------------------------------------------------------------

CORNERS = st.floats(-200, 200, width=32)
LENGTHS = st.floats(1, 300, width=32)  # decode ends at 403 anchors


@given(CORNERS, CORNERS, LENGTHS, LENGTHS, CORNERS, CORNERS, LENGTHS, LENGTHS)
def test_decode_undoes_encode(
    x: float, y: float, w: float, h: float, ax: float, ay: float, aw: float, ah: float
) -> None:
    box = torch.tensor([[x, y, x + w, y + h]], dtype=torch.float64)
    anchor = torch.tensor([[ax, ay, ax + aw, ay + ah]], dtype=torch.float64)
    torch.testing.assert_close(ssd.decode(ssd.encode(box, anchor), anchor), box, rtol=1e-9, atol=1e-5)


def test_codes_are_those_of_the_faster_rcnn_coder() -> None:
    anchor = torch.tensor([0.0, 0.0, 10.0, 20.0])
    assert ssd.encode(anchor, anchor).tolist() == [0, 0, 0, 0]
    moved = torch.tensor([5.0, 4.0, 15.0, 24.0])
    assert ssd.encode(moved, anchor).tolist() == pytest.approx([10 * 4 / 20, 10 * 5 / 10, 0, 0])
    doubled = torch.tensor([-5.0, -10.0, 15.0, 30.0])
    assert ssd.encode(doubled, anchor).tolist() == pytest.approx([0, 0, 5 * math.log(2), 5 * math.log(2)])


def test_wild_codes_give_finite_boxes() -> None:
    assert ssd.decode(torch.full((1, 4), 1e6), torch.tensor([[0.0, 0.0, 10.0, 10.0]])).isfinite().all()


def test_iou_is_that_of_each_pair() -> None:
    generator = torch.Generator().manual_seed(0)
    first, second = random_boxes(generator, 7), random_boxes(generator, 5)
    expected = [[iou_of_two(a, b) for b in second.tolist()] for a in first.tolist()]
    torch.testing.assert_close(ssd.iou(first, second), torch.tensor(expected))
    assert float(ssd.iou(torch.zeros(1, 4), torch.zeros(1, 4))) == 0


# -- matching --------------------------------------------------------------------------------------------------------


@given(st.integers(0, 10_000), st.integers(0, 6), st.floats(0.2, 0.8))
def test_match_takes_the_best_box_and_answers_every_box(seed: int, count: int, threshold: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    anchors, boxes = random_boxes(generator, 20), random_boxes(generator, count)
    index = ssd.match(anchors, boxes, threshold=threshold).tolist()
    expected = [-1] * len(anchors)
    overlap = [[iou_of_two(a, b) for b in boxes.tolist()] for a in anchors.tolist()]
    for a, row in enumerate(overlap):
        if row and max(row) >= threshold:
            expected[a] = row.index(max(row))
    for b in reversed(range(count)):  # the first of two boxes that want one anchor has the last word
        column = [row[b] for row in overlap]
        expected[column.index(max(column))] = b
    assert index == expected


def test_boxes_without_area_are_padding() -> None:
    anchors = torch.tensor([[0.0, 0.0, 10.0, 10.0], [50.0, 50.0, 60.0, 60.0]])
    box = torch.tensor([[51.0, 50.0, 60.0, 60.0]])
    alone = ssd.match(anchors, box)
    batch = torch.stack([torch.cat([box, torch.zeros(1, 4)]), torch.zeros(2, 4)])
    assert alone.tolist() == [-1, 0]
    assert ssd.match(anchors, batch).tolist() == [[-1, 0], [-1, -1]]


# -- loss ------------------------------------------------------------------------------------------------------------


def test_loss_by_hand() -> None:
    logits = torch.tensor([[[0.3, 2.0, -1.0], [0.1, -0.5, -2.0]]])  # background, class 1, class 2
    classes = torch.tensor([[1, 0]])
    codes, target = torch.tensor([[[0.5, 3.0, 0.0, 0.0], [9.0] * 4]]), torch.zeros(1, 2, 4)

    def focal(logit: float, positive: bool) -> float:
        p = 1 / (1 + math.exp(-logit))
        p_t, alpha_t = (p, 0.75) if positive else (1 - p, 0.25)
        return -alpha_t * (1 - p_t) ** 2 * math.log(p_t)

    expected = focal(2.0, True) + sum(focal(x, False) for x in (0.3, -1.0, 0.1, -0.5, -2.0))
    expected += (0.5 * 0.5**2 + 3.0 - 0.5) / 4
    assert float(ssd.loss(codes, logits, target, classes)) == pytest.approx(expected, rel=1e-5)


def test_gamma_zero_is_balanced_cross_entropy() -> None:
    logits = torch.randn(2, 5, 4, generator=torch.Generator().manual_seed(1))
    classes = torch.tensor([[0, 1, 2, 3, 0], [0, 0, 0, 1, 1]])
    codes = torch.zeros(2, 5, 4)
    one_hot = torch.nn.functional.one_hot(classes, 4).float()
    one_hot[..., 0] = 0
    entropy = torch.nn.functional.binary_cross_entropy_with_logits(logits, one_hot, reduction="none")
    expected = (entropy * torch.where(one_hot > 0, 0.75, 0.25)).sum() / 5
    torch.testing.assert_close(ssd.loss(codes, logits, codes, classes, gamma=0), expected)


def test_images_without_boxes_have_a_loss() -> None:
    codes, logits = torch.zeros(1, 3, 4), torch.full((1, 3, 2), -4.6)
    assert 0 < float(ssd.loss(codes, logits, codes, torch.zeros(1, 3, dtype=torch.int64))) < 0.1


# -- decoding --------------------------------------------------------------------------------------------------------


def greedy(boxes: list[list[float]], max_iou: float) -> list[bool]:
    kept: list[int] = []
    for number, box in enumerate(boxes):
        if all(iou_of_two(box, boxes[other]) <= max_iou for other in kept):
            kept.append(number)
    return [number in kept for number in range(len(boxes))]


@given(st.integers(0, 10_000), st.integers(1, 40), st.floats(0.05, 0.9))
def test_suppression_is_the_greedy_one(seed: int, count: int, max_iou: float) -> None:
    boxes = random_boxes(torch.Generator().manual_seed(seed), 3, count, size=20)
    keep = ssd.non_maximum_suppression(boxes, max_iou=max_iou)
    assert keep.tolist() == [greedy(image, max_iou) for image in boxes.tolist()]


def test_detections_find_what_was_encoded() -> None:
    anchors = ssd.anchors([(4, 4), (2, 2), (1, 1)], 64)
    boxes = torch.tensor([[3.0, 4.0, 20.0, 30.0], [30.0, 30.0, 60.0, 64.0]])
    labels = torch.tensor([2, 0])
    index = ssd.match(anchors, boxes, threshold=0.4)
    matched = index >= 0
    codes = ssd.encode(torch.where(matched[:, None], boxes[index.clamp(min=0)], anchors), anchors)
    logits = torch.full((len(anchors), 4), -20.0)
    logits[matched, 1 + labels[index[matched]]] = 5.0 - index[matched].float()
    ((decoded, scores, classes),) = ssd.detections(codes[None], logits[None], anchors, 64, min_score=0.5)
    torch.testing.assert_close(decoded, boxes, rtol=0, atol=1e-3)
    assert classes.tolist() == [2, 0]
    assert scores.tolist() == pytest.approx([1 / (1 + math.exp(-5)), 1 / (1 + math.exp(-4))])


def test_detections_suppress_within_a_class_only_stay_inside_and_end_at_most() -> None:
    anchors = torch.tensor([[10.0, 10.0, 30.0, 30.0], [11.0, 10.0, 31.0, 30.0], [-20.0, 40.0, 20.0, 90.0]])
    logits = torch.tensor([[[9.0, 3.0, 2.5], [9.0, 2.0, -9.0], [9.0, -9.0, 1.0]]])
    codes = torch.zeros(1, 3, 4)
    ((boxes, scores, labels),) = ssd.detections(codes, logits, anchors, 64, min_score=0.1)
    assert labels.tolist() == [0, 1, 1]  # the second anchor's class 0 fell to the first's
    assert boxes[2].tolist() == [0, 40, 20, 64]
    assert scores.tolist() == sorted(scores.tolist(), reverse=True)
    ((boxes, _, _),) = ssd.detections(codes, logits, anchors, 64, max_detections=2)
    assert len(boxes) == 2
