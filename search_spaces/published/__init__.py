"""Published networks without choices."""
