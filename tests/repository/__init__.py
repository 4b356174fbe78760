"""Tests of ``repository``."""
