"""Models of a new device by transfer from known devices."""
