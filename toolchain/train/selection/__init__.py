"""Choice of the channels and kernel positions that are kept, as integer programs."""
