"""A lower bound of a network's cycles on every engine that fits a budget, found without a program.

Engines that cannot pay are dropped by it before they are solved.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import product

import numpy as np

from toolchain.engine.candidates import Budget
from toolchain.engine.cost import fixed_cost, weights_cost
from toolchain.engine.layers import Cut
from toolchain.engine.options import MOST_PRODUCTS, Choices, base_shapes, fabrics, storages
from toolchain.engine.precision import parts_for
from toolchain.engine.schedule import BEAT_BYTES, PASS_CYCLES
from toolchain.engine.shape import BEAT_BITS, SUM_BITS
from toolchain.ir.types import Array

_PASS = ("positions_in", "channels_in", "positions_mid", "positions", "channels", "taps", "convolves", "raw")


@dataclass(frozen=True)
class Floor:
    """The convolution units that fit ``budget`` alone, for weights of ``width`` bits and codes of ``act_bits``.

    ``units`` (N, 3): lanes, words in and words out. Of the other units only what every engine has is counted.
    """

    budget: Budget
    width: int
    act_bits: int
    units: Array

    @classmethod
    def of(cls, least: Cut, budget: Budget, choices: Choices | None = None) -> Floor:
        """The units for networks whose number formats are those of ``least`` or wider."""
        choices = choices or Choices()
        choices = replace(choices, channel_words=[min(choices.channel_words)])
        found: set[tuple[int, int, int]] = set()
        for base in base_shapes(least, choices):
            room = budget.resources - fixed_cost(replace(base, line_words=1))
            for a, b in product(choices.in_blocks, choices.out_blocks):
                draft = replace(base, in_blocks=a, out_blocks=b, row_words=1, tile_depth=min(choices.tile_depths))
                if (base.lanes, a, b) in found or not draft.legal() or draft.inputs * draft.outputs > MOST_PRODUCTS:
                    continue
                memories = [weights_cost(built) for built in storages(draft, room)]
                found_fabrics = fabrics(draft, luts_multiply=choices.luts_multiply)
                if any((each.resources + memory).fits(room) for each in found_fabrics for memory in memories):
                    found.add((base.lanes, a, b))
        units = np.array(sorted(found), dtype=np.int64).reshape(-1, 3)
        return cls(budget, least.formats.weight_bits, least.act_bits, units)

    def cycles(self, cut: Cut) -> float:
        """Bound the cycles of every engine with weights of ``width`` bits from below; infinite where no unit fits.

        Every pass takes as long as its slowest unit without waits, and all weights pass the memory port once.
        """
        if not len(self.units):
            return float("inf")
        facts = {name: np.array(row, dtype=np.int64)[:, None] for name, row in zip(_PASS, _rows(cut), strict=True)}
        parts = np.array([_parts(cut, i, self.width) for i in range(len(cut.passes))], dtype=np.int64)[:, None]
        lanes, a, b = self.units.T
        packed = BEAT_BITS // (lanes * self.act_bits)
        into, out = (_up(_up(facts[n], lanes), packed) * packed for n in ("channels_in", "channels"))
        fold = facts["taps"] * _up(into, a) * parts
        groups = _up(out, b) * facts["convolves"]
        turns = np.where(facts["raw"], SUM_BITS // self.act_bits, 1)
        units = np.maximum.reduce([
            facts["positions_mid"] * groups * np.maximum(fold, b),
            facts["positions_mid"] * out * turns,
            facts["positions"] * out * turns,
            facts["positions_in"] * into // np.where(facts["convolves"], packed, 1),
        ])  # fmt: skip
        beats = np.ceil(lanes * a * lanes * b / (BEAT_BITS // self.width)).astype(np.int64)
        moved = (groups * fold).sum(axis=0) * beats * BEAT_BYTES / self.budget.bytes_per_cycle
        return float(np.maximum(units.sum(axis=0), moved).min()) + PASS_CYCLES * (len(cut.passes) + 1)


def _up(a: Array, b: Array) -> Array:
    """a / b, rounded up."""
    return -(-a // b)


def _rows(cut: Cut) -> list[list[int]]:
    """The columns of ``_PASS``, pass by pass."""
    rows = [
        (
            p.shape[0] * p.shape[1], p.shape[2], p.middle[0] * p.middle[1], p.out[0] * p.out[1], p.out[2],
            p.conv.kernel[0] * p.conv.kernel[1] if p.conv is not None else 1, int(p.conv is not None), int(p.raw),
        )
        for p in cut.passes
    ]  # fmt: skip
    return [list(column) for column in zip(*rows, strict=True)]


def _parts(cut: Cut, index: int, width: int) -> int:
    conv = cut.passes[index].conv
    if conv is None:
        return 1
    flat = conv.weight.reshape(-1)[:1] if not any(conv.weight.strides) else conv.weight
    return parts_for(int(np.abs(flat).max()).bit_length() + 1, width)
