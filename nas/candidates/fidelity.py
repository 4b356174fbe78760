"""Fidelities as exact fractions, and how a figure at a fidelity is named."""

from __future__ import annotations

from fractions import Fraction


def fidelity_suffix(fidelity: float) -> str:
    """What stands behind the name of a figure measured at a fidelity: ``@1/9``; nothing for the full training."""
    return "" if fidelity == 1 else f"@{exact_fraction(fidelity)}"


_LARGEST_DENOMINATOR = 10**9  # of fidelities: more steps than any training has


def exact_fraction(fidelity: float) -> Fraction:
    """A fidelity as the fraction that was meant, so that nine ninths are one; its text is ``1/9``."""
    return Fraction(fidelity).limit_denominator(_LARGEST_DENOMINATOR)
