"""Networks of the user's own: imported, traced down to layers, and quantized as the run says."""
