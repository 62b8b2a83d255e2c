"""The chat screen: panes side by side, votes, and the dialogs around them."""
