"""Simulated benches: the light path with its hidden truth, and the thin device twins that share it."""
