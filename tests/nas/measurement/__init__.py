"""Tests of ``nas/measurement``."""
