"""Tests of ``hardware_models/analytic``."""
