"""Real drivers: one file per vendor model or protocol, nothing else."""
