"""Savings of zero weights where weights are part of the logic."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from toolchain.ir.ops.products import GroupedMatVec, MatVec
from toolchain.ir.types import Array, QInt
from toolchain.units.adder_graph import MAX_DIGITS, product_graph
from toolchain.units.fabric_costs import additions


def zero_weight_luts(node: MatVec | GroupedMatVec, act: QInt) -> int:
    """LUTs that the unit of constants of ``node`` would take more if weights like its others stood for its zeros.

    They are drawn, seeded, from the others, and the dense matrix is searched as the sparse one was. Where it has more
    digits than are searched, only a share of the zeros is filled, and what that takes is extended to all of them.
    """
    empty = np.flatnonzero(node.weight == 0)
    others = node.weight[node.weight != 0]
    if not len(empty) or not len(others):
        return 0
    room = (MAX_DIGITS - node.digits) * len(others) / node.digits
    filled = min(len(empty), max(int(room), 1))
    dense = replace(node, weight=_filled(node.weight, empty, others, filled))
    more = _luts(dense, act) - _luts(node, act)
    return max(round(more * len(empty) / filled), 0)


def _filled(weight: Array, empty: Array, others: Array, count: int) -> Array:
    rng = np.random.default_rng(0)
    dense = weight.reshape(-1).copy()
    dense[rng.permutation(empty)[:count]] = rng.choice(others, count)
    return dense.reshape(weight.shape)


def _luts(node: MatVec | GroupedMatVec, act: QInt) -> int:
    return additions(product_graph(node, act), act).lut
