"""Documents of studies: those of earlier schemas are brought up to date, those of other searches refused by name."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nas.study.schema import SCHEMA, complete_document, require_same_search, upgraded_document
from nas.study.storage import StudyError

DEFAULTS: dict[str, Any] = {"space": "mobiledet", "trials": 1000, "limits": None, "training": {}, "strategy": "auto"}
DEFAULTS |= {"evaluator": "", "verify": None, "device": ""}
DEFAULTS |= {"repeats": 1, "revisit_probability": 0.0, "train_published": True}

OLD: dict[str, Any] = {"space": "mnasnet", "trials": 60, "limits": ["params <= 60000"], "evaluator": {"steps": 5}}
OLD |= {"evaluations": 2, "forget": 0.25, "references": False, "fingerprint": "63202fd7"}

NEW: dict[str, Any] = {"space": "mnasnet", "trials": 60, "limits": ["params <= 60000"], "training": {"steps": 5}}
NEW |= {"evaluator": "", "strategy": "auto", "verify": 0, "device": ""}
NEW |= {"repeats": 2, "revisit_probability": 0.25, "train_published": False}

PARTS = {"space": "a1", "hardware": "b1", "evaluator": "c1"}


def require_same(stored: dict[str, Any], requested: dict[str, Any], defaults: dict[str, Any] = DEFAULTS) -> None:
    require_same_search("mine", stored, requested, defaults, "nas resume mine")


def test_a_document_of_the_first_schema_is_brought_up_to_date() -> None:
    expected = {name: value for name, value in NEW.items() if name != "strategy"}
    expected["fingerprint"] = {"evaluator_version": "1"}
    assert upgraded_document("mine", OLD) == {**expected, "schema": SCHEMA}
    assert upgraded_document("mine", upgraded_document("mine", OLD)) == upgraded_document("mine", OLD)


def test_an_earlier_study_is_that_of_the_same_search_now() -> None:
    require_same(OLD, {**NEW, "fingerprint": PARTS})
    require_same({**OLD, "verify": 8, "device": "adb://0"}, {**NEW, "verify": 8, "device": "adb://0"})
    require_same(OLD, {**NEW, "fingerprint": {**PARTS, "evaluator_version": "1"}})
    with pytest.raises(StudyError, match="since it was made the evaluator has another version"):
        require_same(OLD, {**NEW, "fingerprint": {**PARTS, "evaluator_version": "2"}})
    for changed in ({"evaluator": {"steps": 6}}, {"references": True}, {"verify": 8, "device": ""}):
        with pytest.raises(StudyError, match="made with other settings"):
            require_same({**OLD, **changed}, NEW)


def test_an_evaluator_that_was_an_object_left_nothing_to_compare_in_the_first_schema() -> None:
    stored = {**OLD, "evaluator": {}}
    requested = {**NEW, "evaluator": "<Mine>", "training": {}}
    require_same(stored, requested)
    for others in (
        (OLD, requested),
        (stored, {**requested, "evaluator": "package:Mine"}),
        (complete_document({**requested, "evaluator": ""}, {}), requested),
    ):
        with pytest.raises(StudyError, match="made with other settings"):
            require_same(*others)


def test_a_document_in_full_has_a_schema_and_every_default() -> None:
    document = complete_document({"space": "mnasnet", "limits": ("a", "b")}, DEFAULTS)
    assert document == {**DEFAULTS, "space": "mnasnet", "limits": ["a", "b"], "schema": SCHEMA}


@given(st.dictionaries(st.text(), st.integers() | st.text() | st.lists(st.booleans())))
def test_a_setting_with_its_default_never_parts_a_study_from_its_search(settings: dict[str, Any]) -> None:
    settings = {name: value for name, value in settings.items() if name not in ("schema", "fingerprint")}
    stored = complete_document(settings, {})
    later_defaults = {**dict.fromkeys(settings), "not known before": "off"}
    require_same(stored, settings, later_defaults)
    require_same(stored, {**settings, "not known before": "off"}, later_defaults)
    with pytest.raises(StudyError, match="not known before is off there and on here"):
        require_same(stored, {**settings, "not known before": "on"}, later_defaults)


def test_what_differs_is_named_with_both_values() -> None:
    stored = complete_document({**NEW, "training": {"steps": 5, "width": 0.25}, "limits": ["x" * 100]}, DEFAULTS)
    with pytest.raises(StudyError) as caught:
        require_same(stored, {**NEW, "training": {"steps": 9}, "limits": None, "trials": 61, "space": ""})
    message = str(caught.value)
    assert "training.steps is 5 there and 9 here" in message
    assert "training.width is 0.25 there and not set here" in message
    assert "trials is 60 there and 61 here" in message
    assert 'space is mnasnet there and "" here' in message
    assert 'limits is ["xxxx' in message
    assert "x" * 61 not in message
    assert "repeats" not in message
    assert message.endswith("choose another --study name for these, or go on with its own: nas resume mine")


def test_behaviour_that_changed_is_named_and_going_on_is_not_advised() -> None:
    stored = complete_document({**NEW, "fingerprint": PARTS}, DEFAULTS)
    require_same(stored, {**NEW, "fingerprint": PARTS})
    require_same(stored, NEW)
    with pytest.raises(StudyError) as caught:
        require_same(stored, {**NEW, "fingerprint": {**PARTS, "space": "a2", "evaluator": "c2"}})
    message = str(caught.value)
    assert "the space makes other networks" in message
    assert "the evaluator or its data are others" in message
    assert "hardware" not in message
    assert "nas resume" not in message
    require_same(stored, {**NEW, "fingerprint": {**PARTS, "a part that came later": "d1"}})


@pytest.mark.parametrize("newer", [{"schema": SCHEMA + 1}, {"a setting of tomorrow": 1}])
def test_a_study_of_a_newer_release_says_so(newer: dict[str, Any]) -> None:
    with pytest.raises(StudyError, match=r"'mine' was made by a newer release.*upgrade nas"):
        require_same({**complete_document(NEW, DEFAULTS), **newer}, NEW)


@pytest.mark.parametrize("damage", [{"schema": "two"}, {"schema": None}, {"fingerprint": 3}])
def test_a_damaged_document_says_where(damage: dict[str, Any]) -> None:
    with pytest.raises(StudyError, match=r"document that cannot be read.*`\$\.(schema|fingerprint)"):
        upgraded_document("mine", {**complete_document(NEW, DEFAULTS), **damage})
