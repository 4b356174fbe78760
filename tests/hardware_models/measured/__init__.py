"""Tests of ``hardware_models/measured``."""
