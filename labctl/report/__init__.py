"""Tells on one HTML page what a run did; `labctl.report.page` writes it."""
