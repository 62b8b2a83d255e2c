"""Whether a model that somebody gives away is what its papers say, on any machine."""
