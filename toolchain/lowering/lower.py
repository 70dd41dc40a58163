"""MODEL -> INTEGER: replace real arithmetic by integer arithmetic that is equal to it.

Each real value is followed as scaled integers (``scaled.py``); convolutions become integer products
(``lower_spatial.py``), quantizers become proven requantizers (``requantizer_node.py``), and what is left at the output
becomes the host's decoding.
"""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from math import isinf

from toolchain.boards import load_board
from toolchain.errors import UserError
from toolchain.ir.encode import input_quantizer
from toolchain.ir.evaluate import needed
from toolchain.ir.graph import Graph, Output
from toolchain.ir.ops.argmax import ArgMax
from toolchain.ir.ops.maps import Reshape
from toolchain.ir.ops.model import Affine, Clamp, LeakyRelu, MultiThreshold, Quantize, RealAdd, RealExtreme, Relu
from toolchain.ir.ops.node import Node
from toolchain.ir.types import UNIT_PIXEL, Decoding, Encoding, QInt, Real, Value
from toolchain.lowering import lower_maps, lower_norm, lower_product, lower_softmax, lower_spatial, lower_thresholds  # noqa: F401  they register what they lower
from toolchain.lowering.add_terms import combine
from toolchain.lowering.curves import curved, lower_curved, unquantized
from toolchain.lowering.definition import make_requantizer, value_of
from toolchain.lowering.extremes import extreme, extreme_codes, waits
from toolchain.lowering.ramps import ramp_sum, unquantized_ramp
from toolchain.lowering.requantizer_node import TooManyCodes, requantizer_node
from toolchain.lowering.scaled import Numbers, Scaled, Term, affine, clamp, fractions, leaky, settle, zipped
from toolchain.lowering.state import (
    Blamed,
    Lowering,
    TooWide,
    even,
    lower_node,
    merged,
    placed,
    rearranged,
    single,
    where,
)

PIXELS = Encoding(UNIT_PIXEL)


def lower(graph: Graph, encoding: Encoding = PIXELS, lut_per_dsp: int | None = None) -> Graph:
    """The INTEGER graph equal to the MODEL-level ``graph``; ``encoding`` is what the host makes of its input.

    An ``encoding`` without a quantizer takes over the one of ``graph`` that all readers of the input share. The integer
    value behind each Quantize keeps that node's value name, and holds its codes. Raises UserError, naming the node, for
    what integers cannot express exactly.

    Of two exact ways to compute a node the cheaper one is taken: a DSP slice costs ``lut_per_dsp`` LUTs, as on the
    default board where that is not told.
    """
    state = Lowering(lut_per_dsp or load_board().lut_per_dsp)
    source, encoding = _start(graph, encoding, state)
    for node in graph.nodes:
        _lower_next(graph, encoding, node, state)
    ends = {name: _end(graph, name, state) for name in graph.written}
    outputs = tuple(_output(output.name, ends[output.value], state) for output in graph.outputs)
    nodes = needed(state.nodes, {output.value for output in outputs})  # convolutions may have read around a Concat
    return Graph(graph.name, source, tuple(nodes), outputs, encoding)


def _output(name: str, end: Scaled, state: Lowering) -> Output:
    """The output called ``name`` that puts ``end`` out."""
    (term,) = end.terms
    made = next((node for node in state.nodes if node.outputs[0].name == term.value.name), None)
    return Output(name, term.value.name, None if isinstance(made, ArgMax) else Decoding(term.scale, end.offset))


def refusals(graph: Graph, encoding: Encoding = PIXELS) -> dict[str, UserError]:
    """Return why ``lower`` refuses nodes of ``graph``, by node name in their order; what it raises comes first.

    Behind a refused node the work goes on as if a quantizer of 8 bits stood there; outputs are judged behind all nodes.
    """
    state = Lowering(load_board().lut_per_dsp)  # the same nodes are refused at every price
    _, encoding = _start(graph, encoding, state)
    found: dict[str, UserError] = {}
    for node in graph.nodes:
        try:
            _lower_next(graph, encoding, node, state)
        except UserError as error:
            found.setdefault(error.node.name if isinstance(error, Blamed) else node.name, error)
            kind = QInt(8, True)
            value = Value(node.output.name, node.output.shape, kind)
            codes = Term(value, (Fraction(1),), kind.min, kind.max)
            state.reals[node.output.name] = Scaled((codes,), (Fraction(0),))
    for name in graph.written:
        try:
            _end(graph, name, state)
        except UserError as error:
            found.setdefault(error.node.name if isinstance(error, Blamed) else graph.producers()[name].name, error)
    return found


def _lower_next(graph: Graph, encoding: Encoding, node: Node, state: Lowering) -> None:
    """Lower ``node``, whose inputs are, unless the host applies it."""
    if not _by_host(graph, encoding, node, state):
        try:
            if ramp_sum(node, state) or (isinstance(node, RealExtreme) and waits(graph, node, state)):
                return
            if curved(node, state):
                lower_curved(node, state)
            elif isinstance(node, Quantize) and node.inputs[0] in state.extremes:
                state.reals[node.output.name] = value_of(node.quantizer, extreme_codes(node, state, _requantized))
            else:
                state.reals[node.output.name] = _lowered(node, state)
        except TooWide as error:
            raise _blamed(graph, node) or error from error


def _blamed(graph: Graph, node: Node) -> Blamed | None:
    """Return the fault of channels that were scaled apart before ``node``, if they make its integers too wide."""
    producers, names = graph.producers(), list(node.inputs)
    while names:
        name = names.pop()
        made = producers.get(name)
        if made is None or isinstance(made, Quantize | MultiThreshold):
            continue
        if isinstance(made, Affine) and len(set(made.scale.tolist())) > 1:
            pixels = made.inputs[0] == graph.input.name
            other = ", or state the pixels' scale and offset in the model's metadata entry fpgaflow.input"
            return Blamed(
                f"it scales channels apart, by factors whose common unit takes more than 62 bits at {node.name}",
                made,
                hint=f"quantize what it gives{other if pixels else ''}",
            )
        names += made.inputs
    return None


def _end(graph: Graph, output: str, state: Lowering) -> Scaled:
    """The value ``output`` of the network as one integer value without a clamp."""
    node = graph.producers()[output]
    if output in state.curves:
        raise unquantized(state.curves[output])
    if output in state.ramps:
        raise unquantized_ramp(state.ramps[output])
    return single(state, node, placed(state, node, state.reals[output]))


def _start(graph: Graph, encoding: Encoding, state: Lowering) -> tuple[Value, Encoding]:
    """Define the integers of the input; returns them, and ``encoding`` with the quantizer that the host applies."""
    state.names = graph.names()
    encoding = replace(encoding, quantizer=encoding.quantizer or input_quantizer(graph))
    quantizer, given = encoding.quantizer, encoding.input
    source = Value(graph.input.name, graph.input.shape, given.type if quantizer is None else quantizer.type)
    codes = Term(source, given.scale, encoding.low, encoding.high)
    value = Scaled((codes,), given.offset) if quantizer is None else value_of(quantizer, codes)
    state.reals[graph.input.name] = value
    return source, encoding


def _lowered(node: Node, state: Lowering) -> Scaled:
    """Lower ``node`` and return its value; all but elementwise operations read inputs rearranged by their views."""
    inputs = [state.reals[name] for name in node.inputs]
    if isinstance(node, Reshape) and _flattens(node, inputs[0]):
        return replace(inputs[0], view=None)
    if not isinstance(node, Affine | Relu | Clamp | LeakyRelu | Quantize):
        inputs = [placed(state, node, x) for x in inputs]
    return lower_node(node, state, *inputs)


def _flattens(node: Reshape, x: Scaled) -> bool:
    """Return whether ``node`` undoes the view of ``x``, a vector seen as positions in its order."""
    return x.view is not None and not x.view.channels_first and x.shape == node.output.shape and x.shape[:2] == (1, 1)


def _by_host(graph: Graph, encoding: Encoding, node: Node, state: Lowering) -> bool:
    """Return whether ``node`` is the input's quantizer, which the host applies; its codes are then the input's."""
    if not isinstance(node, Quantize) or node.inputs != (graph.input.name,) or node.quantizer != encoding.quantizer:
        return False
    state.reals[node.output.name] = state.reals[graph.input.name]
    return True


@lower_node.register
def _(node: Affine, state: Lowering, x: Scaled) -> Scaled:
    return affine(x, x.seen(fractions(node.scale)), x.seen(fractions(node.shift)))


@lower_node.register
def _(node: Relu, state: Lowering, x: Scaled) -> Scaled:
    return clamp(x, Fraction(0), None)


@lower_node.register
def _(node: Clamp, state: Lowering, x: Scaled) -> Scaled:
    low, high = (None if isinf(bound) else Fraction(bound) for bound in (node.low, node.high))
    return clamp(x, low, high)


@lower_node.register
def _(node: LeakyRelu, state: Lowering, x: Scaled) -> Scaled:
    bent = leaky(x, x.seen(fractions(node.slope)))
    if bent is None:
        raise UserError(
            "a leaky ReLU of a leaky ReLU", where=where(node), hint="put an activation quantizer between them"
        )
    return bent


@lower_node.register
def _(node: RealAdd, state: Lowering, x: Scaled, y: Scaled) -> Scaled:
    parts = [settle(part) for part in (x, y)]
    parts = [single(state, node, p) if len(p.terms) > 1 or not p.plain else p for p in parts]
    a, b = parts
    return Scaled(a.terms + b.terms, zipped(lambda s, t: s + t, a.offset, b.offset))


@lower_node.register
def _(node: RealExtreme, state: Lowering, x: Scaled, y: Scaled) -> Scaled:
    return extreme(node, state, x, y)


@lower_node.register
def _(node: Quantize, state: Lowering, x: Scaled) -> Scaled:
    """Append the requantizer, then the view of ``x``: behind it channels that make one channel share its scale."""
    quantizer, view = node.quantizer, x.view
    if view is None:
        return value_of(quantizer, _requantized(node, state, x))
    name = state.names.fresh(f"{node.name}_codes")
    value = Value(state.names.fresh(f"{name}_out"), x.shape, Real())
    own = replace(quantizer, scale=x.seen(quantizer.scale), step=x.seen(quantizer.step))
    before = replace(node, name=name, outputs=(value,), quantizer=own)
    codes = _requantized(before, state, replace(x, view=None))
    return value_of(quantizer, rearranged(state, node, view, codes))


def _requantized(node: Quantize, state: Lowering, x: Scaled) -> Term:
    """The codes of the quantizer ``node``, proven."""
    x = settle(x)
    quantizer = node.quantizer
    if quantizer.grid > 1:
        x = _on_grid(node, x)
    if len(x.terms) > 1:
        total = combine(node, x, state)
        if total is not None:
            return total
        x = merged(state, node, x)
    term = x.terms[0]
    requantizer = make_requantizer(quantizer, term.scale, x)
    value = Value(node.output.name, node.output.shape, quantizer.type)
    common = {"name": node.name, "inputs": (term.value.name,), "outputs": (value,), "origin": node.origin}
    try:
        found = requantizer_node(
            requantizer, term.low, term.high, term.value.qint.bits, lut_per_dsp=state.lut_per_dsp, **common
        )
    except TooManyCodes as error:
        raise UserError(str(error), where=where(node), hint=f"quantize it with at most {error.bits} bits") from error
    return state.append(found, (term,))


def _on_grid(node: Quantize, x: Scaled) -> Scaled:
    """A Trunc rounds twice: ``x`` with the multiples of the input scale that the first time makes of its numbers.

    Averages of nine are no multiples of a float32 ninth, but so near that each rounds to the same multiple as its sum.
    """
    fine = tuple(s / node.quantizer.grid for s in fractions(node.quantizer.scale))

    def nearest(values: Numbers) -> Numbers:
        return zipped(lambda v, s: round(v / s) * s, values, fine)

    found = replace(
        x,
        terms=tuple(replace(t, scale=nearest(t.scale)) for t in x.terms),
        offset=nearest(x.offset),
        floor=zipped(lambda v, s: None if v is None else round(v / s) * s, x.floor, fine),
        ceiling=zipped(lambda v, s: None if v is None else round(v / s) * s, x.ceiling, fine),
    )
    moved = zipped(lambda v, w: abs(v - w), x.offset, found.offset)
    for before, after in zip(x.terms, found.terms, strict=True):
        error = zipped(lambda v, w: abs(v - w), before.scale, after.scale)
        largest = max(abs(before.low), abs(before.high))
        moved = zipped(lambda m, e, c=largest: m + e * c, moved, error)  # type: ignore[misc]
    if x.bent or any(zipped(lambda m, s: 2 * m >= s, moved, fine)):
        raise UserError(
            "a Trunc of values that are no multiples of its scale", where=where(node), hint="use a Quant node"
        )
    return found


@lower_node.register
def _(node: ArgMax, state: Lowering, x: Scaled) -> Scaled:
    x = even(state, node, single(state, node, x), rising=True)
    index = state.emit(ArgMax, node, x.terms, (1, 1, 1), last=node.last)
    return Scaled((Term(index.value, (Fraction(1),), index.low, index.high),), (Fraction(0),))
