"""The names of data files. Light: a shell that completes them waits for it."""

DATA_ENDINGS = (".jsonl", ".ndjson", ".csv", ".tsv", ".parquet", ".gz", ".zst", ".arrow", ".xlsx")
"""Of files that are data by their names."""
