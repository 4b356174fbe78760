"""Tests of ``search_spaces/blocks``."""
