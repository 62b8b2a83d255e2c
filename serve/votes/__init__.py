"""Votes: what they say about the models, and the training data that they are."""
