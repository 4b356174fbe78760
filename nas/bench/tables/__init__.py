"""Tables of measured networks to bench searchers on."""
