"""Merging an adapter into its base model: the plan (light), the arithmetic (heavy, runs as a job),
the receipt (light)."""
