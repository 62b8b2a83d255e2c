"""A chat with several models: which can answer, asking them, votes and replayed prompts."""
