"""Tasks: a head's targets, losses and metrics."""
