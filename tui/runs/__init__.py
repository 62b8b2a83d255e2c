"""The list of runs and the screen of one run: curves, log, samples, differences."""
