"""Fractions of a training: how many steps they are, and which of them can be told apart."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evaluators.training.fidelity import check_step_fidelities, steps_at


@given(st.integers(1, 10_000), st.floats(0, 1, exclude_min=True))
def test_a_fidelity_is_a_fraction_of_the_steps(steps: int, fidelity: float) -> None:
    assert 1 <= steps_at(steps, fidelity) <= steps
    assert abs(steps_at(steps, fidelity) - fidelity * steps) <= 1
    assert steps_at(steps, 1.0) == steps


@pytest.mark.parametrize("fidelity", [0.0, -0.5, 1.5, float("nan")])
def test_fidelities_are_above_0_and_up_to_1(fidelity: float) -> None:
    with pytest.raises(ValueError, match="a fidelity is above 0 and up to 1, not"):
        steps_at(100, fidelity)
    with pytest.raises(ValueError, match="a fidelity is above 0 and up to 1, not"):
        check_step_fidelities(100, (fidelity, 1.0))


def test_no_two_fidelities_are_the_same_number_of_steps() -> None:
    check_step_fidelities(90, (1 / 9, 1 / 3, 1.0))
    check_step_fidelities(1, (1.0,))
    check_step_fidelities(9, (1 / 3, 1 / 3))
    with pytest.raises(ValueError, match=r"of 3 steps, fidelities 0\.111 and 0\.333 are both 1; train for more steps"):
        check_step_fidelities(3, (1 / 9, 1 / 3, 1.0))
