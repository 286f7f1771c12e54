"""What a TOML file says."""
