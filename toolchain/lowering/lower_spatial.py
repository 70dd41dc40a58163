"""Convolutions and pools as windows with integer products, sums and maxima."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from functools import reduce
from itertools import accumulate, pairwise

import numpy as np

from toolchain.errors import UserError
from toolchain.ir.channels import shrink
from toolchain.ir.ops.maps import DepthToSpace, Reshape
from toolchain.ir.ops.model import RealConv, RealPool
from toolchain.ir.ops.node import Node
from toolchain.ir.ops.pools import GlobalMax, GlobalSum, Pool
from toolchain.ir.ops.products import Depthwise, GroupedMatVec, MatVec
from toolchain.ir.ops.window import Window
from toolchain.ir.types import Array
from toolchain.lowering.scaled import Numbers, Scaled, Term, fractions, zipped
from toolchain.lowering.state import Lowering, even, lower_node, merged, multiples, multiplied, single, uniform, where

MOST_AVERAGES = 1 << 14
"""Numbers of a map whose averages each get a factor of their own."""
MOST_MULTIPLE = 16
"""Up to here channels of unlike scales are multiplied in front of a convolution: that costs it four bits at most."""


def _zero_codes(term: Term, offset: Numbers) -> Numbers:
    """Return the number that stands for the real value 0, one or one a channel; 1/2 where no number does."""
    return shrink(zipped(lambda s, o: -o / s if s else Fraction(bool(o), 2), term.scale, offset))


def _zero_code(term: Term, offset: Numbers, node: Node) -> int:
    """The code whose real value is 0, for padding."""
    code = uniform(_zero_codes(term, offset), node, "the code of zero in front of padding")
    if code.denominator != 1 or not term.value.qint.min <= code <= term.value.qint.max:
        raise UserError(
            "pads with zeros that are no code of the input",
            where=where(node),
            hint="quantize the input of the convolution, or train with normalize='unit'",
        )
    return int(code)


def _unlike_pads(node: RealConv | RealPool, x: Scaled) -> bool:
    """Return whether ``node`` pads ``x`` with zeros whose codes differ by channel."""
    return any(node.pads) and len(_zero_codes(x.terms[0], x.offset)) > 1


def _window(
    state: Lowering, node: RealConv | RealPool, x: Scaled, kernel: tuple[int, int], fill: int | None
) -> tuple[Term, Numbers]:
    """The sliding window in front of ``node`` (none for a pointwise one); returns its term and offset."""
    term = x.terms[0]
    if kernel == (1, 1) and node.stride == (1, 1) and not any(node.pads):
        return term, x.offset
    pad = fill if fill is not None else _zero_code(term, x.offset, node) if any(node.pads) else 0
    height, width = node.output.shape[:2]
    out = state.emit(
        Window,
        node,
        (term,),
        (height, width, kernel[0] * kernel[1] * term.value.shape[2]),
        suffix="_window",
        kernel=kernel,
        stride=node.stride,
        pads=node.pads,
        dilation=node.dilation,
        pad_value=pad,
    )
    return Term(out.value, term.scale, out.low, out.high), x.offset


@lower_node.register
def _(node: RealConv, state: Lowering, x: Scaled) -> Scaled:
    x = single(state, node, x)
    if node.groups == x.shape[2] == len(node.codes) and node.groups > 1:
        total = _filtered(node, state, x)
    elif node.groups > 1 and (_by_group(node, x) or len(_parts(state, x)) == 1):
        total = _grouped(node, state, x)
    else:  # a group that reads parts of unlike scales is dense: each part is multiplied by itself
        codes = node.codes if node.groups == 1 else dense_codes(node, x.shape[2])
        parts = _parts(state, x)
        if len(parts) == 1:
            total = _product(node, state, x, codes, "")
        else:
            ends = [0, *accumulate(part.shape[2] for part in parts)]
            pieces = [codes[..., start:end] for start, end in pairwise(ends)]
            products = [_product(node, state, p, c, "_part") for p, c in zip(parts, pieces, strict=True)]
            total = reduce(lambda a, b: _sum(node, state, a, b), products)
    if node.bias is None:
        return total
    return replace(total, offset=shrink(zipped(lambda a, b: a + b, total.offset, fractions(node.bias))))


def _filtered(node: RealConv, state: Lowering, x: Scaled) -> Scaled:
    """A depthwise convolution without its bias."""
    if _unlike_pads(node, x):
        x = even(state, node, x)
    channels, kh, kw, _ = node.codes.shape
    window, offset = _window(state, node, x, (kh, kw), None)
    weight: Array = node.codes.reshape(channels, kh * kw).T.copy()
    acc = state.emit(Depthwise, node, (window,), node.output.shape, weight=weight, weight_type=node.weight_type)
    weight_scale = fractions(node.scale)
    scale = zipped(lambda s, w: s * w, window.scale, weight_scale)
    constant = zipped(lambda o, w: o * int(w), offset, [int(w) for w in weight.sum(axis=0)])
    return _scaled(acc, scale, zipped(lambda c, w: c * w, constant, weight_scale))


def _by_group(node: RealConv, x: Scaled) -> bool:
    """Return whether the channels of each group of ``x`` share a scale."""
    scale = shrink(x.terms[0].scale)
    size = x.shape[2] // node.groups
    return len(scale) == 1 or all(len(set(scale[i : i + size])) == 1 for i in range(0, len(scale), size))


def _grouped(node: RealConv, state: Lowering, x: Scaled) -> Scaled:
    """A convolution of groups of channels, whose scales can differ, without its bias."""
    if not _by_group(node, x) or _unlike_pads(node, x):
        x = even(state, node, x)
    outputs, kh, kw, size = node.codes.shape
    window, offset = _window(state, node, x, (kh, kw), None)
    weight = node.codes.reshape(outputs, kh * kw, size)
    facts = {"weight": weight, "weight_type": node.weight_type, "groups": node.groups}
    acc = state.emit(GroupedMatVec, node, (window,), node.output.shape, **facts)
    first = [i // (outputs // node.groups) * size for i in range(outputs)]  # channel that each output reads
    weight_scale = fractions(node.scale)
    scale = window.scale if len(window.scale) == 1 else tuple(window.scale[c] for c in first)
    per_output = zipped(lambda c, w: c * w, scale, weight_scale)
    return _scaled(
        acc, per_output, zipped(lambda c, w: c * w, _constant(offset, node.codes, node.groups), weight_scale)
    )


def _product(node: RealConv, state: Lowering, x: Scaled, codes: Array, suffix: str) -> Scaled:
    """The convolution of ``x`` with ``codes`` (Cout, kh, kw, C of x), without its bias."""
    if len(shrink(x.terms[0].scale)) > 1 or _unlike_pads(node, x):
        x = even(state, node, x)
    outputs, kh, kw, _ = codes.shape
    window, offset = _window(state, node, x, (kh, kw), None)
    weight = codes.reshape(outputs, -1)
    kind = node.weight_type
    acc = state.emit(MatVec, node, (window,), node.output.shape, weight=weight, weight_type=kind, suffix=suffix)
    per_tensor, weight_scale = window.scale[0], fractions(node.scale)
    shift = zipped(lambda c, w: c * w, _constant(offset, codes), weight_scale)
    return _scaled(acc, tuple(per_tensor * w for w in weight_scale), shift)


def _scaled(acc: Term, scale: Numbers, offset: Numbers) -> Scaled:
    return Scaled((Term(acc.value, shrink(scale), acc.low, acc.high),), shrink(offset))


def _parts(state: Lowering, x: Scaled) -> list[Scaled]:
    """Return ``x``, or the parts that a Concat joined to it where one scale for all would take wide multipliers.

    The products of the parts are summed then: that takes a multiplier an output instead of wide ones everywhere.
    """
    term = x.terms[0]
    joined = state.joined.get(term.value.name, ())
    if not joined or max(map(abs, multiples(term.scale)[1])) <= MOST_MULTIPLE:
        return [x]
    ends = [0, *accumulate(part.value.shape[2] for part in joined)]
    parts = []
    for part, (start, end) in zip(joined, pairwise(ends), strict=True):
        scale, offset = (v if len(v) == 1 else shrink(v[start:end]) for v in (term.scale, x.offset))
        parts.append(Scaled((replace(part, scale=scale),), offset))
    return parts


def _sum(node: RealConv, state: Lowering, a: Scaled, b: Scaled) -> Scaled:
    a = single(state, node, a)
    return Scaled(a.terms + b.terms, zipped(lambda s, t: s + t, a.offset, b.offset))


def _constant(offset: Numbers, codes: Array, groups: int = 1) -> Numbers:
    """Sum over the taps of ``offset[c] * codes``: what an input offset adds to every output channel of each group."""
    if not any(offset):
        return (Fraction(0),)
    per_input = codes.sum(axis=(1, 2)).reshape(groups, -1, codes.shape[3])
    size = codes.shape[3]
    spread = offset * (groups * size) if len(offset) == 1 else offset
    parts = [spread[start : start + size] for start in range(0, groups * size, size)]
    rows = [(part, row) for part, filters in zip(parts, per_input, strict=True) for row in filters]
    return tuple(sum((o * int(w) for o, w in zip(part, row, strict=True)), Fraction(0)) for part, row in rows)


def dense_codes(node: RealConv, channels: int) -> Array:
    """A grouped convolution's codes as a dense one's, zeros outside each group's block."""
    outputs, kh, kw, per_group = node.codes.shape
    dense = np.zeros((outputs, kh, kw, channels), dtype=np.int64)
    per_output = outputs // node.groups
    for group in range(node.groups):
        rows = slice(group * per_output, (group + 1) * per_output)
        dense[rows, :, :, group * per_group : (group + 1) * per_group] = node.codes[rows]
    return dense


@lower_node.register
def _(node: RealPool, state: Lowering, x: Scaled) -> Scaled:
    if node.kind == "max":
        return _max_pool(node, state, x)
    x = single(state, node, x)
    term = x.terms[0]
    if node.kernel == term.value.shape[:2] and not any(node.pads):
        total = state.emit(GlobalSum, node, (term,), node.output.shape)
    else:
        if _unlike_pads(node, x):
            x = even(state, node, x)
            term = x.terms[0]
        window, _ = _window(state, node, x, node.kernel, None)
        taps = node.kernel[0] * node.kernel[1]
        total = state.emit(Pool, node, (window,), node.output.shape, kind="sum", taps=taps)
    count, counts = node.kernel[0] * node.kernel[1], node.counts(*term.value.shape[:2])
    if (counts != count).any():
        return _by_position(node, state, Scaled((replace(total, scale=term.scale),), x.offset), counts)
    scale = tuple(s / count for s in term.scale)
    return Scaled((Term(total.value, scale, total.low, total.high),), x.offset)


def _by_position(node: RealPool, state: Lowering, sums: Scaled, counts: Array) -> Scaled:
    """Averages of ``sums`` over ``counts`` elements, which differ by position: those are channels until a quantizer."""
    (term,), (height, width, channels), taps = sums.terms, node.output.shape, node.kernel[0] * node.kernel[1]
    if node.output.size > MOST_AVERAGES:
        raise UserError(
            f"an average whose pads do not count, of {node.output.size:,} numbers",
            where=where(node),
            hint=f"set count_include_pad=True, pool without padding, or pool to at most {MOST_AVERAGES:,}",
        )
    flat = state.emit(Reshape, node, (term,), (1, 1, node.output.size), suffix="_flat")
    each = [Fraction(1, int(n)) for n in counts.ravel()]

    def spread(numbers: Numbers) -> Numbers:
        all_channels = numbers if len(numbers) > 1 else numbers * channels
        return tuple(n * one for one in each for n in all_channels)

    scale, offset = spread(term.scale), spread(tuple(o * taps for o in sums.offset))
    view = DepthToSpace(
        name=node.name, inputs=node.inputs, outputs=node.outputs, origin=node.origin,
        block=(height, width), channels_first=False,
    )  # fmt: skip
    return Scaled((replace(flat, scale=scale),), shrink(offset), view=view)


def _max_pool(node: RealPool, state: Lowering, x: Scaled) -> Scaled:
    """max commutes with a rising clamp; where a scale is negative, the sign moves into the integer first."""
    if len(x.terms) > 1:
        x = merged(state, node, x)
    term = x.terms[0]
    if any(s < 0 for s in term.scale):
        signs = [1 if s > 0 else -1 for s in term.scale]
        reach = max(abs(term.low), abs(term.high))
        flipped = multiplied(state, node, term, signs, [0] * len(signs), reach, "_sign")
        term = Term(flipped.value, tuple(abs(s) for s in term.scale), flipped.low, flipped.high)
    if node.kernel == term.value.shape[:2] and not any(node.pads):
        out = state.emit(GlobalMax, node, (term,), node.output.shape)
    else:
        window, _ = _window(state, node, Scaled((term,), x.offset), node.kernel, term.low)
        taps = node.kernel[0] * node.kernel[1]
        out = state.emit(Pool, node, (window,), node.output.shape, kind="max", taps=taps)
    return replace(x, terms=(Term(out.value, term.scale, out.low, out.high),))
