"""Training optical networks: what is measured, how it becomes a gradient, and the plans that do it."""
