"""The spill-over map of a run, as a job: `luthier drift`."""
