"""What is said of a name that no table has."""

from __future__ import annotations

from search_spaces.registry import unknown_name


def test_a_name_far_from_all_is_answered_with_each_known_one_once() -> None:
    assert str(unknown_name("fruit", "xyz", ["plum", "fig", "plum"])) == "no fruit 'xyz'; known: fig, plum"


def test_a_name_close_to_one_is_answered_with_that_alone() -> None:
    assert str(unknown_name("fruit", "Plumm", ["plum", "fig", "plum"])) == "no fruit 'Plumm'; did you mean 'plum'?"
