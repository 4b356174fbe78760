"""Runtimes and compilers: one a file."""
