"""The quantized sum of a line and of a ReLU that has no quantizer of its own, exact over every pair of inputs.

TensorRT's placement quantizes what convolutions read; the other branch of a residual block keeps the ReLU's real value
max(s * a + o, 0). Its exact unit is far too fine for hardware. Below its knee the sum is a line of b alone, above it
one of a and b: factors and constants, of as few fraction bits as have every step right on either side, are right
everywhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import product
from math import ceil
from typing import TypeVar

import numpy as np

from toolchain.errors import FlowError, UserError
from toolchain.ir.channels import shrink_rows
from toolchain.ir.ops.add import ONE, Add
from toolchain.ir.ops.model import Quantize, RealAdd, Relu
from toolchain.ir.ops.node import Node
from toolchain.ir.ops.requantizers import MulShift
from toolchain.ir.types import Array
from toolchain.lowering.add_terms import MAX_STEPS, constants_between
from toolchain.lowering.definition import make_requantizer, value_of
from toolchain.lowering.pair_steps import PairSteps, pair_steps
from toolchain.lowering.requantize import Requantizer
from toolchain.lowering.scaled import Scaled, Term, fractions, settle, zipped
from toolchain.lowering.state import Blamed, Lowering, RampSum, single

T = TypeVar("T")
SUMS = 1 << 59
"""Sums stay below it, so that their bounds do not leave int64."""


def ramp_sum(node: Node, state: Lowering) -> bool:
    """Return whether ``node`` makes or reads a sum with a ReLU; if so it is lowered."""
    if isinstance(node, RealAdd) and all(name in state.reals for name in node.inputs):
        parts = [settle(state.reals[name]) for name in node.inputs]
        ramps = [part for part in parts if _is_ramp(part)]
        if len(ramps) != 1 or any(part.view is not None for part in parts):
            return False
        (other,) = (part for part in parts if part is not ramps[0])
        if not other.plain:
            return False
        state.ramps[node.output.name] = RampSum(ramps[0], single(state, node, other), node)
        return True
    if not any(name in state.ramps for name in node.inputs):
        return False
    x = state.ramps[node.inputs[0]] if node.inputs[0] in state.ramps else state.ramps[node.inputs[-1]]
    if isinstance(node, Relu):
        state.ramps[node.output.name] = replace(x, floor=(Fraction(0),))
        return True
    if not isinstance(node, Quantize) or node.quantizer.bipolar or node.quantizer.grid > 1:
        raise unquantized_ramp(x)
    state.reals[node.output.name] = _quantized(node, x, state)
    return True


def unquantized_ramp(x: RampSum) -> UserError:
    """Return the error for a sum with a ReLU whose result no quantizer of several codes makes integers of."""
    return Blamed("a ReLU whose result is not quantized", x.node, hint="put an activation quantizer behind it")


def _is_ramp(x: Scaled) -> bool:
    """A rising line, in some channels cut at 0."""
    rising = len(x.terms) == 1 and all(s > 0 for s in x.terms[0].scale)
    cut = set(x.floor) <= {None, Fraction(0)} and any(f is not None for f in x.floor)
    return rising and cut and not x.bent and all(c is None for c in x.ceiling)


@dataclass(frozen=True)
class _Channel:
    """One channel of the sum of a ReLU's line of a and of a line of b.

    ``knee`` is the least a of the ReLU's line, ``slopes`` are those of a and b in codes, ``above`` and ``below`` the
    steps on either side of the knee, None where no a lies there.
    """

    knee: int
    slopes: tuple[Fraction, Fraction]
    codes: Array
    above: PairSteps | None
    below: PairSteps | None

    def reach(self, a: Term, b: Term) -> int:
        """The largest magnitude of a sum or a code, in codes."""
        line = sum(abs(s) * max(-t.low, t.high) for s, t in zip(self.slopes, (a, b), strict=True))
        return int(line) + int(np.abs(self.codes).max()) + 1

    def numbers(self, shift: int, low: int) -> tuple[int, int, int, int] | None:
        """Factors of a and b and the constants of the ReLU and of the sum, at ``shift`` fraction bits."""
        for deltas in product((0, 1, -1), repeat=2):
            fa, fb = (round(s * (1 << shift)) + d for s, d in zip(self.slopes, deltas, strict=True))
            if fa > 0 and fb * self.slopes[1] >= 0:
                found = self._constants(fa, fb, shift, low)
                if found is not None:
                    return (fa if self.above is not None else 0), fb, *found
        return None

    def _constants(self, fa: int, fb: int, shift: int, low: int) -> tuple[int, int] | None:
        ends = []
        for steps in (self.above, self.below):
            if steps is None:
                ends.append((-(1 << 61), 1 << 61))
                continue
            bounds = constants_between(steps, self.codes, np.array([[fa, fb]]), shift)
            ends.append((int(bounds[0][0]), int(bounds[1][0])))
        (whole_low, whole_high), (add_low, add_high) = ends
        if whole_low > whole_high or add_low > add_high:
            return None
        if self.above is None:
            return 0, _middle(add_low, add_high)
        if self.below is None:
            return -fa * low, _middle(whole_low, whole_high) + fa * low
        # the ReLU is 0 below its knee, and from there on its line
        first, last = -fa * self.knee, -fa * (self.knee - 1)
        least, most = max(add_low, whole_low - last), min(add_high, whole_high - first)
        if least > most:
            return None
        add = _middle(least, most)
        return _middle(max(first, whole_low - add), min(last, whole_high - add)), add


def _middle(low: int, high: int) -> int:
    """A number of [low, high] away from an end that is free, as a side of steps without pairs leaves it."""
    free = 1 << 60
    if low <= -free:
        return min(high, 0)
    return max(low, 0) if high >= free else (low + high) >> 1


def _quantized(node: Quantize, x: RampSum, state: Lowering) -> Scaled:
    (a,), (b,) = x.ramp.terms, x.line.terms
    channels, firsts = _channels(node, x)
    shift, found = 0, []
    for channel in channels:  # a larger shift is exact wherever a smaller one is
        numbers = None
        while numbers is None:
            if channel.reach(a, b) << shift >= SUMS:
                raise unquantized_ramp(x)
            numbers = channel.numbers(shift, a.low)
            shift += numbers is None
        found.append((numbers, shift))
    rows = np.array([[n << (shift - own) for n in numbers] for numbers, own in found], dtype=np.int64)
    fa, fb, knee, add = (shrink_rows(row) for row in rows.T)
    high = int((np.broadcast_to(fa, len(rows)) * a.high + knee).max())
    shape, first = node.output.shape, firsts[0]
    facts = {"shift": 0, "low": 0, "high": max(high, 0)}
    ramp = state.emit(MulShift, node, (a,), shape, suffix="_relu", mul=fa, add=knee, **facts)
    total = state.emit(Add, node, (ramp, b), shape, suffix="_sum", multipliers=(ONE, fb))
    limits = {"shift": shift, "low": first.low, "high": first.high}
    code = state.emit(MulShift, node, (total,), shape, mul=ONE, add=add, **limits)
    _prove(state.nodes[-3:], channels, a)
    return value_of(node.quantizer, code)


def _channels(node: Quantize, x: RampSum) -> tuple[list[_Channel], list[Requantizer]]:
    (a,), (b,) = x.ramp.terms, x.line.terms
    scale = zipped(lambda s, _: s, a.scale, b.scale)
    scale = zipped(lambda s, _: s, scale, x.ramp.floor)
    whole = zipped(lambda s, t: s + t, x.ramp.offset, x.line.offset)
    lines = [Scaled((a, b), offset, floor=x.floor) for offset in (whole, zipped(lambda o, _: o, x.line.offset, whole))]
    firsts = [make_requantizer(node.quantizer, scale, line) for line in lines]
    beta = zipped(lambda s, t: s / t, b.scale, fractions(node.quantizer.scale))
    count = max(len(beta), *(len(first.slope) for first in firsts))
    if len(firsts[0].codes) * count > MAX_STEPS:
        raise unquantized_ramp(x)

    def entry(values: Sequence[T], c: int) -> T:
        return values[c] if len(values) > 1 else values[0]

    def steps(first: Requantizer, c: int, reach: tuple[int, int]) -> PairSteps:
        one = first.channels(slice(c, c + 1)) if len(first.slope) > 1 else first
        return pair_steps(one, (entry(beta, c),), (reach, (b.low, b.high)))

    found = []
    for c in range(count):
        knee = a.low
        if entry(x.ramp.floor, c) is not None:
            knee = max(a.low, ceil(-entry(x.ramp.offset, c) / entry(a.scale, c)))
        above = steps(firsts[0], c, (knee, a.high)) if knee <= a.high else None
        below = steps(firsts[1], c, (0, 0)) if knee > a.low else None
        slopes = entry(firsts[0].slope, c), entry(beta, c)
        found.append(_Channel(knee, slopes, np.array(firsts[0].codes, dtype=np.int64), above, below))
    return found, firsts


def _prove(nodes: Sequence[Node], channels: Sequence[_Channel], a: Term) -> None:
    """Raise FlowError unless the three nodes have every corner on the right side of its step.

    A corner below the knee stands for every a there, of which the ReLU is to make 0: so it is tried at both ends.
    """
    ramp, add, requantizer = nodes
    rows = [[*_corners(channel, a)] for channel in channels]
    most = max(map(len, rows))
    every = np.array([row + row[-1:] * (most - len(row)) for row in rows], dtype=np.int64)  # (C, K, 4)
    at_a, at_b, code, above = (every[..., i].T[None, None] for i in range(4))
    found = requantizer.evaluate(add.evaluate(ramp.evaluate(at_a), at_b))
    for *_, k, c in np.argwhere((found >= code) != (above > 0))[:1]:
        raise FlowError(f"{add.name}: inputs {every[c, k, :2].tolist()} of channel {c} give {found[0, 0, k, c]}")


def _corners(channel: _Channel, a: Term) -> list[tuple[int, int, int, int]]:
    """(a, b, code, whether it is reached there)."""
    found = []
    for steps, ends in ((channel.above, None), (channel.below, (a.low, channel.knee - 1))):
        if steps is None:
            continue
        for side, holds, reached in ((steps.above, steps.reached, 1), (steps.below, steps.missed, 0)):
            for step in np.flatnonzero(holds[0]):
                for x, y in side[0, step].tolist():
                    found += [(end, y, int(channel.codes[step]), reached) for end in (ends or (x,))]
    return found
