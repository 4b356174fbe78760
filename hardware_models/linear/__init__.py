"""Linear models: latency as a sum of rates times figures of each operation."""
