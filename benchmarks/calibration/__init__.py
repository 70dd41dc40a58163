"""The cost model fitted to published synthesis results and judged by them.

``rows`` reads the results, ``finn_kinds`` and ``hls4ml_kinds`` say which parts a published unit has, ``fit`` finds the
coefficients, ``predict`` applies them, ``score`` compares with the published counts and with FINN's formulas
(``finn``).
"""
