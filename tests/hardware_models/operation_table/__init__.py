"""Tests of ``hardware_models/operation_table``."""
