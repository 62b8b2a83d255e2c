"""A new run: the few choices, and what they come to."""
