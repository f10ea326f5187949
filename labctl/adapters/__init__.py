"""labctl's devices as other packages know them; each imported only when asked for."""
