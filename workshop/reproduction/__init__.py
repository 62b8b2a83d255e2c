"""Training a run again, and how far the result is from the first one."""
