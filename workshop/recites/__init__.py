"""The leak meter of a run, as a job: `luthier recites`."""
