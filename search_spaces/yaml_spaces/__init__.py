"""Search spaces written in YAML."""
