"""Searchers that fit a model, and the models."""
