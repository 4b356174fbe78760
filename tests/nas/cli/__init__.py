"""Tests of ``nas/cli``."""
