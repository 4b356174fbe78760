"""Tables of measured operations, interpolated."""
