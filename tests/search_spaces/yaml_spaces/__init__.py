"""Tests of ``search_spaces/yaml_spaces``."""
