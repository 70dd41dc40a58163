"""MODEL -> INTEGER: replace real arithmetic by integer arithmetic that is equal to it.

Each real value is followed as scaled integers (``scaled.py``); convolutions become integer products, quantizers become
proven requantizers (``requantize.py``), and what is left at the output becomes the host's decoding.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction
from functools import singledispatch
from math import gcd, lcm
from typing import Any

import numpy as np

from toolchain.errors import UserError
from toolchain.ir.graph import Graph
from toolchain.ir.model_ops import Affine, Quantize, RealAdd, RealConv, RealPool, Relu
from toolchain.ir.ops import (
    Add,
    ArgMax,
    Array,
    Depthwise,
    GlobalSum,
    MatVec,
    MulShift,
    Node,
    Pool,
    Reshape,
    Window,
)
from toolchain.ir.ranges import output_range
from toolchain.ir.types import Decoding, Encoding, QInt, Quantizer, Value
from toolchain.passes.add_terms import combine
from toolchain.passes.requantize import Requantizer, code_of, requantizer_node
from toolchain.passes.scaled import Numbers, Scaled, Term, affine, fractions, relu, settle, shrink, zipped

PIXEL = QInt(8, False)
UNIT_PIXEL = ((Fraction(1, 255),), (Fraction(0),))
"""Pixel scale and offset assumed for a network that says nothing: pixel / 255."""


@dataclass
class Lowering:
    """State of one run: the integer nodes so far, and the scaled integers of each MODEL value."""

    pixel: tuple[Numbers, Numbers]
    nodes: list[Node] = field(default_factory=list)
    reals: dict[str, Scaled] = field(default_factory=dict)
    decoding: Decoding | None = None

    def emit(
        self, op: type[Node], source: Node, inputs: tuple[Term, ...], shape: tuple[int, int, int], **attributes: Any
    ) -> Term:
        """Append ``op`` for the MODEL node ``source``; returns its output with the range it can take, scale 1.

        ``suffix`` extends the name where ``source`` becomes several nodes.
        """
        name = source.name + attributes.pop("suffix", "")
        value = source.output.name if name == source.name else f"{name}_out"
        node = op(
            name=name,
            inputs=tuple(t.value.name for t in inputs),
            outputs=(Value(value, shape, PIXEL),),
            origin=source.origin,
            **attributes,
        )
        return self.append(node, inputs)

    def append(self, node: Node, inputs: tuple[Term, ...]) -> Term:
        """Append ``node`` with the narrowest output type; returns its output, scale 1."""
        low, high = output_range(node, inputs[0].value.shape, *((t.low, t.high) for t in inputs))
        value = Value(node.output.name, node.output.shape, QInt.holding(low, high))
        record = {key: getattr(node, key) for key in node.__dataclass_fields__} | {"outputs": (value,)}
        self.nodes.append(type(node)(**record))
        return Term(value, (Fraction(1),), low, high)


def lower(graph: Graph, pixel: tuple[Numbers, Numbers] = UNIT_PIXEL) -> Graph:
    """The INTEGER graph equal to the MODEL-level ``graph``; ``pixel`` is scale and offset of the input's pixels.

    The integer value behind each Quantize keeps that node's value name, and holds its codes. Raises UserError, naming
    the node, for what integers cannot express exactly.
    """
    state = Lowering(pixel)
    quantizer = _input_quantizer(graph)
    kind = PIXEL if quantizer is None else quantizer.type
    source = Value(graph.input.name, graph.input.shape, kind)
    low, high = (0, 255) if quantizer is None else (quantizer.low, quantizer.high)
    if quantizer is None:
        scale, offset = pixel
    else:
        scale = fractions(quantizer.scale)
        offset = tuple(-s * quantizer.zero_point for s in scale)
    state.reals[graph.input.name] = Scaled((Term(source, scale, low, high),), offset)
    for node in graph.nodes:
        if quantizer is not None and isinstance(node, Quantize) and node.inputs == (graph.input.name,):
            state.reals[node.output.name] = state.reals[graph.input.name]
            continue
        state.reals[node.output.name] = lower_node(node, state, *(state.reals[name] for name in node.inputs))
    output = _single(state, graph.nodes[-1], state.reals[graph.output])
    if not any(isinstance(node, ArgMax) for node in state.nodes):
        state.decoding = Decoding(output.terms[0].scale, output.offset)
    encoding = Encoding(*pixel, quantizer)
    return Graph(graph.name, source, tuple(state.nodes), output.terms[0].value.name, encoding, state.decoding)


def _input_quantizer(graph: Graph) -> Quantizer | None:
    """The quantizer that all readers of the input share, if it is one the host can apply."""
    readers = graph.consumers()[graph.input.name]
    first = readers[0] if readers else None
    if not isinstance(first, Quantize) or any(
        not isinstance(n, Quantize) or n.quantizer != first.quantizer for n in readers
    ):
        return None
    return first.quantizer


@singledispatch
def lower_node(node: Node, state: Lowering, *inputs: Scaled) -> Scaled:
    """Append the integer nodes of one MODEL node; returns its real value as scaled integers."""
    raise TypeError(f"no lowering for {type(node).__name__}")


def _where(node: Node) -> str:
    return f"{node.name}, ONNX {', '.join(node.origin)}" if node.origin else node.name


def _single(state: Lowering, node: Node, x: Scaled) -> Scaled:
    """``x`` as one integer value without a clamp, adding its terms where there are several."""
    x = settle(x)
    if any(f is not None for f in x.floor) or any(c is not None for c in x.ceiling):
        raise UserError(
            "a ReLU whose result is not quantized", where=_where(node), hint="put an activation quantizer behind it"
        )
    if len(x.terms) == 1:
        return x
    a, b = x.terms
    ratios = set(zipped(lambda s, t: s / t, a.scale, b.scale))
    if len(ratios) > 1:
        raise UserError(
            "adds values whose scales differ by channel", where=_where(node), hint="quantize both with one scale"
        )
    ratio = ratios.pop()
    total = state.emit(
        Add, node, x.terms, a.value.shape, multipliers=(ratio.numerator, ratio.denominator), suffix="_sum"
    )
    scale = tuple(s / ratio.numerator for s in a.scale)
    return Scaled((Term(total.value, scale, total.low, total.high),), x.offset)


def _uniform(values: tuple[Any, ...], node: Node, what: str) -> Any:
    values = shrink(values)
    if len(values) > 1:
        raise UserError(f"{what} differs by channel", where=_where(node), hint="quantize this tensor with one scale")
    return values[0]


@lower_node.register
def _(node: Affine, state: Lowering, x: Scaled) -> Scaled:
    return affine(x, fractions(node.scale), fractions(node.shift))


@lower_node.register
def _(node: Relu, state: Lowering, x: Scaled) -> Scaled:
    return relu(x)


@lower_node.register
def _(node: RealAdd, state: Lowering, x: Scaled, y: Scaled) -> Scaled:
    parts = [settle(part) for part in (x, y)]
    parts = [_single(state, node, p) if len(p.terms) > 1 or any(f is not None for f in p.floor) else p for p in parts]
    a, b = parts
    return Scaled(a.terms + b.terms, zipped(lambda s, t: s + t, a.offset, b.offset))


@lower_node.register
def _(node: Reshape, state: Lowering, x: Scaled) -> Scaled:
    x = _single(state, node, x)
    term = x.terms[0]
    flat = state.emit(Reshape, node, x.terms, (1, 1, term.value.size))
    positions = term.value.shape[0] * term.value.shape[1]

    def spread(numbers: Numbers) -> Numbers:
        return numbers if len(numbers) == 1 else numbers * positions

    return Scaled((Term(flat.value, spread(term.scale), term.low, term.high),), spread(x.offset))


def _zero_code(term: Term, offset: Numbers, node: Node) -> int:
    """The code whose real value is 0, for padding."""
    code = _uniform(zipped(lambda s, o: -o / s, term.scale, offset), node, "the code of zero in front of padding")
    if code.denominator != 1 or not term.value.qint.min <= code <= term.value.qint.max:
        raise UserError(
            "pads with zeros that are no code of the input",
            where=_where(node),
            hint="quantize the input of the convolution, or train with normalize='unit'",
        )
    return int(code)


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
    x = _single(state, node, x)
    outputs, kh, kw, _ = node.codes.shape
    depthwise = node.groups == x.shape[2] == outputs and node.groups > 1
    window, offset = _window(state, node, x, (kh, kw), None)
    weight_scale = fractions(node.scale)
    if depthwise:
        weight: Array = node.codes.reshape(outputs, kh * kw).T.copy()
        acc = state.emit(Depthwise, node, (window,), node.output.shape, weight=weight, weight_type=node.weight_type)
        scale = zipped(lambda s, w: s * w, window.scale, weight_scale)
        constant = zipped(lambda o, w: o * int(w), offset, [int(w) for w in weight.sum(axis=0)])
    else:
        codes = node.codes if node.groups == 1 else _dense(node, x.shape[2])
        weight = codes.reshape(outputs, -1)
        acc = state.emit(MatVec, node, (window,), node.output.shape, weight=weight, weight_type=node.weight_type)
        per_tensor = _uniform(window.scale, node, "the scale of the input")
        scale = tuple(per_tensor * w for w in weight_scale)
        constant = _constant(offset, codes)
    shift = zipped(lambda c, w: c * w, constant, weight_scale)
    if node.bias is not None:
        shift = zipped(lambda a, b: a + b, shift, fractions(node.bias))
    return Scaled((Term(acc.value, shrink(scale), acc.low, acc.high),), shrink(shift))


def _constant(offset: Numbers, codes: Array) -> Numbers:
    """Sum over the taps of ``offset[c] * codes``: what an input offset adds to every output channel."""
    if not any(offset):
        return (Fraction(0),)
    per_input = codes.sum(axis=(1, 2))
    spread = offset * per_input.shape[1] if len(offset) == 1 else offset
    return tuple(sum((o * int(w) for o, w in zip(spread, row, strict=True)), Fraction(0)) for row in per_input)


def _dense(node: RealConv, channels: int) -> Array:
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
    x = _single(state, node, x)
    term = x.terms[0]
    if node.kernel == term.value.shape[:2] and not any(node.pads):
        total = state.emit(GlobalSum, node, (term,), node.output.shape)
    else:
        window, _ = _window(state, node, x, node.kernel, None)
        taps = node.kernel[0] * node.kernel[1]
        total = state.emit(Pool, node, (window,), node.output.shape, kind="sum", taps=taps)
    count = node.kernel[0] * node.kernel[1]
    scale = tuple(s / count for s in term.scale)
    return Scaled((Term(total.value, scale, total.low, total.high),), x.offset)


def _max_pool(node: RealPool, state: Lowering, x: Scaled) -> Scaled:
    """max commutes with a rising clamp; where a scale is negative, the sign moves into the integer first."""
    if len(x.terms) > 1:
        x = _single(state, node, x)
    term = x.terms[0]
    if any(s < 0 for s in term.scale):
        signs = np.array([1 if s > 0 else -1 for s in term.scale], dtype=np.int64)
        reach = max(abs(term.low), abs(term.high))
        flipped = state.emit(
            MulShift,
            node,
            (term,),
            term.value.shape,
            suffix="_sign",
            mul=signs,
            add=np.zeros_like(signs),
            shift=0,
            low=-reach,
            high=reach,
        )
        term = Term(flipped.value, tuple(abs(s) for s in term.scale), flipped.low, flipped.high)
    window, _ = _window(state, node, Scaled((term,), x.offset), node.kernel, term.value.qint.min)
    taps = node.kernel[0] * node.kernel[1]
    out = state.emit(Pool, node, (window,), node.output.shape, kind="max", taps=taps)
    return Scaled((Term(out.value, term.scale, out.low, out.high),), x.offset, x.floor, x.ceiling)


@lower_node.register
def _(node: Quantize, state: Lowering, x: Scaled) -> Scaled:
    x = settle(x)
    quantizer = node.quantizer
    step = fractions(quantizer.scale)
    if len(x.terms) > 1:
        total = combine(node, x, step, state.append)
        if total is not None:
            return _codes(quantizer, step, total)
        x = Scaled(_single(state, node, Scaled(x.terms, x.offset)).terms, x.offset, x.floor, x.ceiling)
    term = x.terms[0]
    requantizer = make_requantizer(quantizer, term.scale, x)
    value = Value(node.output.name, node.output.shape, quantizer.type)
    common = {"name": node.name, "inputs": (term.value.name,), "outputs": (value,), "origin": node.origin}
    return _codes(
        quantizer,
        step,
        state.append(requantizer_node(requantizer, term.low, term.high, term.value.qint.bits, **common), (term,)),
    )


def _codes(quantizer: Quantizer, step: Numbers, codes: Term) -> Scaled:
    offset = tuple(-s * quantizer.zero_point for s in step)
    return Scaled((Term(codes.value, step, codes.low, codes.high),), offset)


def make_requantizer(quantizer: Quantizer, scale: Numbers, x: Scaled) -> Requantizer:
    """The staircase from the integer q of ``x = scale * q + offset``, clamped, to the quantizer's code."""
    step = fractions(quantizer.scale)
    zero = Fraction(quantizer.zero_point)
    slope = zipped(lambda s, t: s / t, scale, step)
    offset = zipped(lambda o, t: o / t + zero, x.offset, step)
    floor = zipped(lambda f, t: None if f is None else f / t + zero, x.floor, step)
    ceiling = zipped(lambda c, t: None if c is None else c / t + zero, x.ceiling, step)
    size = max(len(slope), len(offset), len(floor), len(ceiling))
    slope, offset = (v if len(v) == size else v * size for v in (slope, offset))
    floor, ceiling = (v if len(v) == size else v * size for v in (floor, ceiling))

    def code(limit: Fraction | None, default: int) -> int:
        if limit is None:
            return default
        if quantizer.bipolar:
            return 1 if limit >= 0 else -1
        return code_of(*limit.as_integer_ratio(), quantizer.low, quantizer.high, quantizer.rounding)

    floors = tuple(code(f, quantizer.low) for f in floor)
    ceilings = tuple(code(c, quantizer.high) for c in ceiling)
    low, high = (quantizer.low, quantizer.high) if quantizer.bipolar else (min(floors), max(ceilings))
    return Requantizer(slope, offset, low, high, quantizer.rounding, quantizer.bipolar, floors, ceilings)


@lower_node.register
def _(node: ArgMax, state: Lowering, x: Scaled) -> Scaled:
    x = _single(state, node, x)
    term = x.terms[0]
    if len(shrink(term.scale)) > 1 or len(shrink(x.offset)) > 1 or term.scale[0] < 0:
        unit = Fraction(1, lcm(*(f.denominator for f in (*term.scale, *x.offset))))
        mul, add = ([int(f / unit) for f in numbers] for numbers in (term.scale, x.offset))
        common = gcd(*mul, *add) or 1
        reach = max(abs(m) for m in mul) * max(abs(term.low), abs(term.high)) + max(abs(a) for a in add)
        if reach // common >= 1 << 62:
            raise UserError(
                "argmax over channels whose scales share no unit of 62 bits",
                where=_where(node),
                hint="remove the argmax: the host takes it from the decoded outputs",
            )
        arrays = {k: np.array(v, dtype=np.int64) // common for k, v in (("mul", mul), ("add", add))}
        limit = reach // common
        term = state.emit(
            MulShift, node, (term,), term.value.shape, suffix="_align", shift=0, low=-limit, high=limit, **arrays
        )
    index = state.emit(ArgMax, node, (term,), (1, 1, 1))
    return Scaled((Term(index.value, (Fraction(1),), index.low, index.high),), (Fraction(0),))
