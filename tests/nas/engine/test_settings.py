"""Settings of a search: the document that studies keep, whose keys and order outlive renamed fields."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from nas.engine.settings import SearchSettings

# As the first release wrote it into a study
RECORDED = (
    '{"space": "mobiledet", "hw": "edgetpu", "space_options": {"image_size": 96}, "limits": ["params <= 60000"],'
    ' "objectives": ["latency_ms:minimize", "map:maximize"], "data": "digits", "evaluator": {"steps": 50},'
    ' "score": "none", "searcher": "halving:evolution", "searcher_options": {"eta": 2}, "task": "", "rules": "exact",'
    ' "evaluations": 3, "forget": 0.25, "trials": 40, "train": 6, "references": false, "seed": 3, "repair": true,'
    ' "in_flight": 4, "warm_start": ""}'
)

SETTINGS = SearchSettings(
    space="mobiledet",
    hw="edgetpu",
    space_options={"image_size": 96},
    limits=("params <= 60000",),
    objectives=("latency_ms:minimize", "map:maximize"),
    evaluator={"steps": 50},
    score="none",
    searcher="halving:evolution",
    searcher_options={"eta": 2},
    repeats=3,
    revisit_probability=0.25,
    trials=40,
    train=6,
    train_published=False,
    seed=3,
)


def test_the_document_is_the_one_that_studies_hold_key_by_key() -> None:
    assert json.dumps(SETTINGS.to_document()) == RECORDED  # fingerprints hash this very text


def test_a_recorded_document_is_read_into_the_fields_of_today() -> None:
    assert SearchSettings.from_document(json.loads(RECORDED)) == SETTINGS
    assert SearchSettings.from_document({**json.loads(RECORDED), "fingerprint": "3176d421", "later": 1}) == SETTINGS


def test_a_device_is_part_of_the_document_only_where_something_is_measured() -> None:
    measuring = replace(SETTINGS, verify=8, device="litert")
    document = measuring.to_document()
    assert list(document)[-2:] == ["verify", "device"]
    assert SearchSettings.from_document(document) == measuring
    assert replace(SETTINGS, device="litert").to_document() == SETTINGS.to_document()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"trials": 0}, "trials must be at least 1, not 0"),
        ({"train": -1}, "train must be at least 0, not -1"),
        ({"repeats": 0}, "evaluations must be at least 1, not 0"),
        ({"in_flight": 0}, "in_flight must be at least 1, not 0"),
        ({"revisit_probability": 1.5}, r"forget is a probability, 0 to 1, not 1\.5"),
        ({"train": 0}, "nothing ranks the candidates"),
    ],
)
def test_numbers_that_make_no_sense_are_errors_in_the_words_of_a_user(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(SETTINGS, **changes).check()
