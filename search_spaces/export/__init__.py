"""Graphs and trained modules as model files."""
