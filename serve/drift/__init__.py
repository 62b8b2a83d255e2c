"""Where a tuned model drifted from its base: how differently both read the base's answers to
prompts that have nothing to do with the data."""
