"""Serving: the plan, vLLM as a job, the guard in front of it, and the client that talks to it."""
