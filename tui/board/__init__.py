"""The board: the machine, its jobs and its server at a glance, to be left open."""
