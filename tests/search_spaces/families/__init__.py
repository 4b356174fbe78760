"""Tests of ``search_spaces/families``."""
