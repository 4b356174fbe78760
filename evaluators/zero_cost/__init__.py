"""Zero-cost scores: ``scores`` is their table, and each score is a file."""
