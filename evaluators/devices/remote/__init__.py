"""Devices on other machines, and the agent that runs there."""
