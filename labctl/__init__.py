"""labctl runs an optics bench and trains the optical network on it, in situ."""

__version__ = "0.1.0"
