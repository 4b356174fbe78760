"""Tests of ``hardware_models/device_file``."""
