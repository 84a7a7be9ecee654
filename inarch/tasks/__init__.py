"""Tasks: how a model, its data, a loss and a metric belong together."""
