"""The cost model: physical parts of a unit, and coefficients fitted to published synthesis results.

``rows`` reads the results, ``parts`` counts, ``finn_kinds`` and ``hls4ml_kinds`` say which parts a published unit has,
``fit`` finds the coefficients in ``coefficients.json``, ``predict`` applies them, ``score`` compares with the published
counts and with FINN's formulas (``finn``).
"""
