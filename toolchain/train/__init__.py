"""Training: data, networks, quantizers and the loop."""
