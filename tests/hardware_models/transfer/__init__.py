"""Tests of ``hardware_models/transfer``."""
