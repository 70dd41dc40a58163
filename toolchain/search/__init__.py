"""Networks, bits and hardware searched together."""
