"""Which channels and kernel positions to keep, as integer programs."""
