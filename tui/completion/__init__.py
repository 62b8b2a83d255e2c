"""Completion in bash, zsh and fish: what may follow what has been typed. Light, since a shell waits
for it at each press of tab."""

HELP_OPTIONS = ["-h", "--help"]
"""What shows a command's help; click adds them to each."""
LONGEST_SUMMARY = 1000
"""Characters of a command's first sentence: all of them, since whoever shows it wraps or cuts it to
fit."""
