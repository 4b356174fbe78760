"""``nas bench``: search algorithms against each other on tables of measured networks, where nothing is trained."""
