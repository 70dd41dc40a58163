"""Pipeline depth of each unit in clock cycles: the registers that a word passes in the module of ``modules/``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import ceil

from toolchain.rtl.network import network_steps
from toolchain.units.call import Call

BITS_A_COUNT = 6
"""Bits that a few LUTs count at once (``fpgaflow_ones``)."""

PORT_STAGES = 1
"""Pipeline stages of the ports ``unpack`` and ``pack``."""


def sum_steps(count: int) -> int:
    """Registers of ``fpgaflow_sum`` and ``fpgaflow_largest``: one behind every second addition."""
    return ceil((count - 1).bit_length() / 2)


def _ones_steps(count: int) -> int:
    return 1 + sum_steps(ceil(count / BITS_A_COUNT))


def _terms(call: Call) -> int:
    """Inputs of a dot product a cycle."""
    return call.constants["simd"] // call.constants.get("together", 1)


def _matvec(call: Call) -> int:
    packed = call.constants["products_per_dsp"] > 1
    return (6 if packed else 4) + sum_steps(_terms(call))


def _narrow(call: Call) -> int:
    simd, signs = _terms(call), int(call.constants["signs"])
    if not call.constants["planes"]:
        return 4 + sum_steps(simd) + signs
    planes = call.types["weight_t"].bits * call.types["in_t"].bits
    return 3 + _ones_steps(simd) + sum_steps(planes) + signs


def _row_conv(call: Call) -> int:
    simd = call.constants["simd"]
    longest = min(call.constants["chain"], simd)
    return 7 + longest + sum_steps(ceil(simd / longest))


def _constant(call: Call) -> int:
    assert call.network is not None
    return 2 + network_steps(call.network)


def _softmax(call: Call) -> int:
    return 7 + 2 * sum_steps(call.constants["lanes"])


STAGES: Mapping[str, Callable[[Call], int]] = {
    "window_serial": lambda call: 3,
    "window_parallel": lambda call: 3,
    "matvec": _matvec,
    "matvec_grouped": _matvec,
    "matvec_narrow": _narrow,
    "matvec_grouped_narrow": _narrow,
    "matvec_constant": _constant,
    "row_conv": _row_conv,
    "threshold": lambda call: 3 + _ones_steps(call.constants["steps"]),
    "staircase": lambda call: 3 + sum_steps(call.constants["steps"]),
    "mul_shift": lambda call: 5,
    "lookup": lambda call: 3,
    "pool": lambda call: 2 + sum_steps(call.constants["parallel"]),
    "depthwise": lambda call: 3 + sum_steps(call.constants["parallel"]),
    "global_sum": lambda call: 2,
    "global_max": lambda call: 2,
    "argmax": lambda call: 2 + sum_steps(call.constants["lanes"]),
    "add": lambda call: 3,
    "scaled_add": lambda call: 3,
    "multiply": lambda call: 2,
    "multiply_all": lambda call: 2,
    "concat": lambda call: 1,
    "slice": lambda call: 1,
    "crop": lambda call: 1,
    "permute": lambda call: 1,
    "spread": lambda call: 3,
    "transpose": lambda call: 3,
    "matmul": lambda call: 4 + sum_steps(call.constants["simd"]),
    "softmax": _softmax,
    "norm": lambda call: 9 + sum_steps(call.constants["lanes"]),
    "fork": lambda call: 1,
    "widen": lambda call: 1,
    "narrow": lambda call: 1,
}
"""The stages of every unit that has a module, by the function that its call names."""


def stages(call: Call) -> int:
    """Clock cycles from the iteration that computes a word to the one with which it leaves."""
    return STAGES[call.function](call)
