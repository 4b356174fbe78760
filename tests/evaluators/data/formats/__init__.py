"""Tests of ``evaluators/data/formats``."""
