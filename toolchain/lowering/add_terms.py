"""The quantized sum of two integers with unlike scales, exact over every pair of inputs.

Two ways are built, and the cheaper is taken. With the scales rounded to s fraction bits the sum needs only a shift.
With the simplest ratio that tells the pairs apart the sum is narrow, and a requantizer behind it, whose steps may lie
anywhere between the pairs, does the rest.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import product
from typing import Any

import numpy as np

from toolchain.errors import FlowError
from toolchain.ir.channels import shrink_rows
from toolchain.ir.digits import signed_digits, trailing_zeros
from toolchain.ir.ops.add import Add
from toolchain.ir.ops.model import Quantize
from toolchain.ir.ops.node import Node
from toolchain.ir.ops.requantizers import MulShift, Threshold
from toolchain.ir.types import Array, QInt
from toolchain.lowering.definition import make_requantizer
from toolchain.lowering.mul_shift import COARSE, to_mul_shift
from toolchain.lowering.pair_steps import FREE, PairSteps, pair_steps, separating
from toolchain.lowering.requantize import Requantizer
from toolchain.lowering.requantizer_node import mul_shift_cost, threshold_cost
from toolchain.lowering.scaled import Scaled, Term, fractions, zipped
from toolchain.lowering.state import Lowering

MAX_STEPS = 1 << 18
"""Steps in all channels whose corners are looked for, some 50 microseconds each."""
SMALL = 1 << 4
"""A ratio of scales whose terms are below this is exact as it stands: no search is needed."""
WIDEST = 58
"""Bits of both operands together that leave the sums of their pairs inside int64."""
Slopes = Sequence[tuple[Fraction, Fraction]]


@dataclass(frozen=True)
class _Pair:
    """The definition of a quantized sum: ``first`` on the line of term ``a``, to which beta[c] * b is added.

    A DSP slice costs ``lut_per_dsp`` LUTs.
    """

    a: Term
    b: Term
    first: Requantizer
    beta: tuple[Fraction, ...]
    lut_per_dsp: int

    @property
    def slopes(self) -> Slopes:
        return list(zip(self.first.slope, self.beta, strict=True))

    @property
    def codes(self) -> Array:
        return np.array(self.first.codes, dtype=np.int64)

    @property
    def reach(self) -> tuple[int, int]:
        """Largest magnitudes of the operands."""
        return max(-self.a.low, self.a.high), max(-self.b.low, self.b.high)

    def sum_bits(self, factors: Array) -> int:
        """Bits of the sum with ``factors`` (C, 2)."""
        ends = [np.stack([factors[:, i] * t.low, factors[:, i] * t.high]) for i, t in enumerate((self.a, self.b))]
        return QInt.holding(
            int((ends[0].min(axis=0) + ends[1].min(axis=0)).min()),
            int((ends[0].max(axis=0) + ends[1].max(axis=0)).max()),
        ).bits

    def requantizer_cost(self, mul: Array, bits: int) -> int:
        """LUT equivalent of a lane of the requantizer that multiplies a sum of ``bits`` by ``mul`` and shifts it."""
        return mul_shift_cost(mul, bits, (self.first.high - self.first.low).bit_length(), self.lut_per_dsp)

    def scaling_cost(self, factors: Array) -> int:
        """LUT equivalent of a lane of the sum."""
        bits = [t.value.qint.bits for t in (self.a, self.b)]
        return sum(product_cost(factors[:, i], bits[i], self.lut_per_dsp) for i in (0, 1)) + self.sum_bits(factors)


@dataclass(frozen=True)
class _Form:
    """A sum with ``factors`` (C, 2), the node behind it as class and facts, and the LUT equivalent of a lane."""

    factors: Array
    node: type[Node]
    facts: dict[str, Any]
    cost: int


def combine(node: Quantize, x: Scaled, state: Lowering) -> Term | None:
    """Emit ``Add`` and a requantizer for the quantizer ``node`` behind the two terms of ``x``, proven for every pair.

    None when the exact ratio of the scales is small, or when steps or operands are too large to search.
    """
    a, b = x.terms
    first = make_requantizer(node.quantizer, zipped(lambda s, _: s, a.scale, b.scale), x)
    beta, channels = zipped(lambda s, t: s / t, b.scale, fractions(node.quantizer.scale)), len(first.slope)
    pair = _Pair(a, b, first, beta if len(beta) == channels else beta * channels, state.lut_per_dsp)
    if _exact(pair) or len(first.codes) * channels > MAX_STEPS or sum(r.bit_length() for r in pair.reach) > WIDEST:
        return None
    steps = pair_steps(first, pair.beta, ((a.low, a.high), (b.low, b.high)))
    form = _cheapest(pair, steps)
    multipliers = tuple(shrink_rows(form.factors[:, i]) for i in (0, 1))
    total = state.emit(Add, node, (a, b), node.output.shape, suffix="_sum", multipliers=multipliers)
    code = state.emit(form.node, node, (total,), node.output.shape, **form.facts)
    _prove(state.nodes[-2], state.nodes[-1], pair, steps)
    return code


def _exact(pair: _Pair) -> bool:
    """Return whether all channels share a ratio of scales of small terms: a common unit then costs next to nothing."""
    ratios = {a / b if b else None for a, b in pair.slopes}
    ratio = ratios.pop()
    if ratios or not ratio:
        return False
    return abs(ratio.numerator) < SMALL and ratio.denominator < SMALL


def product_cost(factors: Array, bits: int, lut_per_dsp: int) -> int:
    """LUT equivalent of a lane's product of ``bits`` bits with one factor, or one a channel.

    One factor is a sum of shifted copies; others are a LUT a bit of either operand, or DSP tiles of 27 x 18 bits, each
    worth ``lut_per_dsp`` LUTs.
    """
    factors = factors >> trailing_zeros(factors)
    digits = max(signed_digits(f) for f in factors[:, None])
    if len(shrink_rows(np.abs(factors))) == 1:
        return max(digits - 1, 0) * (bits + 2)
    wide = QInt.holding(int(factors.min()), int(factors.max())).bits
    tiles = -(-max(bits, wide) // 27) * -(-min(bits, wide) // 18)
    return min(lut_per_dsp * tiles, bits * wide)


def _cheapest(pair: _Pair, steps: PairSteps) -> _Form:
    by_ratio, by_shift = _by_ratio(pair, steps), _by_shift(pair, steps)
    return by_shift if by_shift is not None and by_shift.cost <= by_ratio.cost else by_ratio


def _by_shift(pair: _Pair, steps: PairSteps) -> _Form | None:
    """Return the sum with the smallest shift at which factors and constants give every code; None where none does."""
    if pair.first.bipolar or pair.first.bends:
        return None
    search = _ShiftSearch(pair, steps)
    found = search.alike() or search.shared()
    if found is None:
        return None
    factors, add, shift = found
    one, limits = np.ones(1, dtype=np.int64), {"low": pair.first.low, "high": pair.first.high}
    facts = {"mul": one, "add": shrink_rows(add), "shift": shift, **limits}
    cost = pair.scaling_cost(factors) + pair.requantizer_cost(one, pair.sum_bits(factors))
    return _Form(factors, MulShift, facts, cost)


class _ShiftSearch:
    """Factors near the slopes times 2**s, and the constants that give every code behind a shift by s.

    Code k is reached where the sum and the constant are at least k * 2**s - 2**(s-1) + (k odd): every step bounds the
    constant from both sides.
    """

    def __init__(self, pair: _Pair, steps: PairSteps) -> None:
        self.pair, self.steps, self.coarse = pair, steps, steps.every(COARSE)
        self.slopes, self.codes = pair.slopes, pair.codes
        self.least: tuple[Array, Array, int] | None = None

    def rounded(self, shift: int) -> Array | None:
        """The slopes times 2**shift (C, 2), or None where sums would leave int64."""
        limit = max(abs(self.pair.first.low), abs(self.pair.first.high)) << shift
        sums = max(abs(s) * r for pair in self.slopes for s, r in zip(pair, self.pair.reach, strict=True))
        if max(int(sums) << shift, limit) + sum(self.pair.reach) * 4 >= 1 << 59:
            return None
        return np.array([[round(s * (1 << shift)) for s in pair] for pair in self.slopes], dtype=np.int64)

    def constants(self, channels: Array, factors: Array, shift: int) -> tuple[Array, Array]:
        """Return which of ``channels`` have a constant that gives every code with ``factors``, and the constants."""
        same_side = (factors * self.steps.signs[channels] >= 0).all(axis=1)
        # What fails on some steps fails on all.
        least, most = constants_between(self.coarse.some(channels), self.codes[::COARSE], factors, shift)
        good = np.flatnonzero(same_side & (least <= most))
        least, most = constants_between(self.steps.some(channels[good]), self.codes, factors[good], shift)
        middle = np.where(least == -FREE, most, np.where(most == FREE, least, (least + most) >> 1))
        middle = np.where((least == -FREE) & (most == FREE), 0, middle)
        works, constants = np.zeros(len(channels), dtype=bool), np.zeros(len(channels), dtype=np.int64)
        works[good], constants[good] = least <= most, middle
        return works, constants

    def shared(self) -> tuple[Array, Array, int] | None:
        """Return factors, constants and their shift, the largest of the channels' smallest ones.

        Doubled, a channel's solution for s is one for s + 1.
        """
        if self.least is not None:
            return self.least
        count = len(self.slopes)
        factors, add = np.zeros((count, 2), dtype=np.int64), np.zeros(count, dtype=np.int64)
        found = np.full(count, -1)
        for shift in range(WIDEST):
            base = self.rounded(shift)
            if base is None:
                return None
            for delta in product((0, 1, -1), repeat=2):
                todo = np.flatnonzero(found < 0)
                if not len(todo):
                    break
                works, constants = self.constants(todo, base[todo] + delta, shift)
                done = todo[works]
                factors[done], add[done], found[done] = base[done] + delta, constants[works], shift
            if (found >= 0).all():
                break
        if (found < 0).any():
            return None
        shift = int(found.max())
        self.least = factors << (shift - found)[:, None], add << (shift - found), shift
        return self.least

    def alike(self) -> tuple[Array, Array, int] | None:
        """Return what ``shared`` does, with one factor of few digits for operands of one scale: it needs no table.

        None where no operand has one scale, or two more bits of shift do not suffice.
        """
        alike = [len({pair[i] for pair in self.slopes}) == 1 for i in (0, 1)]
        least = self.shared()
        if least is None or not any(alike) or len(self.slopes) == 1:
            return None
        channels = np.arange(len(self.slopes))
        for shift in range(least[2], least[2] + 3):
            base = self.rounded(shift)
            if base is None:
                return None
            common = product(*(range(-2, 3) if one else (0,) for one in alike))
            free = list(product(*((0,) if one else (0, 1, -1) for one in alike)))

            def digits(delta: tuple[int, ...], base: Array = base) -> int:
                return sum(signed_digits(base[:1, i] + delta[i]) for i in (0, 1) if alike[i])

            for delta in sorted(common, key=digits):
                factors, add = base + delta, np.zeros(len(channels), dtype=np.int64)
                left = channels
                for own in free:
                    works, constants = self.constants(left, factors[left] + own, shift)
                    factors[left[works]] += own
                    add[left[works]] = constants[works]
                    left = left[~works]
                    if not len(left):
                        return factors, add, shift
        return None


def constants_between(steps: PairSteps, codes: Array, factors: Array, shift: int) -> tuple[Array, Array]:
    """Least and greatest constant with which the ``factors`` of every channel give every code."""
    bound = (codes << shift) - ((1 << shift) >> 1) + (codes & 1 if shift else 0)
    least, greatest = steps.sums(factors)
    low = np.where(steps.reached, bound - np.where(steps.reached, least, 0), -FREE)
    high = np.where(steps.missed, bound - 1 - np.where(steps.missed, greatest, 0), FREE)
    return low.max(axis=1, initial=-FREE), high.min(axis=1, initial=FREE)


def _by_ratio(pair: _Pair, steps: PairSteps) -> _Form:
    """The sum of the simplest ratio, behind it thresholds or a multiplication and a shift."""
    first, factors = pair.first, separating(steps, pair.slopes)
    bits = pair.sum_bits(factors)
    low, high = -(1 << bits), 1 << bits
    least, greatest = steps.sums(factors)
    rows = np.where(steps.reached, least, high)
    size = 2 if first.bipolar else 1
    start = np.array([-1 if first.bipolar else first.low], dtype=np.int64)
    facts: dict[str, Any] = {"thresholds": shrink_rows(rows), "start": start, "step": np.array([size], dtype=np.int64)}
    scaling, channels = pair.scaling_cost(factors), len(rows)
    form = _Form(factors, Threshold, facts, scaling + threshold_cost(rows.shape[1], channels, bits))
    slopes = tuple(_run(rows[c], steps.active[c]) for c in range(channels))
    line = Requantizer(slopes, (Fraction(0),) * channels, first.low, first.high, first.rounding, first.bipolar, (), ())
    ends = np.full(channels, start[0]), np.full(channels, size)
    found = to_mul_shift(line, (rows, *ends), low + 1, high - 1, np.where(steps.missed, greatest, low))
    if found is None:
        return form
    limits = {"low": first.low, "high": first.high}
    cost = scaling + pair.requantizer_cost(found.mul, bits)
    if cost >= form.cost:
        return form
    facts = {key: shrink_rows(getattr(found, key)) for key in ("mul", "add", "base")}
    return _Form(factors, MulShift, {**facts, "shift": found.shift, **limits}, cost)


def _run(thresholds: Array, active: Array) -> Fraction:
    """Return the codes per unit of the sum, between the first and the last step that it takes."""
    taken = thresholds[active]
    run = int(taken[-1] - taken[0]) if len(taken) else 0
    return Fraction(len(taken) - 1, run) if run else Fraction(0)


def _prove(add: Node, requantizer: Node, pair: _Pair, steps: PairSteps) -> None:
    """Raise FlowError unless the two nodes have every corner on the right side of its step."""
    codes, (channels, count) = pair.codes, steps.reached.shape
    for side, holds, above in ((steps.above, steps.reached, True), (steps.below, steps.missed, False)):
        a, b = (side[..., i].reshape(channels, -1).T[None, None] for i in (0, 1))
        found = requantizer.evaluate(add.evaluate(a, b))[0, 0].T.reshape(channels, count, side.shape[2])
        right = (found >= codes[:, None]) == above
        for channel, step, corner in np.argwhere(~right & holds[..., None])[:1]:
            at = side[channel, step, corner].tolist()
            raise FlowError(f"{add.name}: inputs {at} of channel {channel} give {found[channel, step, corner]}")
