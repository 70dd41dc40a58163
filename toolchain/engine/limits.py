"""The checks, before any search or packing, that the engine runs a network and its number formats hold it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from toolchain.engine.layers import Cut, Pass, Requant
from toolchain.engine.shape import LINE_BITS, MERGE_BITS, SUM_BITS
from toolchain.errors import UserError
from toolchain.ir.ops.node import Node
from toolchain.ir.types import QInt


def refused(node: Node, why: str, hint: str = "") -> UserError:
    """Return the error of a ``node`` that the engine cannot run."""
    names: Sequence[str] = node.origin or (node.name,)
    return UserError(f"the engine cannot run it: {why}", where=f"{type(node).__name__} '{names[0]}'", hint=hint)


def line_bits(lines: Iterable[tuple[int, int]], sums: QInt) -> int:
    """Bits of the numerators of a requantizer of ``sums``; ``lines`` are factors and offsets of any size."""
    ends = [int(mul) * x + int(add) for mul, add in lines for x in (sums.min, sums.max)]
    return QInt.holding(min(*ends, -1), max(ends)).bits


def too_wide(cut: Cut) -> UserError | None:
    """Return why no engine holds the numbers of ``cut``, or None where one may.

    All requantizers have the largest shift of any: a small one's factors grow by the difference.
    """
    need = cut.formats
    sums = max(need.sum_bits, need.window_sum_bits)
    if sums > SUM_BITS:
        return UserError(
            f"the engine cannot run it: its sums have {sums} bits, {SUM_BITS} are stored",
            where=_widest(cut).name,
            hint="use fewer bits, or architecture streaming",
        )
    if max(need.mul_bits + sums, need.add_bits) > LINE_BITS:
        steepest = max(_requants(cut), key=lambda pair: pair[1].shift)[0]
        return UserError(
            f"the engine cannot run it: factors of {need.mul_bits} bits of sums of {sums} bits, "
            f"{LINE_BITS} are added at once",
            where=steepest.name,
            hint="use fewer bits, or 'fpgaflow quantize --factor-bits', or architecture streaming",
        )
    if need.merge_bits > MERGE_BITS or need.merge_add_bits > LINE_BITS:
        offset = f"an offset of {need.merge_add_bits} bits, {LINE_BITS} are added at once"
        factors = f"factors of {need.merge_bits} bits, {MERGE_BITS} are stored"
        merges = [p for p in cut.passes if p.merge is not None]
        return UserError(
            "the engine cannot run it: its sum or product of branches takes "
            + (factors if need.merge_bits > MERGE_BITS else offset),
            where=max(merges, key=lambda p: p.merge.shift if p.merge else 0).name,
            hint="give both branches one scale",
        )
    return None


def _requants(cut: Cut) -> list[tuple[Pass, Requant]]:
    return [(p, r) for p in cut.passes for r in (p.first, p.second) if r is not None]


def _widest(cut: Cut) -> Pass:
    """The pass with the most products a sum."""
    return max(cut.passes, key=lambda p: p.weights // len(p.conv.weight) if p.conv is not None else 0)
