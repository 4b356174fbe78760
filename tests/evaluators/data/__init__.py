"""Tests of ``evaluators/data``."""
