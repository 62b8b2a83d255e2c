"""The data pipeline: any file in, every row accounted for."""
