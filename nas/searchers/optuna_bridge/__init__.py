"""Optuna samplers as searchers, searchers as Optuna samplers."""
