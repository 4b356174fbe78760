"""What networks there are: the graph, its builder, search spaces and published networks."""
