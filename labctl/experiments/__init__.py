"""Experiments: one file per published system, and the small plans every bench can run."""
