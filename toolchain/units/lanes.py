"""Lanes and multipliers that units can choose from."""

from __future__ import annotations

from math import isqrt

from toolchain.ir.graph import Graph
from toolchain.ir.ops.node import Node
from toolchain.ir.types import Parallelism, QInt, Value
from toolchain.units.limits import MAX_STREAM_BITS, MEMORY_BITS

READER, WRITER = "input reader", "output writer"


def writers(graph: Graph) -> tuple[str, ...]:
    """Return the writers' names, in the order of the outputs."""
    if len(graph.outputs) == 1:
        return (WRITER,)
    return tuple(f"{WRITER} '{output.name}'" for output in graph.outputs)


def divisors(number: int) -> list[int]:
    """Return the divisors of ``number``, ascending."""
    small = [d for d in range(1, isqrt(number) + 1) if number % d == 0]
    return small + [number // d for d in reversed(small) if d * d != number]


def padded_count(channels: int) -> int:
    """The fewest channels from ``channels`` on that many counts of lanes divide: ``channels`` themselves, or more.

    With any lanes they take at most a quarter more turns than the next multiple of eight.
    """
    full = -(-channels // 8) * 8
    wanted = _turns(full)
    return next(
        count
        for count in range(channels, full + 1)
        if all(4 * turns <= 5 * most for turns, most in zip(_turns(count, full), wanted, strict=True))
    )


def _turns(channels: int, most: int = 0) -> list[int]:
    """Turns that 1, 2, ... lanes take for ``channels``, those that do not divide it left out."""
    lanes = divisors(channels)
    return [channels // max(n for n in lanes if n <= limit) for limit in range(1, max(channels, most) + 1)]


def channel_lanes(x: Value, upstream: Parallelism | None) -> list[int]:
    """Lanes of a unit that treats channel by channel: those in front of it in its chain, or any that divide them."""
    lanes = [upstream.lanes_out] if upstream else divisors(x.shape[2])
    return [n for n in lanes if x.shape[2] % n == 0]


def single_products(operands: tuple[QInt, QInt] | None) -> list[int | None]:
    """Return how a unit can multiply ``operands``: in LUTs (0), or a product a DSP slice (1); None without a product.

    A factor of one or two bits only selects or negates the other: LUTs do that with less than a slice's wiring.
    """
    if operands is None:
        return [None]
    return [0] if min(kind.bits for kind in operands) <= 2 else [0, 1]


def fits_streams(node: Node, x: Value, lanes: Parallelism) -> bool:
    """Return whether the words that ``node`` reads and writes are no wider than the widest stream."""
    widths = (lanes.lanes_in * x.qint.bits, *(lanes.lanes_out * value.qint.bits for value in node.outputs))
    return max(widths) <= MAX_STREAM_BITS


def boundary_options(value: Value, *, flat: bool) -> list[int]:
    """Lanes of the reader or writer of ``value``: within one memory word; across pixels when it is ``flat`` anyway."""
    lanes = divisors(value.size if flat else value.shape[2])
    return [n for n in lanes if n * value.qint.bits <= MEMORY_BITS] or [1]
