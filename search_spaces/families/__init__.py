"""Search spaces of the literature: one system a file."""
