"""MODEL -> INTEGER: the conversion and its proofs."""
