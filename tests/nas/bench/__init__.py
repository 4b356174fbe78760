"""Tests of ``nas/bench``."""
