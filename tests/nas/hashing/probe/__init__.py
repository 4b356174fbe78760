"""Tests of nas.hashing.probe."""
