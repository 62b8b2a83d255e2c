"""The fine-tuning API: OpenAI's routes over the jobs of this home. `plan` and `launch` are light;
the others load FastAPI or are loaded beside it, in the job's own process (`worker`)."""
