"""Candidates, their metrics, objectives, limits and Pareto fronts; published networks as baselines."""
