"""Tests of ``search_spaces/export``."""
