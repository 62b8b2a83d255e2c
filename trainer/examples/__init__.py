"""The sample data, which comes with Luthier."""

from pathlib import Path

CAPTAIN = Path(__file__).resolve().parent / "captain"
"""A recipe with its conversations, and questions to ask the result: what the demo trains."""
