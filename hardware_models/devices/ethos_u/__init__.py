"""Arm Ethos-U, as Arm's compiler Vela estimates it."""
