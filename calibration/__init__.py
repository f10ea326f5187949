"""Calibrations: `measure_*` plans over a bench and pure `fit_*` functions on their data."""
