"""The cost model: physical parts of a unit (``parts``) and coefficients fitted to published synthesis results."""
