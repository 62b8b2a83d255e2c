"""From data to a served model: what needs both trainer and serve, without drawing anything.

The app and the command line are its two faces.
"""
