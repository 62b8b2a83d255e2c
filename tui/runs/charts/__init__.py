"""Charts without a terminal: curves, ticks, pictures of cells, and figures to export. Nothing here
knows Textual."""
