"""Answers of a hosted model that will be switched off: kept as data, trained on, and compared with
what was trained."""
