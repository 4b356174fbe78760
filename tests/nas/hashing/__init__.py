"""Tests of ``nas/hashing``."""
