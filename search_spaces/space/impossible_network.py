"""Which choice makes a network impossible, for the error that says so."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from search_spaces.space.choose import format_options
from search_spaces.space.genotype import DecisionValue


def blame_choices(
    error: str,
    decisions: Mapping[str, DecisionValue],
    options: Mapping[str, tuple[Any, ...]],
    failure_of: Callable[[Mapping[str, DecisionValue]], str | None],
) -> str:
    """The end of an error text: the choices of ``decisions`` whose other options make the network possible.

    Where no single choice does, those after whose change something else is wrong; else the last choice.
    ``options`` has those of every choice, and ``failure_of(decisions)`` says what is wrong with a network, ``None``
    where nothing is.
    """
    fixing_choices, changing_choices = [], []
    for name, value in decisions.items():
        failures = {failure_of({**decisions, name: other}) for other in options[name] if other != value}
        if None in failures:
            fixing_choices.append(name)
        elif failures and error not in failures:
            changing_choices.append(name)  # something else is wrong as well
    last = list(decisions)[-1]
    choice_texts = " or ".join(
        f"{name!r} = {decisions[name]!r} of {format_options(options[name])}"
        for name in (fixing_choices or changing_choices or [last])[:3]
    )
    if fixing_choices or changing_choices:
        return f"(choice {choice_texts})"
    return f"(no single choice mends it; the last: {choice_texts})"
