"""How the integer network relates to the float32 execution of its QONNX file.

Every quantizer is compared by itself: both sides get the codes that QONNX computed in front of it, so one differing
code does not spread. A code may differ only where the real value lies within float32 rounding of a tie between the two
codes; anything else is a defect of the lowering.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from toolchain.errors import VerificationError
from toolchain.frontend.execute import execute_qonnx
from toolchain.frontend.read import ModelFile
from toolchain.ir.encode import decode, encode, host_values, predictions
from toolchain.ir.evaluate import evaluate
from toolchain.ir.graph import Graph, rewrite_nodes
from toolchain.ir.model_ops import Affine, Clamp, LeakyRelu, MultiThreshold, Quantize, RealConv
from toolchain.ir.ops import Array, Node
from toolchain.ir.types import Quantizer

FLOAT32 = 2.0**-24
"""Unit roundoff of float32."""


Coded = Quantize | MultiThreshold
"""Nodes whose outputs are codes."""


@dataclass(frozen=True)
class Agreement:
    """Of ``images``, the share with equal top-1; of ``codes`` compared, how many differ, all of them at ties.

    ``worst`` is the largest distance of a differing code's value from its tie, relative to the float32 error bound.
    """

    images: int
    top1: float
    codes: int
    mismatches: int
    worst: float
    output_error: float


def compare(model: ModelFile, integer: Graph, images: Array, batch: int = 64) -> Agreement:
    """Compare ``integer`` with the QONNX file on ``images`` (N, H, W, C): uint8 pixels or real values.

    Raises VerificationError naming the first quantizer with a difference that float32 rounding does not explain.
    """
    parts = [_compare(model, integer, images[i : i + batch]) for i in range(0, len(images), batch)]
    return Agreement(
        images=len(images),
        top1=sum(p.top1 * p.images for p in parts) / len(images),
        codes=sum(p.codes for p in parts),
        mismatches=sum(p.mismatches for p in parts),
        worst=max(p.worst for p in parts),
        output_error=max(p.output_error for p in parts),
    )


def _compare(model: ModelFile, integer: Graph, images: Array) -> Agreement:
    quantizers = [n for n in model.graph.nodes if isinstance(n, Coded)]
    reals = host_values(integer, images)
    names = [n.tensor for n in quantizers]
    tensors = execute_qonnx(model.path, model.layout.from_ir(reals), taps=[*names, model.output])
    given = {n.output.name: model.to_ir(n.tensor, tensors[n.tensor]) for n in quantizers}
    codes = {n.output.name: quantizer_codes(n, given[n.output.name]) for n in quantizers}
    present = [n for n in quantizers if n.output.name in integer.values()]
    inputs = encode(integer, images)
    forced = {integer.input.name: inputs} | {n.output.name: codes[n.output.name] for n in present}
    ours = evaluate(integer, inputs, taps=[n.output.name for n in present], given=forced)
    wrong = {n.name: ours[n.output.name] != codes[n.output.name] for n in present}
    for node in quantizers:
        if node not in present:  # the host applies it
            wrong[node.name] = inputs != codes[node.output.name]
            ours[node.output.name] = inputs
    worst = 0.0
    if any(w.any() for w in wrong.values()):
        worst = _explain(model, reals, given, ours, wrong)
    expected = model.layouts[model.output].to_ir(tensors[model.output])
    result = evaluate(integer, inputs)[integer.output]
    same = predictions(integer, result) == expected.reshape(len(images), -1).argmax(axis=1)
    if integer.decoding is None:
        same = predictions(integer, result) == expected.reshape(len(images))
    return Agreement(
        images=len(images),
        top1=float(np.mean(same)),
        codes=sum(w.size for w in wrong.values()),
        mismatches=sum(int(w.sum()) for w in wrong.values()),
        worst=worst,
        output_error=float(np.abs(decode(integer, result) - expected).max()),
    )


def quantizer_codes(node: Coded, values: Array) -> Array:
    """The codes (int64) of real ``values`` that the quantizer ``node`` put out."""
    if isinstance(node, MultiThreshold):
        _, _, start, step = node.coding
        return start + step * np.rint((values - node.bias) / node.scale).astype(np.int64)
    quantizer = node.quantizer
    scale = np.asarray(quantizer.unit, dtype=np.float64)
    return np.rint(values / scale).astype(np.int64) + quantizer.zero_point


def _explain(
    model: ModelFile, reals: Array, given: dict[str, Array], ours: dict[str, Array], wrong: dict[str, Array]
) -> float:
    """The largest distance from a tie, relative to the float32 error bound, among the differing codes."""
    nodes = [n for n in model.graph.nodes if isinstance(n, Coded) and wrong[n.name].any()]
    taps = [n.inputs[0] for n in nodes]
    forced = {name: value.astype(np.float64) for name, value in given.items()}
    source = {model.graph.input.name: reals.astype(np.float64)}
    values = source | evaluate(model.graph, reals.astype(np.float64), taps=taps, given=forced)
    sizes = _error_bounds(model.graph, reals, forced, taps)
    worst = 0.0
    for node in nodes:
        at = wrong[node.name]
        theirs, mine = quantizer_codes(node, given[node.output.name])[at], ours[node.output.name][at]
        value, error = values[node.inputs[0]][at], sizes[node.inputs[0]][at]
        if isinstance(node, MultiThreshold):
            relative = _from_thresholds(node, np.nonzero(at)[-1], mine, theirs, value, error)
        else:
            scale = np.broadcast_to(np.asarray(node.quantizer.scale), at.shape)[at]
            relative = _from_tie(node.quantizer, mine, theirs, value / scale, error / scale)
        worst = max(worst, float(relative.max()))
        if relative.max() > 1.0:
            raise VerificationError(
                f"quantizer {node.name} (ONNX {', '.join(node.origin)}): {int(at.sum())} codes differ from QONNX, "
                f"up to {relative.max():.3g} times further from a tie than float32 rounding reaches"
            )
    return worst


def _from_tie(quantizer: Quantizer, mine: Array, theirs: Array, value: Array, error: Array) -> Array:
    """How far ``value`` lies from the tie between two codes, relative to its error; both in steps of the quantizer."""
    position = value + quantizer.zero_point
    tie = (mine + theirs) / 2
    if quantizer.bipolar:  # whatever its rounding mode
        tie = np.zeros(len(mine))
    elif quantizer.rounding == "FLOOR":
        tie = np.maximum(mine, theirs)
    elif quantizer.rounding == "CEIL":
        tie = np.minimum(mine, theirs)
    apart = (np.abs(mine - theirs) > 1) & (not quantizer.bipolar)
    distance = np.where(apart, np.abs(mine - theirs), np.abs(position - tie))
    return np.asarray(distance / (error + FLOAT32 * np.abs(position) * 4))


def _from_thresholds(
    node: MultiThreshold, channels: Array, mine: Array, theirs: Array, value: Array, error: Array
) -> Array:
    """How far ``value`` lies from the furthest threshold between two codes, relative to its error."""
    _, _, start, step = node.coding
    low, high = ((codes - start) // step for codes in (np.minimum(mine, theirs), np.maximum(mine, theirs)))
    rows = channels if len(node.thresholds) > 1 else np.zeros_like(channels)
    ends = node.thresholds[rows, low], node.thresholds[rows, high - 1]
    distance = np.maximum(*(np.abs(value - end) for end in ends))
    return np.asarray(distance / (error + FLOAT32 * np.abs(value) * 4))


def _error_bounds(graph: Graph, reals: Array, given: dict[str, Array], taps: list[str]) -> dict[str, Array]:
    """Bound of the float32 error of each value in ``taps``, when the values in ``given`` are exact.

    A sum of n products is off by at most (n + 1) * 2**-24 times the sum of their magnitudes, in any order (Higham,
    Accuracy and Stability, 3.1); each further operation adds one roundoff. Magnitudes come from the same graph with all
    numbers made positive, and the longest sum between two quantizers counts for every value.
    """
    longest = max((n.codes[0].size for n in graph.nodes if isinstance(n, RealConv)), default=1)
    magnitudes = evaluate(
        rewrite_nodes(graph, _positive),
        np.abs(reals.astype(np.float64)),
        taps=taps,
        given={name: np.abs(value) for name, value in given.items()},
    )
    source = {graph.input.name: np.abs(reals.astype(np.float64))}
    return {name: value * (longest + 8) * FLOAT32 for name, value in (source | magnitudes).items()}


def _positive(node: Node) -> Node:
    if isinstance(node, RealConv):
        bias = None if node.bias is None else np.abs(node.bias)
        return replace(node, codes=np.abs(node.codes), scale=np.abs(node.scale), bias=bias)
    if isinstance(node, Affine):
        return replace(node, scale=np.abs(node.scale), shift=np.abs(node.shift))
    if isinstance(node, (LeakyRelu, Clamp)):  # the error in front of it stays, grown by a slope above 1
        scale = np.maximum(node.slope, 1.0) if isinstance(node, LeakyRelu) else np.ones(1)
        common = {key: getattr(node, key) for key in Node.__dataclass_fields__}
        return Affine(scale=scale, shift=np.zeros(1), **common)
    return node
