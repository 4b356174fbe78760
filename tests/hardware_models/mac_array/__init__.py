"""Tests of ``hardware_models/mac_array``."""
