"""NVIDIA cards with measurements of NAS-Bench-201."""
