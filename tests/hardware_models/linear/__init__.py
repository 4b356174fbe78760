"""Tests of ``hardware_models/linear``."""
