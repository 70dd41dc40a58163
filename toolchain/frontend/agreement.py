"""Comparison of the integer network with the float32 execution of its QONNX file.

Every quantizer is compared by itself: both sides get the codes that QONNX computed in front of it, so one differing
code does not spread. A code may differ only where the real value lies within float32 rounding of a tie between the two
codes; anything else is a defect of the lowering.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, fields, replace
from math import prod

import numpy as np

from toolchain.errors import VerificationError
from toolchain.frontend.execute import execute_in_parts
from toolchain.frontend.read import ModelFile
from toolchain.ir.blocks import Source, magnitude, narrowest, whole
from toolchain.ir.encode import decode, encode, host_values, predictions
from toolchain.ir.evaluate import needed, values
from toolchain.ir.graph import Graph
from toolchain.ir.live import frame_bytes
from toolchain.ir.ops.model import (
    Affine,
    Clamp,
    Curve,
    LeakyRelu,
    MultiThreshold,
    Quantize,
    RealConv,
    RealMatMul,
    RealMul,
    RealNorm,
    RealSoftmax,
)
from toolchain.ir.ops.node import Node
from toolchain.ir.rounding import Rounding
from toolchain.ir.types import Array, Quantizer
from toolchain.memory import Memory

BATCH = 64
"""Images that run together at most."""

END = ""
"""Stands for the network's outputs among the quantizers' names."""

HELD_BYTES = 4 + 4
"""The bytes kept for a quantized value that later ones are computed from: the float32 number and its code."""

FLOAT32 = 2.0**-24
"""Unit roundoff of float32."""

SLACK = 16
"""Times the bound that an output may be off: sums that follow each other count once in it, and a weight one code off is
thousands of times further."""

TINY = float(np.finfo(np.float32).tiny)
"""The smallest number that float32 has with all its digits."""


Coded = Quantize | MultiThreshold
"""Nodes whose outputs are codes."""


@dataclass(frozen=True)
class Agreement:
    """The share of ``images`` with equal top-1, and how many of the ``codes`` compared differ, all of them at ties.

    ``worst`` is the largest distance of a differing code's value from its tie, relative to the float32 error bound.
    """

    images: int
    top1: float
    codes: int
    mismatches: int
    worst: float
    output_error: float


def compare(model: ModelFile, integer: Graph, images: Array, memory: Memory | None = None) -> Agreement:
    """Compare ``integer`` with the QONNX file on ``images`` (N, H, W, C): uint8 pixels or real values.

    Quantizer after quantizer: what lies between two is computed, compared and freed. As many images run together as
    ``memory`` holds; where one alone is too much the file runs in pieces.

    Raises:
        VerificationError: a difference that float32 rounding does not explain; the quantizer is named.
        UserError: one image wants more than ``memory``.
    """
    memory = memory or Memory()
    comparison = _Comparison(model, integer)
    fixed, taps = comparison.frame_bytes, comparison.tap_bytes
    batch = min(BATCH, memory.room // (fixed + taps))
    memory.frames(fixed, "the comparison with the QONNX file", 1)
    parts = execute_in_parts(
        model.path,
        len(images),
        lambda part: model.layout.from_ir(host_values(integer, images[part])),
        comparison.sizes,
        batch=max(batch, 1),
        room=memory.room - fixed,
    )
    found = [comparison.run(images[part], tensors) for part, tensors in parts]
    return Agreement(
        images=len(images),
        top1=sum(p.top1 * p.images for p in found) / len(images),
        codes=sum(p.codes for p in found),
        mismatches=sum(p.mismatches for p in found),
        worst=max(p.worst for p in found),
        output_error=max(p.output_error for p in found),
    )


class _Comparison:
    """The facts of a comparison that are the same for all images: the quantizers, and the sources of each."""

    def __init__(self, model: ModelFile, integer: Graph) -> None:
        self.model, self.integer = model, integer
        self.by_tensor: dict[str, list[Coded]] = {}
        for node in model.graph.nodes:
            if isinstance(node, Coded):
                self.by_tensor.setdefault(node.tensor, []).append(node)
        coded = {node.output.name for nodes in self.by_tensor.values() for node in nodes}
        self.present = coded & integer.values().keys()
        self.coded = coded
        self.sources = quantized_sources(model, integer)

    @property
    def sizes(self) -> dict[str, int]:
        """Elements of a frame of each tensor to be compared, by ONNX name."""
        return {name: prod(self.model.layouts[name].shape) for name in (*self.by_tensor, *self.model.outputs)}

    @property
    def tap_bytes(self) -> int:
        """Bytes of the float32 tensors of a frame."""
        return sum(self.sizes.values()) * 4

    @property
    def frame_bytes(self) -> int:
        """Bytes of a frame beside those: the values held between quantizers, and the largest step."""
        values, held, most = self.model.graph.values(), dict.fromkeys(self.coded, 0), 0
        order = [node for nodes in self.by_tensor.values() for node in nodes]
        last = {source: i for i, node in enumerate(order) for source in self.sources[node.name]}
        last |= dict.fromkeys(self.sources[END], len(order))
        for i, node in enumerate(order):
            step = 6 * 8 * node.output.size  # codes, differences, what explains them
            step += frame_bytes(self.model.graph, {node.inputs[0]}, self.coded)
            if node.output.name in self.present:
                step += frame_bytes(self.integer, {node.output.name}, self.present)
            most = max(most, sum(held.values()) + step)
            held[node.output.name] = HELD_BYTES * values[node.output.name].size
            for name in self.sources[node.name]:
                if last[name] == i:
                    held[name] = 0
        tail = frame_bytes(self.model.graph, set(self.model.graph.written), self.coded)
        return max(most, frame_bytes(self.integer) + tail + 4 * 8 * sum(value.size for value in self.integer.ends))

    def run(self, images: Array, tensors: Iterable[tuple[str, Array]]) -> Agreement:
        """Compare one part of the images with its ``tensors``."""
        inputs = encode(self.integer, images)
        reals = host_values(self.integer, images)
        given: dict[str, Array] = {}  # QONNX's values, and their codes
        forced: dict[str, Array] = {self.integer.input.name: inputs}
        waiting = Counter(name for sources in self.sources.values() for name in sources)
        codes, mismatches, worst = 0, 0, 0.0
        expected: dict[str, Array] = {}
        alike = np.ones(len(images), dtype=bool)  # images of which no code differs so far
        for name, tensor in tensors:
            for node in self.by_tensor.get(name, ()):
                theirs = self.model.to_ir(name, tensor)
                wrong, ours = self._differences(node, theirs, inputs, forced)
                codes += wrong.size
                if wrong.any():
                    mismatches += int(wrong.sum())
                    alike &= ~wrong.reshape(len(images), -1).any(axis=1)
                    worst = max(worst, self._explain(node, reals, given, theirs, ours, wrong))
                if waiting[node.output.name]:
                    given[node.output.name] = theirs
                    if node.output.name in self.present:
                        found = quantizer_codes(node, theirs)
                        forced[node.output.name] = found.astype(narrowest(magnitude(found)))
                for source in self.sources[node.name]:
                    waiting[source] -= 1
                    if not waiting[source]:
                        given.pop(source, None)
                        forced.pop(source, None)
            if name in self.model.outputs:
                expected[name] = self.model.output_layout(name).to_ir(tensor)
        ends = self._ends(inputs, alike, forced)
        if alike.any():
            self._judge(ends, expected, alike, reals, given)
        top1, error = self._outputs(ends, expected)
        return Agreement(len(images), top1, codes, mismatches, worst, error)

    def _differences(self, node: Coded, theirs: Array, inputs: Array, forced: dict[str, Array]) -> tuple[Array, Array]:
        """Return where the integer network's codes of ``node`` differ from ``theirs``, and those codes."""
        ours = inputs  # where the host applies it
        if node.output.name in self.present:
            ((_, ours),) = values(self.integer, inputs, {node.output.name}, forced)
        return ours != quantizer_codes(node, theirs), ours

    def _ends(self, inputs: Array, alike: Array, forced: dict[str, Array]) -> dict[str, Array]:
        """The output codes: where no code differs those that follow from the last codes, ``forced``."""
        result = {v.name: np.empty((len(inputs), *v.shape), dtype=np.int64) for v in self.integer.ends}
        for images, given in ((alike, forced), (~alike, {})):
            if images.any():
                known = {name: codes[images] for name, codes in given.items()}
                for name, found in values(self.integer, inputs[images], set(result), known):
                    result[name][images] = found
        return result

    def _outputs(self, ours: dict[str, Array], expected: dict[str, Array]) -> tuple[float, float]:
        """The share of images with equal top-1 in every output, and the largest error of the outputs."""
        same: Array | bool = True
        error = 0.0
        for output, name in zip(self.integer.outputs, self.model.outputs, strict=True):
            codes, theirs = ours[output.value], expected[name]
            flat = theirs.reshape(len(theirs), -1)
            classes = flat.argmax(axis=1) if output.decoding is not None else flat[:, 0]
            same &= predictions(output, codes) == classes
            error = max(error, float(np.abs(decode(output, codes) - theirs).max()))
        return float(np.mean(same)), error

    def _judge(
        self,
        ours: dict[str, Array],
        expected: dict[str, Array],
        alike: Array,
        reals: Array,
        given: dict[str, Array],
    ) -> None:
        """Refuse outputs of the images ``alike`` that are further from QONNX's than float32 rounding reaches."""
        source, known = reals[alike].astype(np.float64), {name: value[alike] for name, value in given.items()}
        ends = zip(self.integer.outputs, self.model.graph.outputs, self.model.outputs, strict=True)
        for output, end, name in ends:
            if output.decoding is None:
                continue
            theirs = expected[name][alike].astype(np.float64)
            error = _error_bound(self.model.graph, source, known, end.value) + 4 * FLOAT32 * np.abs(theirs) + TINY
            furthest = float((np.abs(decode(output, ours[output.value][alike]) - theirs) / error).max())
            if furthest > SLACK:
                raise VerificationError(
                    f"output '{output.name}' is up to {furthest:.3g} times further from QONNX's than float32 rounding "
                    "reaches"
                )

    def _explain(
        self, node: Coded, reals: Array, given: dict[str, Array], theirs: Array, ours: Array, wrong: Array
    ) -> float:
        """The largest distance from a tie, relative to the float32 error bound, among the differing codes."""
        graph, tap = self.model.graph, node.inputs[0]
        source = reals.astype(np.float64)
        ((_, value),) = values(graph, source, {tap}, {name: v.astype(np.float64) for name, v in given.items()})
        at = np.nonzero(wrong)
        value = value[at]
        error = _error_bound(graph, source, given, tap)[at]
        mine, codes = ours[at].astype(np.int64), quantizer_codes(node, theirs)[at]
        if isinstance(node, MultiThreshold):
            relative = _from_thresholds(node, at[-1], mine, codes, value, error)
        else:
            scale = np.broadcast_to(np.asarray(node.quantizer.scale), wrong.shape)[at]
            relative = _from_tie(node.quantizer, mine, codes, value / scale, error / scale)
        if relative.max() > 1.0:
            raise VerificationError(
                f"quantizer {node.name} (ONNX {', '.join(node.origin)}): {int(wrong.sum())} codes differ from QONNX, "
                f"up to {relative.max():.3g} times further from a tie than float32 rounding reaches"
            )
        return float(relative.max())


def quantized_sources(model: ModelFile, integer: Graph) -> dict[str, set[str]]:
    """Return, by each quantizer's name, the quantized values from which either graph computes it.

    The entry ``END`` holds those that the integer network's outputs are computed from.
    """
    quantizers = [node for node in model.graph.nodes if isinstance(node, Coded)]
    coded = {node.output.name for node in quantizers}
    present = coded & integer.values().keys()
    found = {}
    for node in quantizers:
        nodes = needed(model.graph.nodes, {node.inputs[0]}, coded)
        if node.output.name in present:
            nodes += needed(integer.nodes, {node.output.name}, present)
        found[node.name] = {name for n in nodes for name in n.inputs if name in coded}
    ends = needed(integer.nodes, integer.written, present) + needed(model.graph.nodes, model.graph.written, coded)
    found[END] = {name for n in ends for name in n.inputs if name in coded} | coded.intersection(model.graph.written)
    return found


def quantizer_codes(node: Coded, values: Array) -> Array:
    """The codes (int64) of real ``values`` that the quantizer ``node`` put out."""
    if isinstance(node, MultiThreshold):
        _, _, start, step = node.coding
        return start + step * np.rint((values - node.bias) / node.scale).astype(np.int64)
    quantizer = node.quantizer
    scale = np.asarray(quantizer.unit, dtype=np.float64)
    return np.rint(values / scale).astype(np.int64) + quantizer.zero_point


def _from_tie(quantizer: Quantizer, mine: Array, theirs: Array, value: Array, error: Array) -> Array:
    """Return the distance of ``value`` from the tie between two codes over its error; both are in quantizer steps."""
    position = value + quantizer.zero_point
    tie = (mine + theirs) / 2
    if quantizer.bipolar:  # a sign changes at 0 in every rounding mode
        tie = np.zeros(len(mine))
    elif quantizer.rounding is Rounding.FLOOR:
        tie = np.maximum(mine, theirs)
    elif quantizer.rounding is Rounding.CEIL:
        tie = np.minimum(mine, theirs)
    apart = (np.abs(mine - theirs) > 1) & (not quantizer.bipolar)
    distance = np.where(apart, np.abs(mine - theirs), np.abs(position - tie))
    return np.asarray(distance / (error + FLOAT32 * np.abs(position) * 4))


def _from_thresholds(
    node: MultiThreshold, channels: Array, mine: Array, theirs: Array, value: Array, error: Array
) -> Array:
    """Return the distance of ``value`` from the furthest threshold between two codes, relative to its error."""
    _, _, start, step = node.coding
    low, high = ((codes - start) // step for codes in (np.minimum(mine, theirs), np.maximum(mine, theirs)))
    rows = channels if len(node.thresholds) > 1 else np.zeros_like(channels)
    ends = node.thresholds[rows, low], node.thresholds[rows, high - 1]
    distance = np.maximum(*(np.abs(value - end) for end in ends))
    return np.asarray(distance / (error + FLOAT32 * np.abs(value) * 4))


def _error_bound(graph: Graph, reals: Array, given: dict[str, Array], tap: str) -> Array:
    """Bound of the float32 error of the value ``tap``, when the values in ``given`` are exact.

    A sum of n products is off by at most (n + 1) * 2**-24 times the sum of their magnitudes, in any order (Higham,
    Accuracy and Stability, 3.1); each further operation adds one roundoff. Magnitudes come from the same graph with all
    numbers made positive, and the longest sum between two quantizers counts for every value.
    """
    longest = max((n.codes[0].size for n in graph.nodes if isinstance(n, RealConv)), default=1)
    nodes = needed(graph.nodes, {tap}, given)
    norms = [node for node in nodes if isinstance(node, RealNorm | RealSoftmax)]
    shapes = graph.values()
    sums = [node.inputs[0] for node in nodes if isinstance(node, RealNorm | RealSoftmax | RealMatMul)]
    longest = max(longest, *(shapes[name].shape[2] for name in sums), 1)
    read = dict(values(graph, reals, {node.inputs[0] for node in norms}, given)) if norms else {}
    between = graph.with_nodes(
        _NormError.of(node, read[node.inputs[0]]) if isinstance(node, RealNorm | RealSoftmax) else _positive(node)
        for node in nodes
    )
    products = sum(isinstance(n, RealMul | RealMatMul) for n in nodes)  # the relative errors of two factors add up
    ((_, magnitudes),) = values(
        between, np.abs(reals), {tap}, {name: np.abs(value.astype(np.float64)) for name, value in given.items()}
    )
    return np.asarray(magnitudes * (longest + 8) * FLOAT32 * 2.0**products)


@dataclass(frozen=True, kw_only=True, eq=False)
class _NormError(Node):
    """The error of a norm or softmax from that of what it reads, both relative to float32's; it read ``values``.

    That of a channel's distance from the mean is the channel's and the mean's. That of the variance is at most four
    times the mean square of what is read, also where it is computed as that less the square of the mean. A share of a
    softmax is off by a factor of the largest error of its head, twice, and by that of a few roundings.
    """

    node: RealNorm | RealSoftmax
    values: Array

    @classmethod
    def of(cls, node: RealNorm | RealSoftmax, values: Array) -> Node:
        """Make the node that computes the error of ``node`` on ``values``."""
        common = {field.name: getattr(node, field.name) for field in fields(Node)}
        return cls(node=node, values=values.astype(np.float64), **common)

    def compute(self, *inputs: Source) -> Source:
        """Evaluate all frames at once."""
        return self.evaluate(*map(whole, inputs))

    def evaluate(self, x: Array) -> Array:
        """Return the output's errors, relative to float32's, for those of the input, ``x``."""
        if isinstance(self.node, RealSoftmax):
            parts = x.reshape(*x.shape[:3], self.node.heads, -1)
            most = np.broadcast_to(parts.max(axis=-1, keepdims=True), parts.shape).reshape(x.shape)
            return np.asarray(self.node.evaluate(self.values) * (2 * most + 8))
        centred = self.node.centred
        apart = self.values - self.values.mean(axis=-1, keepdims=True) if centred else self.values
        variance = (apart * apart).mean(axis=-1, keepdims=True) + self.node.epsilon
        distance = x + 3 * x.mean(axis=-1, keepdims=True) if centred else x
        relative = 4 * (x * x).mean(axis=-1, keepdims=True) / variance + 2
        return np.asarray((distance + np.abs(apart) * relative) / np.sqrt(variance))


def _positive(node: Node) -> Node:
    if isinstance(node, RealConv):
        bias = None if node.bias is None else np.abs(node.bias)
        return replace(node, codes=np.abs(node.codes), scale=np.abs(node.scale), bias=bias)
    if isinstance(node, Affine):
        return replace(node, scale=np.abs(node.scale), shift=np.abs(node.shift) if node.summed is None else node.summed)
    if isinstance(node, Curve):  # twice: the error in front of it, and its own
        slope, size = (
            np.array([2 * bound(node.alpha, node.beta)]) for bound in (node.function.slope, node.function.size)
        )
        return Affine(scale=slope, shift=size, **{field.name: getattr(node, field.name) for field in fields(Node)})
    if isinstance(node, (LeakyRelu, Clamp)):  # the error in front of it stays, grown by a slope above 1
        scale = np.maximum(node.slope, 1.0) if isinstance(node, LeakyRelu) else np.ones(1)
        common = {field.name: getattr(node, field.name) for field in fields(Node)}
        return Affine(scale=scale, shift=np.zeros(1), **common)
    return node
