"""Networks of slit multipliers: panels of weights, cells of absorbers, and the modes between them."""
