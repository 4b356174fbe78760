"""Tests of ``nas/cache``."""
