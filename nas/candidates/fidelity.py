"""Fidelities as exact fractions, and how a figure at a fidelity is named."""

from __future__ import annotations

from fractions import Fraction


def fidelity_suffix(fidelity: float) -> str:
    """What stands behind the name of a figure that training for a share gave: ``@1/9``; nothing for all of it."""
    return "" if fidelity == 1 else f"@{exact_fraction(fidelity)}"


_LARGEST_DENOMINATOR = 10**9  # denominators of shares: more steps than any training has


def exact_fraction(fidelity: float) -> Fraction:
    """A share as the fraction that was meant, so that nine ninths are one; its text is ``1/9``."""
    return Fraction(fidelity).limit_denominator(_LARGEST_DENOMINATOR)
