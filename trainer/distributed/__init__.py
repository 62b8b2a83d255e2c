"""Several ranks: GPUs of one machine or of many."""
