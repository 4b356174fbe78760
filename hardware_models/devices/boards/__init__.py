"""Single-board computers."""
