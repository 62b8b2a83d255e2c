"""The serve screen: the server, its adapters, its live figures and how to call it."""
