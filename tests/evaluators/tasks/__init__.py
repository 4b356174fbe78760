"""Tests of ``evaluators/tasks``."""
