"""Bringing a model here: from a folder, a GGUF file or the hub, as a job."""
