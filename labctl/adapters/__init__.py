"""labctl's devices in other packages' terms; each module needs its package and is imported only by whoever wants it."""
