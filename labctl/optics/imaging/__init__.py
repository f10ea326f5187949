"""Lenses and cameras: focal planes, what a sensor's pixels see, and the counts it reads."""
