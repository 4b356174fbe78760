"""Tests of ``nas/searchers``."""
