"""The home screen: what to begin with."""
