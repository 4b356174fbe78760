"""Device files: strict TOML in, TOML out."""
