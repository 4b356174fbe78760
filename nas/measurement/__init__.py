"""Measuring candidates, published networks and operations on devices."""
