"""Evaluation during a run: the held-out loss, answers to read, task metrics, the best step, and
when to stop early."""
