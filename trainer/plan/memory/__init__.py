"""How much GPU memory a run takes, predicted from the model's config and weight headers before
anything loads. Light."""
