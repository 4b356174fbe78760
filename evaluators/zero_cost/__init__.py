"""Zero-cost scores: one a file."""
