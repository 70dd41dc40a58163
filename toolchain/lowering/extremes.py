"""The larger or the smaller of two values.

A quantizer rises, so the code of the larger is the larger of both codes: where only quantizers read it, each value is
quantized first. Else it is the first value plus what the second one has above it, on integers of a common unit; the
smaller is the first less what it has above the second.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from toolchain.errors import UserError
from toolchain.ir.channels import shrink
from toolchain.ir.graph import Graph
from toolchain.ir.ops.add import ONE, Add
from toolchain.ir.ops.model import Quantize, RealExtreme
from toolchain.ir.ops.node import Node
from toolchain.ir.ops.requantizers import MulShift
from toolchain.ir.types import Quantizer, Real, Value
from toolchain.lowering.definition import value_of
from toolchain.lowering.scaled import Scaled, Term, settle, zipped
from toolchain.lowering.state import Extreme, Lowering, even, placed, single, where

Requantize = Callable[[Quantize, Lowering, Scaled], Term]
"""Appends the codes of a quantizer of a value."""


def waits(graph: Graph, node: RealExtreme, state: Lowering) -> bool:
    """Return whether only quantizers read ``node``; if so its operands wait for them in ``state.extremes``."""
    readers = graph.consumers()[node.output.name]
    if any(name not in state.reals for name in node.inputs):
        return False
    rising = all(isinstance(reader, Quantize) and reader.quantizer.grid == 1 for reader in readers)
    if not readers or not rising or node.output.name in graph.written:
        return False
    operands = tuple(placed(state, node, state.reals[name]) for name in node.inputs)
    state.extremes[node.output.name] = Extreme(operands, _sign(node))
    return True


def _sign(node: RealExtreme) -> int:
    return 1 if node.kind == "max" else -1


def extreme(node: RealExtreme, state: Lowering, a: Scaled, b: Scaled) -> Scaled:
    """Return the larger or the smaller of ``a`` and ``b`` without quantizing either."""
    a, b, sign = single(state, node, a), single(state, node, b), _sign(node)
    less, more = (a, b) if sign > 0 else (b, a)
    minus = tuple(replace(term, scale=tuple(-s for s in term.scale)) for term in less.terms)
    apart = Scaled(minus + more.terms, zipped(lambda s, t: s - t, more.offset, less.offset))
    apart = even(state, node, single(state, node, apart), rising=True)
    (term,), knee = apart.terms, shrink(apart.offset)[0] / apart.terms[0].scale[0]
    if knee.denominator != 1:
        raise UserError(
            "the larger or smaller of values that share no unit",
            where=where(node),
            hint="put an activation quantizer behind it",
        )
    above = _above(state, node, term, int(knee))
    return Scaled((*a.terms, replace(above, scale=tuple(sign * s for s in term.scale))), a.offset)


def extreme_codes(node: Quantize, state: Lowering, requantize: Requantize) -> Term:
    """The codes of the quantizer ``node`` of the maximum or minimum that it reads."""
    found, shape, quantizer = state.extremes[node.inputs[0]], node.output.shape, node.quantizer
    a, b = (_codes(node, state, x, requantize) for x in found.operands)
    sign, minus = (np.array([n], dtype=np.int64) for n in (found.sign, -found.sign))
    apart = state.emit(Add, node, (a, b), shape, multipliers=(minus, sign), suffix="_apart")
    total = state.emit(Add, node, (a, _above(state, node, apart, 0)), shape, multipliers=(ONE, sign), suffix="_sum")
    none = np.zeros(1, dtype=np.int64)
    limits = {"low": quantizer.low, "high": quantizer.high}  # which the sum keeps to: its type need not be wider
    return state.emit(MulShift, node, (total,), shape, mul=ONE, add=none, shift=0, **limits)


def _above(state: Lowering, node: Node, apart: Term, knee: int) -> Term:
    """Append max(apart + knee, 0)."""
    add = np.array([knee], dtype=np.int64)
    limits = {"shift": 0, "low": 0, "high": max(apart.high + knee, 0)}
    return state.emit(MulShift, node, (apart,), node.output.shape, mul=ONE, add=add, suffix="_above", **limits)


def _codes(node: Quantize, state: Lowering, x: Scaled, requantize: Requantize) -> Term:
    """The codes of ``x``: its own where the same quantizer made them."""
    x = settle(x)
    if x.plain and len(x.terms) == 1 and _are_codes(node.quantizer, x):
        return x.terms[0]
    name = state.names.fresh(f"{node.name}_codes")
    value = Value(state.names.fresh(f"{name}_out"), node.output.shape, Real())
    return requantize(replace(node, name=name, outputs=(value,)), state, x)


def _are_codes(quantizer: Quantizer, x: Scaled) -> bool:
    (term,) = x.terms
    own = value_of(quantizer, term)
    alike = shrink(term.scale) == shrink(own.terms[0].scale) and shrink(x.offset) == shrink(own.offset)
    return alike and not quantizer.bipolar and quantizer.low <= term.low and term.high <= quantizer.high
