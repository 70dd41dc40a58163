"""INTEGER graph to passes of the engine: convolution, window and sum of branches fused where one reads the other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from toolchain.engine.layers import Convolution, Cut, Merge, Pass, Requant, Sliding
from toolchain.engine.limits import line_bits, too_wide
from toolchain.engine.shape import LINE_BITS
from toolchain.errors import UserError
from toolchain.ir.graph import Graph
from toolchain.ir.ops.add import Add
from toolchain.ir.ops.argmax import ArgMax
from toolchain.ir.ops.node import Node
from toolchain.ir.ops.pools import GlobalSum, Pool
from toolchain.ir.ops.products import Depthwise, MatVec
from toolchain.ir.ops.requantizers import MulShift
from toolchain.ir.ops.window import Window
from toolchain.ir.types import Array, Value
from toolchain.passes.plain_forms import plain_forms

UNQUANTIZED = "its sums are not quantized by multiply and shift"

WIDEST_CODE = 8
"""Bits of the widest stored code."""


def cut(graph: Graph, *, fuse: bool = True) -> Cut:
    """The passes of ``graph`` in order.

    The first convolution's windows are laid out by the host when it alone reads an input of few channels: a 7 x 7 x 3
    kernel then is one of 1 x 1 x 147, since words of channels would be mostly empty otherwise.

    Args:
        fuse: put a window or a sum of branches into the pass of the convolution that it reads.

    Raises:
        UserError: a node that no unit of the engine runs.
    """
    return _Cutter(graph, fuse).run()


def refusals(graph: Graph) -> list[tuple[str, str]]:
    """Every node that the engine cannot run and why."""
    cutter = _Cutter(graph, fuse=True)
    cutter.passes()
    found = cutter.refused
    if not found:
        try:
            cut(graph)
        except UserError as error:
            found = [error]
    return list(dict.fromkeys((error.where, error.what) for error in found))


FOLDED_CHANNELS = 4
"""Inputs of at most so many channels have their windows laid out by the host."""


@dataclass
class _Cutter:
    """The graph's structure, and the stored values by name: a Reshape names its source."""

    graph: Graph
    fuse: bool

    def __post_init__(self) -> None:
        self.graph = plain_forms(self.graph)
        self.values = self.graph.values()
        self.readers = self.graph.consumers()
        self.alias: dict[str, str] = {}
        self.done: set[str] = set()
        self.folded = False
        self.refused: list[UserError] = []

    def run(self) -> Cut:
        """See ``cut``."""
        passes = self.passes()
        if self.refused:
            raise self.refused[0]
        bits = 4 if max(value.qint.bits for value in self._codes()) <= 4 else WIDEST_CODE  # words fill memory beats
        found = Cut(tuple(_Coder(self.values, bits).coded(p) for p in passes), self.folded, bits)
        wide = too_wide(found)
        if wide is not None:
            raise wide
        return found

    def passes(self) -> list[Pass]:
        """The passes on the graph's own codes; what has none is in ``refused``."""
        nodes, outputs = list(self.graph.nodes), self.graph.outputs
        if len(outputs) > 1:
            names = ", ".join(f"'{output.name}'" for output in outputs)
            self.refused.append(UserError(f"the engine puts out one map, the network {len(outputs)}: {names}"))
            return []
        output = self.graph.output
        if nodes and isinstance(nodes[-1], ArgMax):  # the host takes it
            output = nodes[-1].inputs[0]
            nodes = nodes[:-1]
        for value in self._codes():
            if value.qint.bits > WIDEST_CODE:
                self.refused.append(_too_wide(self.graph.producers().get(value.name), value))
        passes: list[Pass] = []
        for node in nodes:
            if node.name in self.done:
                continue
            self.done.add(node.name)
            if node.renames:
                self.alias[node.output.name] = self._stored(node.inputs[0])
                continue
            try:
                passes.append(self._pass(node, output))
            except UserError as error:
                self.refused.append(error)
        return passes

    def _codes(self) -> list[Value]:
        """The values that are stored."""
        return [self.graph.input, *(node.output for node in self.graph.nodes if isinstance(node, MulShift))]

    def _stored(self, name: str) -> str:
        return self.alias.get(name, name)

    def _pass(self, node: Node, output: str) -> Pass:
        """The pass that begins with ``node``, which is not done yet."""
        source = self.values[node.inputs[0]]
        conv, value = None, source
        first = None
        raw = False
        shape = source.shape
        if isinstance(node, Window) and isinstance(after := self._only_reader(node.output), MatVec):
            shape, conv = self._convolution(node, after)
            self.done.add(after.name)
            value, first = self._requant(after.output)
        elif isinstance(node, MatVec):
            shape, conv = self._dense(node)
            value, first = self._requant(node.output)
        raw = conv is not None and first is None
        if raw and value.name != output:
            raise _refused(node, UNQUANTIZED)
        middle = value.shape
        window, second = None, None
        if not raw:
            value, window, second = self._window(value, node, alone=conv is None)
        merge = None
        if not raw:
            value, merge = self._merge(value, node, alone=conv is None and window is None)
        if conv is None and window is None and merge is None:
            raise _refused(node, "no unit of the engine runs it")
        return Pass(
            name=node.origin[0] if node.origin else node.name,
            source=self._stored(source.name),
            result=value.name,
            shape=shape,
            middle=middle if conv is not None else source.shape,
            out=value.shape,
            conv=conv,
            first=first,
            window=window,
            second=second,
            merge=merge,
            raw=raw,
        )

    def _only_reader(self, value: Value) -> Node | None:
        readers = self.readers[value.name]
        return readers[0] if len(readers) == 1 and value.name != self.graph.output else None

    def _convolution(self, node: Window, product: MatVec) -> tuple[tuple[int, int, int], Convolution]:
        source = self.values[node.inputs[0]]
        alone = source.name == self.graph.input.name and len(self.readers[source.name]) == 1
        if alone and source.shape[2] <= FOLDED_CHANNELS:
            self.folded = True
            weight = product.weight.reshape(len(product.weight), 1, 1, -1)
            return (*node.output.shape[:2], weight.shape[3]), Convolution(weight)
        weight = product.weight.reshape(len(product.weight), *node.kernel, source.shape[2])
        return source.shape, Convolution(weight, node.stride, node.pads, node.pad_value, node.dilation)

    def _dense(self, node: MatVec) -> tuple[tuple[int, int, int], Convolution]:
        """A product at every position; over a flattened map, a convolution as large as the map."""
        source = self.values[node.inputs[0]]
        shape = self.values[self._stored(source.name)].shape
        if shape == source.shape or shape[:2] == (1, 1):
            weight = node.weight.reshape(len(node.weight), 1, 1, -1)
            return source.shape, Convolution(weight)
        return shape, Convolution(node.weight.reshape(len(node.weight), *shape))

    def _requant(self, value: Value) -> tuple[Value, Requant | None]:
        """The MulShift that alone reads ``value``, taken, or nothing."""
        node = self._only_reader(value)
        if not isinstance(node, MulShift):
            return value, None
        self.done.add(node.name)
        return node.output, self._taken(node, value)

    def _taken(self, node: MulShift, value: Value) -> Requant:
        """``node``, which reads ``value``, as a requantizer of the engine."""
        bits = line_bits(node, value.qint)
        if bits > LINE_BITS - 2 or node.base.any():  # two bits for codes without signs
            raise _refused(node, f"its products have {bits} bits, {LINE_BITS - 2} are added at once")
        channels = value.shape[2]
        mul, add = (np.broadcast_to(v, (channels,)).astype(np.int64) for v in (node.mul, node.add))
        kind = node.output.qint  # holds every code, so a clip beyond it never acts, and the pass table need not hold it
        low, high = max(node.low, kind.min), min(node.high, kind.max)
        return Requant(mul, add, node.shift, low, high, kind.signed)

    def _window(self, value: Value, node: Node, *, alone: bool) -> tuple[Value, Sliding | None, Requant | None]:
        """The window unit's work behind ``value``; ``alone``: ``node`` itself is it."""
        start = node if alone else self._only_reader(value) if self.fuse else None
        if isinstance(start, GlobalSum):
            self.done.add(start.name)
            found, second = self._requant(start.output)
            if second is None:
                raise _refused(start, UNQUANTIZED)
            return found, Sliding("global_sum"), second
        if not isinstance(start, Window):
            return value, None, None
        unit = self._only_reader(start.output)
        if not isinstance(unit, (Depthwise, Pool)):
            if alone:
                raise _refused(start, "no unit of the engine reduces it")
            return value, None, None
        _check_window(start)
        self.done |= {start.name, unit.name}
        kind = "filter" if isinstance(unit, Depthwise) else "largest" if unit.kind == "max" else "sum_of"
        weight = unit.weight if isinstance(unit, Depthwise) else None
        sliding = Sliding(kind, start.kernel[0], start.stride[0], self._pads(start), start.pad_value, weight)
        if kind == "largest":
            return unit.output, sliding, None
        found, second = self._requant(unit.output)
        if second is None:
            raise _refused(unit, UNQUANTIZED)
        return found, sliding, second

    def _pads(self, node: Window) -> tuple[int, int, int, int]:
        """The pads of ``node`` without the rows and columns at the end that no window reaches."""
        shape, (top, left, *_), k, s = self.values[node.inputs[0]].shape, node.pads, node.kernel[0], node.stride[0]
        bottom, right = (
            max(0, (out - 1) * s + k - size - pad)
            for out, size, pad in zip(node.output.shape[:2], shape[:2], (top, left), strict=True)
        )
        return top, left, bottom, right

    def _merge(self, value: Value, node: Node, *, alone: bool) -> tuple[Value, Merge | None]:
        """The sum of ``value`` with a value of an earlier pass; ``alone``: ``node`` itself is it, or codes of codes."""
        start = node if alone else self._only_reader(value) if self.fuse else None
        if (
            alone and isinstance(start, MulShift) and value.qint.bits <= WIDEST_CODE
        ):  # the sum of a map with none of itself
            alike = self._taken(start, value)
            mul, add = _one_line(start, alike, "its factors are not common to all channels")
            return start.output, Merge(self._stored(value.name), mul, 0, add, alike.shift, alike.low, alike.high)
        if not isinstance(start, Add):
            return value, None
        own = start.inputs[0] if alone else value.name
        place = start.inputs.index(own)
        other = start.inputs[1 - place]
        producer = self.graph.producers().get(other)
        if producer is not None and producer.name not in self.done:
            if alone:
                raise _refused(start, "it reads a value of a later node")
            return value, None  # the other branch comes later and takes the sum
        self.done.add(start.name)
        found, requant = self._requant(start.output)
        uncommon = "its sum has no quantizer common to all channels"
        if requant is None or any(len({*v.tolist()}) > 1 for v in start.multipliers):
            raise _refused(start, uncommon)
        mul, add = _one_line(start, requant, uncommon)
        main, rest = (int(start.multipliers[i][0]) * mul for i in (place, 1 - place))
        return found, Merge(self._stored(other), main, rest, add, requant.shift, requant.low, requant.high)


@dataclass(frozen=True)
class _Coder:
    """Turns a pass on the graph's own codes into one on stored codes of ``bits`` bits, all unsigned."""

    values: dict[str, Value]
    bits: int

    def zero(self, signed: bool) -> int:
        """The stored code of 0."""
        return 1 << (self.bits - 1) if signed else 0

    def zero_of(self, name: str) -> int:
        """The stored code of 0 in the value ``name``."""
        return self.zero(self.values[name].qint.signed)

    def coded(self, p: Pass) -> Pass:
        """``p`` on stored codes."""
        zero, conv, first, window, second, merge = self.zero_of(p.source), p.conv, p.first, p.window, p.second, p.merge
        if conv is not None:
            sums = conv.weight.reshape(len(conv.weight), -1).sum(axis=1)
            conv = replace(conv, pad_code=conv.pad_code + zero, correction=-zero * sums)
            if first is not None:
                first = self._moved(first, -zero * sums)
                zero = self.zero(first.signed)
        if window is not None:
            window = replace(window, pad_code=window.pad_code + zero)
            if second is not None:
                second = self._moved(second, -zero * _tap_sums(window, p))
                zero = self.zero(second.signed)
        if merge is not None:
            result = self.zero_of(p.result)
            taken = merge.main * zero + merge.other * self.zero_of(merge.residual)
            add = merge.add - taken + (result << merge.shift)
            merge = replace(merge, add=add, low=merge.low + result, high=merge.high + result)
        return replace(p, conv=conv, first=first, window=window, second=second, merge=merge)

    def _moved(self, requant: Requant, correction: Array) -> Requant:
        """``requant`` of sums that lack ``correction``, giving stored codes."""
        zero = self.zero(requant.signed)
        add = requant.add + requant.mul * correction + (zero << requant.shift)
        return replace(requant, add=add, low=requant.low + zero, high=requant.high + zero)


def _one_line(node: Node, requant: Requant, otherwise: str) -> tuple[int, int]:
    """Factor and offset of a requantizer that has one for all channels."""
    if any(len({*v.tolist()}) > 1 for v in (requant.mul, requant.add)):
        raise _refused(node, otherwise)
    return int(requant.mul[0]), int(requant.add[0])


def _tap_sums(window: Sliding, p: Pass) -> Array:
    """What a map of ones gives in every channel."""
    if window.weight is not None:
        return window.weight.sum(axis=0)
    taps = p.middle[0] * p.middle[1] if window.mode == "global_sum" else window.kernel**2
    return np.full(p.out[2], taps, dtype=np.int64)


def _check_window(node: Window) -> None:
    if node.kernel[0] != node.kernel[1] or node.stride[0] != node.stride[1] or node.dilation != (1, 1):
        raise _refused(node, "its kernel or stride is not square, or it is dilated")


def _refused(node: Node, why: str) -> UserError:
    names: Sequence[str] = node.origin or (node.name,)
    return UserError(f"the engine cannot run it: {why}", where=f"{type(node).__name__} '{names[0]}'")


def _too_wide(node: Node | None, value: Value) -> UserError:
    why = f"its codes have {value.qint.bits} bits, {WIDEST_CODE} are stored"
    return (
        UserError(f"the engine cannot run it: {why}", where=f"input '{value.name}'")
        if node is None
        else _refused(node, why)
    )
