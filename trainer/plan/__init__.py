"""From a recipe to a plan: engine, precision, batch, memory, learning rate, each with its
reason."""
