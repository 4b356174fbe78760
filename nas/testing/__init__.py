"""Contract tests that plug-ins subclass."""
