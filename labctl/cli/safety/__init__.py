"""Tries every way in which the owner of a bench can end, and confirms that each ends dark."""
