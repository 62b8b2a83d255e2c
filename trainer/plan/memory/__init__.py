"""How much memory a run's tensors take, predicted from the model's config and weight headers before
anything loads. Light."""
