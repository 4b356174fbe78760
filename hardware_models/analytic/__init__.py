"""Analytic models: rooflines of published device facts, with fitted coefficients."""
