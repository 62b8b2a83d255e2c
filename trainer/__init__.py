"""Fine-tuning: the recipe, the plan, and the worker that trains. The front is light; torch loads
only in the worker."""
