"""Tests of ``evaluators/devices``."""
