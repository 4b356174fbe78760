"""Candidates, their metrics, objectives, limits and Pareto fronts."""
