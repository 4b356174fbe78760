"""Tables, plots, progress and pictures."""
