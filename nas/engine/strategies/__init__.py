"""How a search spends its budget: one strategy a file."""
