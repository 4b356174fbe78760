"""Edge TPUs."""
