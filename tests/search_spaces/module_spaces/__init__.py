"""Tests of ``search_spaces/module_spaces``."""
