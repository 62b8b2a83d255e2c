"""The regression guard: what a tuned model won and lost against its base, item by item."""
