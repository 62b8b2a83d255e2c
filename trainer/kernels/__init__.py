"""Attention, padding-free batches, float8 products and the loss of the head."""
