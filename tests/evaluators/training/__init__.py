"""Tests of ``evaluators/training``."""
