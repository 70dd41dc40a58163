"""The columns of every results file: what a benchmark records, and what tables and figures read.

Rates of success are from 0 to 1, ``seconds`` are on the clock and ``cpu_seconds`` of all processors unless a column
says otherwise, ``mb`` are megabytes. ``lut``, ``ff``, ``dsp`` and ``bram18`` are estimates of a whole accelerator,
with the board's shell in MAIN_FLOW, NITI, OWN_NETWORKS and USER_NETWORKS, which read them in a report, and without it
in all others.
"""

from __future__ import annotations

from benchmarks.schemas.counts import (
    COST_MODEL,
    COUNTED_PLANS,
    FINN_MVU,
    RTL,
    UNIT_COUNTS,
    UNIT_LUTS,
)
from benchmarks.schemas.plans import (
    BITS_FRONT,
    BOARDS,
    EFFICIENTNET,
    ENGINE,
    EXPLORER,
    RATES,
    RESIDUALS,
    SEARCH,
)
from benchmarks.schemas.tool import (
    CASES,
    CONVERTERS,
    CSIM_SPEED,
    DEPLOY,
    EXPORT_TIME,
    FUZZ,
    FUZZ_CURVES,
    FUZZ_GEOMETRY,
    FUZZ_TOKENS,
    KILLS,
    LINT,
    MEMORY,
    MODELS,
    STATIC_QUANTIZATION,
    TRIALS,
    USER_NETWORKS,
)
from benchmarks.schemas.training import (
    CLAIMS,
    MAIN_FLOW,
    NITI,
    NOISE,
    OWN_NETWORKS,
    PRUNING,
    QUANTIZATION,
    STEP_TIMES,
)

FILES = (
    BITS_FRONT, BOARDS, CASES, CLAIMS, CONVERTERS, COST_MODEL, COUNTED_PLANS, CSIM_SPEED, DEPLOY, EFFICIENTNET,
    ENGINE, EXPLORER, EXPORT_TIME, FINN_MVU, FUZZ, FUZZ_CURVES, FUZZ_GEOMETRY, FUZZ_TOKENS, KILLS, LINT, MAIN_FLOW,
    MEMORY, MODELS, NITI, NOISE, OWN_NETWORKS, PRUNING, QUANTIZATION, RATES, RESIDUALS, RTL, SEARCH,
    STATIC_QUANTIZATION, STEP_TIMES, TRIALS, UNIT_COUNTS, UNIT_LUTS, USER_NETWORKS,
)  # fmt: skip
"""Every file of ``results/``."""
