"""Devices and vendors' compilers: measures a network on the hardware, or as the compiler estimates it."""
