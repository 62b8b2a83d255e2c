"""Completion in bash, zsh and fish: what may follow what has been typed. Light, since a shell waits
for it at each press of tab."""

HELP_OPTIONS = ["-h", "--help"]
"""What shows a command's help; click adds them to each."""
