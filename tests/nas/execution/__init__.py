"""Tests of ``nas/execution``."""
