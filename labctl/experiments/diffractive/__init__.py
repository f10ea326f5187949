"""Diffractive networks of Lin et al. 2018: plates trained in the model, tables, error budget, export for printing."""
