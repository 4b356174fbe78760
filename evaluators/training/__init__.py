"""The training loop, its settings, and what is done to a module before and after."""
