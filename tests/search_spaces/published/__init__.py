"""Tests of ``search_spaces/published``."""
