"""Measurements of networks and operations: files, sources and errors."""
