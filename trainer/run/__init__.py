"""The training itself, in the worker's process: model, trainer, callbacks, checkpoints, result."""
