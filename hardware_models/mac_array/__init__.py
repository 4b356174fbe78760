"""Models of a MAC array with its scheduling."""
