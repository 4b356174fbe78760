"""Tests of ``nas/report``."""
