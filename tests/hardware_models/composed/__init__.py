"""Tests of ``hardware_models/composed``."""
