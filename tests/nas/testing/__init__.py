"""Tests of ``nas/testing``."""
