"""What happened in a run: its record, its curves, and how runs differ."""
