"""Tests of ``nas``."""
