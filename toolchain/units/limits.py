"""Limits of Vitis HLS, of FIFOs and of the memory ports."""

MAX_STREAM_BITS = 4096
"""Widest stream that Vitis HLS accepts."""

MAX_UNROLL = 4096
"""Most parts that Vitis HLS splits an array or a loop into."""

MIN_DEPTH = 2
"""Words of the shallowest FIFO."""

MEMORY_BITS = 128
"""Width of a memory port."""
