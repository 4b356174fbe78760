"""Facts of devices, one TOML file each."""
