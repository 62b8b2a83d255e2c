"""The data screen: a file's rows, their conversations and trained tokens."""
