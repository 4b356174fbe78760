"""Tests of ``nas/engine``."""
