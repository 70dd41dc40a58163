"""The engine's requantizers: a line a channel, or two, for those of the graph."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import numpy as np

from toolchain.engine.layers import Bend, Requant
from toolchain.engine.limits import line_bits, refused
from toolchain.engine.lines import lines_of
from toolchain.engine.shape import LINE_BITS
from toolchain.ir.ops.node import Node
from toolchain.ir.ops.requantizers import MulShift, Threshold
from toolchain.ir.types import QInt, Range, Value


def of_channels(node: MulShift | Threshold, channels: slice | None) -> MulShift | Threshold:
    """Return ``node`` for ``channels`` alone."""
    names = ("mul", "add", "base") if isinstance(node, MulShift) else ("thresholds", "start", "step")
    found = {name: v if len(v := getattr(node, name)) == 1 else v[channels] for name in names}
    return replace(node, **found)


def requant_of(node: MulShift | Threshold, value: Value, reach: Range) -> Requant:
    """Return ``node`` as the engine's requantizer of ``value``, whose numbers lie in ``reach``.

    Raises:
        UserError: its thresholds lie on no two lines, or its products are too wide.
    """
    kind, channels = node.output.qint, value.shape[2:]
    if isinstance(node, MulShift):
        _check_lines(node, node.lines, value.qint)
        mul, add = (np.broadcast_to(np.array(v), channels) for v in zip(*node.lines, strict=True))
        # the type holds every code, so a clip beyond it never acts, and the pass table need not hold it
        return Requant(mul, add, node.shift, max(node.low, kind.min), min(node.high, kind.max), kind.signed)
    lines = lines_of(node, *reach)
    if lines is None:
        raise refused(node, "its thresholds lie on no two lines", "take a function of one line or two, as ReLU")
    _check_lines(node, zip(lines.mul.flat, lines.add.flat, strict=True), value.qint)
    muls, adds = (np.broadcast_to(v, (2, *channels)) for v in (lines.mul, lines.add))
    below = None if lines.knee is None else Bend(muls[0], adds[0], np.broadcast_to(lines.knee, channels))
    return Requant(muls[1], adds[1], lines.shift, lines.low, lines.high, kind.signed, below)


def _check_lines(node: Node, lines: Iterable[tuple[int, int]], sums: QInt) -> None:
    bits = line_bits(lines, sums)
    if bits > LINE_BITS - 2:  # two bits for codes without signs
        raise refused(node, f"its products have {bits} bits, {LINE_BITS - 2} are added at once")
