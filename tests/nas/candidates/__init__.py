"""Tests of ``nas/candidates``."""
