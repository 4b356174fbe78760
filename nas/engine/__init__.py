"""A search from its settings to its result: problem, strategies, candidate pool, trainings."""
