"""Other NVIDIA cards."""
