"""Base and tuned models on a file of prompts, without a screen: answers, metrics, a judge, a
report."""
