"""Base and tuned models on a file of prompts, from the runs to the report; in place or as a job."""
