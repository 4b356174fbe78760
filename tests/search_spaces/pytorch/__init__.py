"""Tests of ``search_spaces/pytorch``."""
