"""Graphs as PyTorch modules, PyTorch modules as graphs."""
