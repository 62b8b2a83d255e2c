"""The models screen: base, tuned and merged models; import, merge, export."""
