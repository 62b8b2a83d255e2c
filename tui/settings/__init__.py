"""The settings: all of config.toml, each with its words."""
