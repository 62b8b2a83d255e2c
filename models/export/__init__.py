"""Giving a model away: into a folder, to the hub, as GGUF."""
