"""The graph: operations, normal form, building, serialisation."""
