"""Desktop and server processors."""
