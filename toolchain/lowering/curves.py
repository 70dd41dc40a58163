"""A quantizer behind functions of one integer: thresholds or a table, proven for every integer.

Sigmoid, SiLU and their like are followed as functions of the integer that they read until a quantizer makes codes of
them. Values lie in intervals: of a cell of integers that all of them surely give one code it is that one; other cells
are cut, down to single integers, and what float64 does not decide there is computed in fractions or to 160 digits.
What moves such values in front of their quantizer moves its codes.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from toolchain.errors import FlowError, UserError, with_article
from toolchain.ir.ops.maps import Crop, DepthToSpace, Permute, Reshape, Slice, SpaceToDepth, Transpose, Upsample
from toolchain.ir.ops.model import Affine, Clamp, Curve, LeakyRelu, Quantize, RealAdd, RealMul, Relu
from toolchain.ir.ops.node import Node
from toolchain.ir.ops.requantizers import Lookup, Threshold
from toolchain.ir.types import Value
from toolchain.lowering.curve_steps import CurveSteps, TooManyTies
from toolchain.lowering.definition import value_of
from toolchain.lowering.requantizer_node import MOST_COMPARATORS, threshold_cost
from toolchain.lowering.scaled import Scaled, Term
from toolchain.lowering.state import Blamed, Curved, Lowering, lower_node, merged, placed, where
from toolchain.resources import LUT_PER_BRAM18

TABLE_BITS = 12
"""Widest integer that a table is addressed by: with more, thresholds are cheaper, or nothing is cheap."""
TABLE_ENTRIES = 1 << 18
"""Most entries of all channels."""
_MOVES = Crop | DepthToSpace | Permute | Reshape | Slice | SpaceToDepth | Transpose | Upsample
_STEPS = Affine | Relu | Clamp | LeakyRelu | Curve


def curved(node: Node, state: Lowering) -> bool:
    """Return whether ``node`` makes or reads a function of an integer that is no line."""
    if isinstance(node, Curve) or any(name in state.curves for name in node.inputs):
        return True
    if not isinstance(node, RealMul):
        return False
    a, b = (state.reals[name] for name in node.inputs)
    return _alone(a) and _alone(b) and a.terms[0].value == b.terms[0].value


def lower_curved(node: Node, state: Lowering) -> None:
    """Lower ``node``, for which ``curved`` holds."""
    parts = [_function(name, node, state) for name in node.inputs]
    terms = {part.term.value for part in parts if part is not None}
    one = len(terms) == 1 and None not in parts
    known = [part for part in parts if part is not None]
    if one and isinstance(node, Quantize):
        state.reals[node.output.name] = _quantized(node, known[0], state)
    elif one and isinstance(node, _MOVES):
        state.curves[node.output.name] = replace(known[0], moves=(*known[0].moves, node))
    elif any(part.moves for part in known):
        raise unquantized(known[0])
    elif one and isinstance(node, _STEPS | RealAdd | RealMul):
        roots = {name: root for part in known for name, root in part.roots.items()}
        nodes = dict.fromkeys(n for part in known for n in part.nodes)
        state.curves[node.output.name] = Curved(roots, (*nodes, node), node.output.name)
    else:
        raise unquantized(next(state.curves[name] for name in node.inputs if name in state.curves))


def unquantized(x: Curved) -> UserError:
    """Return the error for a curve whose result no quantizer makes integers of."""
    node, what = _named(x)
    return Blamed(
        f"{with_article(what)} whose result is not quantized", node, hint="put an activation quantizer behind it"
    )


def _named(x: Curved) -> tuple[Node, str]:
    """The node to blame for the curve ``x``, and what it is called."""
    node = next((n for n in x.nodes if isinstance(n, Curve)), x.nodes[-1])
    return node, node.kind if isinstance(node, Curve) else "product with itself"


def _alone(x: Scaled) -> bool:
    return len(x.terms) == 1 and x.view is None


def _function(name: str, node: Node, state: Lowering) -> Curved | None:
    """The value ``name`` as a function of an integer; a curve reads any sum as one, other nodes only what is one."""
    if name in state.curves:
        return state.curves[name]
    x = state.reals[name]
    if not _alone(x):
        if not isinstance(node, Curve):
            return None
        x = state.reals[name] = merged(state, node, placed(state, node, x))
    return Curved({name: x}, (), name)


def _quantized(node: Quantize, x: Curved, state: Lowering) -> Scaled:
    quantizer, term = node.quantizer, x.term
    if quantizer.grid > 1:
        raise UserError(
            "a Trunc of values that are no multiples of its scale", where=where(node), hint="use a Quant node"
        )
    if x.moves and len(quantizer.unit) > 1:
        blamed, what = _named(x)
        what = f"a {what} whose numbers are moved in front of a quantizer with several scales"
        raise Blamed(what, blamed, hint="put the quantizer directly behind it, or give it one scale")
    try:
        steps = CurveSteps(x, quantizer)
    except TooManyTies as error:
        raise UserError(str(error), where=where(node), hint="quantize what the function reads") from error
    name, output = node.name, node.output.name
    if x.moves:
        name = state.names.fresh(f"{name}_codes")
        output = state.names.fresh(f"{name}_out")
    found = replace(
        _cheaper(steps, node, term),
        name=name, inputs=(term.value.name,), outputs=(Value(output, term.value.shape, quantizer.type),),
        origin=node.origin,
    )  # fmt: skip
    _prove(found, steps)
    value = value_of(quantizer, state.append(found, (term,)))
    for move in x.moves:
        if move is x.moves[-1]:
            move = replace(move, name=node.name, outputs=(replace(move.output, name=node.output.name),))
        value = lower_node(move, state, value)
    return value


def _cheaper(steps: CurveSteps, node: Quantize, term: Term) -> Node:
    """Return the cheaper of a Threshold and a Lookup."""
    kind, rows = term.value.qint, len(steps.runs)
    entries, bits = rows << kind.bits, node.quantizer.type.bits
    table = None
    if kind.bits <= TABLE_BITS and entries <= TABLE_ENTRIES:
        table = min(-(-entries // 64) * bits, LUT_PER_BRAM18 * -(-entries * bits // (18 << 10)))
    thresholds, sizes = steps.thresholds()
    if table is not None and table < threshold_cost(thresholds.shape[1], rows, kind.bits):
        return Lookup(name=node.name, inputs=(), outputs=(), table=steps.table(kind), low=kind.min)
    if thresholds.shape[1] > MOST_COMPARATORS:
        raise UserError(
            f"{bits} bits of a function of {kind.bits} bits take {thresholds.shape[1]} comparators a channel",
            where=where(node),
            hint=f"quantize what the function reads, with at most {TABLE_BITS} bits",
        )
    uniform = all(len(set(row.tolist())) == 1 for row in sizes)
    step = sizes[:, 0] if uniform else sizes
    return Threshold(name=node.name, inputs=(), outputs=(), thresholds=thresholds, start=steps.first, step=step)


def _prove(node: Node, steps: CurveSteps) -> None:
    """Raise FlowError unless ``node`` gives the code of every run of integers.

    It is tried at the two ends of each run; between them neither changes.
    """
    most = max(len(starts) for starts, _ in steps.runs)
    at = np.full((2, most, len(steps.runs)), steps.high, dtype=np.int64)  # shorter columns repeat their last end
    expected = np.empty_like(at)
    for channel, (starts, codes) in enumerate(steps.runs):
        at[0, : len(starts), channel] = starts
        at[1, : len(starts) - 1, channel] = starts[1:] - 1
        expected[:, :, channel] = codes[-1]
        expected[:, : len(codes), channel] = codes
    found = node.evaluate(at.reshape(-1, 1, 1, len(steps.runs))).reshape(at.shape)
    wrong = np.argwhere(found != expected)
    if len(wrong):
        end, run, channel = wrong[0]
        first, got, wanted = (int(array[end, run, channel]) for array in (at, found, expected))
        raise FlowError(f"{node.name}: input {first} of channel {channel} gives {got}, not {wanted}")
