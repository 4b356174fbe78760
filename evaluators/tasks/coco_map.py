"""Mean average precision as COCO defines it, through faster-coco-eval."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Detections = tuple[npt.NDArray[np.float32], npt.NDArray[np.float32], npt.NDArray[np.int64]]
"""Boxes [D, 4] (x1, y1, x2, y2), scores [D], labels [D] of one image."""
Truth = tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]
"""Boxes [M, 4] and labels [M] of one image."""


def coco_map(predictions: Sequence[Detections], truths: Sequence[Truth], num_classes: int) -> dict[str, float]:
    """``map`` (mean over IoU .50:.05:.95 and classes) and ``map50``, both 0..1, at most 100 detections an image.

    Classes without a true box do not count. ValueError when the lists differ in length or hold no true box.
    """
    from faster_coco_eval import COCO, COCOeval_faster

    if len(predictions) != len(truths):
        raise ValueError(f"{len(predictions)} images of predictions for {len(truths)} images of true boxes")
    annotations = [
        {"image_id": image, "category_id": int(label), "bbox": box, "area": box[2] * box[3], "iscrowd": 0}
        for image, (boxes, labels) in enumerate(truths)
        for box, label in zip(_corner_and_size(boxes), labels, strict=True)
    ]
    if not annotations:
        raise ValueError("no true box in any image; average precision is undefined")
    for number, annotation in enumerate(annotations, 1):
        annotation["id"] = number
    truth = COCO(
        {
            "images": [{"id": image} for image in range(len(truths))],
            "annotations": annotations,
            "categories": [{"id": label, "name": str(label)} for label in range(num_classes)],
        },
        print_function=_silent,
    )
    results = [
        {"image_id": image, "category_id": int(label), "bbox": box, "score": float(score)}
        for image, (boxes, scores, labels) in enumerate(predictions)
        for box, score, label in zip(_corner_and_size(boxes), scores, labels, strict=True)
    ]
    evaluation = COCOeval_faster(truth, truth.loadRes(results), "bbox", print_function=_silent)
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    return {"map": float(evaluation.stats[0]), "map50": float(evaluation.stats[1])}


def _corner_and_size(boxes: npt.NDArray[np.float32]) -> list[list[float]]:
    corners = np.asarray(boxes, np.float64).reshape(-1, 4)
    return np.concatenate([corners[:, :2], corners[:, 2:] - corners[:, :2]], axis=1).tolist()  # type: ignore[no-any-return]


def _silent(*_: object) -> None:
    pass
