"""Tests of ``search_spaces/graph``."""
