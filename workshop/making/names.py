"""The names of the files that a making leaves. Light."""

TRAIN_FILE, HELDOUT_FILE = "train.jsonl", "heldout.jsonl"
CARD_FILE, RECIPE_FILE = "README.md", "recipe.toml"
ORIGINS = "origins"
"""The folder with the ledger, the provenance and the cleaned texts."""
LEDGER_FILE, PROVENANCE_FILE = "ledger.jsonl", "provenance.json"
