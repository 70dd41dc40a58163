"""INTEGER graph to passes of the engine: convolution, window and merge of branches fused where one reads the other."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from math import ceil

import numpy as np

from toolchain.engine.answers import copy_joined_answers
from toolchain.engine.coded_graph import CODERS, REQUANTIZERS, WIDEST_CODE, CodedGraph
from toolchain.engine.hosts import answer_names
from toolchain.engine.joined import Joined
from toolchain.engine.layers import Convolution, Cut, Merge, Pass, Requant, Sliding, Slot
from toolchain.engine.limits import refused, too_wide
from toolchain.engine.requants import of_channels, of_raised, untied, untied_merge
from toolchain.engine.shape import BEAT_BITS
from toolchain.engine.stored_codes import Coder
from toolchain.errors import UserError
from toolchain.ir.graph import Graph
from toolchain.ir.ops.add import Add
from toolchain.ir.ops.argmax import ArgMax
from toolchain.ir.ops.maps import Concat, Permute, Slice, Upsample
from toolchain.ir.ops.multiply import Multiply
from toolchain.ir.ops.node import Node
from toolchain.ir.ops.pools import GlobalSum, Pool
from toolchain.ir.ops.products import Depthwise, MatVec
from toolchain.ir.ops.requantizers import Lookup, MulShift, Threshold
from toolchain.ir.ops.window import Window
from toolchain.ir.types import Value
from toolchain.passes.drop_identities import drop_identities
from toolchain.passes.fuse_tables import fuse_tables
from toolchain.passes.join_slices import join_slices
from toolchain.passes.merge_requantizers import merge_requantizers
from toolchain.passes.plain_forms import plain_forms
from toolchain.passes.spread_sums import spread_sums
from toolchain.passes.stride_blocks import stride_blocks

UNQUANTIZED = "its sums are not quantized"

_AVERAGE = "put a quantizer behind it"

_OF_ONE_QUANTIZER = "its result has no quantizer common to all channels"

RESHAPED = "it reads a flattened map, which only products do"


def cut(graph: Graph, *, fuse: bool = True) -> Cut:
    """The passes of ``graph`` in order.

    The first convolution's windows are laid out by the host when it alone reads an input of few channels: a 7 x 7 x 3
    kernel then is one of 1 x 1 x 147, since words of channels would be mostly empty otherwise.

    Args:
        fuse: put a window or a merge of branches into the pass of the convolution that it reads.

    Raises:
        UserError: a node that no unit of the engine runs.
    """
    return _Cutter(graph, fuse).run()


def engine_form(graph: Graph) -> Graph:
    """The INTEGER ``graph`` as passes are cut from it; it computes the same."""
    plain = drop_identities(stride_blocks(join_slices(graph)), of_codes=True)
    return copy_joined_answers(spread_sums(plain_forms(fuse_tables(merge_requantizers(plain)))))


def refusals(graph: Graph) -> list[tuple[str, str]]:
    """Return (where, what) for every node that the engine cannot run."""
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
        self.graph = engine_form(self.graph)
        self.answers = answer_names(self.graph)
        written = frozenset((*self.answers, *self.graph.written, *_renamed(self.graph, self.answers)))
        self.coded = CodedGraph(self.graph, written)
        self.values = self.graph.values()
        self.alias: dict[str, str] = {}
        self.repeat: dict[str, tuple[int, int]] = {}  # how often an alias is read, by axis
        self.joined: dict[str, Joined] = {}
        self.views: dict[str, Joined] = {}  # aliases that are some channels of a stored map
        self.done: set[str] = set()
        self.folded = False
        self.refused: list[UserError] = []

    def run(self) -> Cut:
        """Cut the graph, see ``cut``."""
        passes = self.passes()
        if self.refused:
            raise self.refused[0]
        answers = tuple(map(self._stored, self.answers))
        made = {p.result for p in passes}
        for name in answers:
            if name not in made:
                raise UserError(f"the engine cannot run it: no pass makes its answer '{name}'")
        forms = {self.graph.input.name: self.coded.form(self.graph.input)}
        found = Cut(tuple(map(Coder(forms).coded, passes)), self.folded, self.coded.bits, answers, forms)
        wide = too_wide(found)
        if wide is not None:
            raise wide
        return found

    def passes(self) -> list[Pass]:
        """The passes on the graph's own codes; what has none is in ``refused``."""
        for value in self.coded.codes():
            if not self.coded.fits(value, WIDEST_CODE):
                self.refused.append(_too_wide(self.graph.producers().get(value.name), value))
        passes: list[Pass] = []
        for node in self.graph.nodes:
            if node.name in self.done or self._on_host(node):
                continue
            self.done.add(node.name)
            if node.renames:
                self.alias[node.output.name] = self._stored(node.inputs[0])
                continue
            try:
                if isinstance(node, Concat):
                    self._join(node, passes)
                elif isinstance(node, Upsample):
                    self._upsample(node, passes)
                elif isinstance(node, Slice | Permute):
                    self._select(node, passes)
                else:
                    passes.append(self._pass(node))
            except UserError as error:
                self.refused.append(error)
        return passes

    def _stored(self, name: str) -> str:
        return self.alias.get(name, name)

    def _join(self, node: Concat, passes: list[Pass]) -> None:
        """A map whose parts lie side by side: the pass that makes a part writes it there, or one copies it.

        A requantizer of the whole map is one of every part. Every part begins a beat of each position: whole ones are
        written.
        """
        after = self.coded.only_reader(node.output)
        requantizer = None
        if isinstance(after, REQUANTIZERS) and self.coded.curve(after, node.output) is None:
            requantizer = after
        value = node.output if requantizer is None else requantizer.output
        if requantizer is not None:
            self.done.add(requantizer.name)
        parts = [self.values[name] for name in node.inputs]
        within = [self._kept(part) or Joined.alone(part) for part in parts]
        if requantizer is None and len({*map(self.coded.form, parts)}) > 1:
            raise refused(node, "the zero points of its inputs differ, or some are signed and others not")
        a_beat = BEAT_BITS // self.coded.bits
        counts = [ceil(part.channels / a_beat) * a_beat for part in within]
        starts = [sum(counts[:i]) for i in range(len(counts))]
        places = [part.places + start for part, start in zip(within, starts, strict=True)]
        self.joined[value.name] = Joined(np.concatenate(places), sum(counts))
        made, first = {p.result: i for i, p in enumerate(passes) if p.slot is None}, 0
        for part, start in zip(parts, starts, strict=True):
            slot, own = Slot(value.name, start, sum(counts)), made.get(part.name)
            if requantizer is not None:
                slot = replace(slot, own=slice(first, first + part.shape[2]))
                requant = self.coded.requant(of_channels(requantizer, slot.own), part)
                requant = untied(node, requant, self.coded.ranges[part.name], None)  # all parts have one form
                passes.append(replace(self._copy(node, part, requant), result=value.name, slot=slot))
            elif own is not None and self.coded.only_reader(part) is node:
                passes[own] = replace(passes[own], slot=slot)
            else:
                passes.append(replace(self._copy(node, part), slot=slot))
            first += part.shape[2]

    def _upsample(self, node: Upsample, passes: list[Pass]) -> None:
        """Convolutions and joins read every position of the source several times; others read a copy."""
        if any(node.edges):
            raise refused(node, "it repeats positions beyond the map's edges")
        source, value = node.inputs[0], node.output
        rows, columns = self.repeat.get(source, (1, 1))
        self.alias[value.name] = self._stored(source)
        self.repeat[value.name] = (rows * node.factors[0], columns * node.factors[1])
        if source in self.views:
            self.views[value.name] = self.views[source]
        if value.name in self.coded.written or not all(self._convolves(r) for r in self.coded.readers[value.name]):
            passes.append(self._copy(node, value))
            self._keep(value, self._kept(value))
            self._forget(value)

    def _select(self, node: Slice | Permute, passes: list[Pass]) -> None:
        """Convolutions read channels of a map where they lie, by weights of zero for the others; others read a copy."""
        source, value = self.values[node.inputs[0]], node.output
        stored = self._stored(source.name)
        self._demand_shape(node, source)
        within = self.views.get(source.name) or self.joined.get(stored) or Joined.alone(source)
        self.alias[value.name], taken = stored, node.evaluate(within.places)
        self.views[value.name] = Joined(taken, within.channels)
        if source.name in self.repeat:
            self.repeat[value.name] = self.repeat[source.name]
        if value.name in self.coded.written or not all(self._convolves(r) for r in self.coded.readers[value.name]):
            passes.append(self._copy(node, value))
            self._forget(value)

    def _forget(self, value: Value) -> None:
        """A pass makes a map of ``value``, which is no alias any more."""
        for known in (self.alias, self.repeat, self.views):
            known.pop(value.name, None)

    def _kept(self, value: Value) -> Joined | None:
        """The channels of the joined map that a pass keeps when it copies ``value``; None where it makes them anew."""
        return None if value.name in self.views else self.joined.get(self._stored(value.name))

    def _convolves(self, reader: Node) -> bool:
        """Return whether ``reader`` feeds a convolution, or a concatenation, or takes some channels."""
        if isinstance(reader, Window):
            return isinstance(self.coded.only_reader(reader.output), MatVec)
        return isinstance(reader, MatVec | Concat | Slice | Permute) or (
            isinstance(reader, Upsample) and all(map(self._convolves, self.coded.readers[reader.output.name]))
        )

    def _copy(self, node: Node, value: Value, requant: Requant | None = None) -> Pass:
        """A pass that makes ``value`` of what it is an alias of, with a requantizer or without."""
        source = self._stored(value.name)
        self._demand_shape(node, value)
        name, shape = node.origin[0] if node.origin else node.name, value.shape
        repeat, join = self.repeat.get(value.name, (1, 1)), self.joined.get(source)
        p = Pass(name, source, value.name, shape, shape, shape, first=requant, repeat=repeat)
        if value.name in self.views:
            conv, first = self._rearranged(value, requant)
            return self._convolving(replace(p, conv=conv, first=first), value, conv)
        return p if join is None else join.widened(p)

    def _convolving(self, p: Pass, source: Value, conv: Convolution) -> Pass:
        """``p``, which begins with ``conv`` on ``source``, with zeros for the channels that lie beside those."""
        view, join = self.views.get(source.name), self.joined.get(p.source)
        if view is None:
            return p if join is None else join.convolved(p, conv)
        return replace(view.convolved(p, conv), spread=None if join is None else join.places)

    def _keep(self, value: Value, join: Joined | None) -> None:
        """Note that ``value``, which a pass makes, has the channels of ``join``."""
        if join is not None:
            self.joined[value.name] = join

    def _pass(self, node: Node) -> Pass:
        """The pass that begins with ``node``, which is not done yet."""
        source = self.values[node.inputs[0]]
        conv, value = None, source
        first = None
        raw = False
        shape = source.shape
        if isinstance(node, Window) and isinstance(after := self.coded.only_reader(node.output), MatVec):
            shape, conv = self._convolution(node, after)
            self.done.add(after.name)
            value, first = self._requant(after.output)
        elif isinstance(node, MatVec):
            shape, conv = self._dense(node)
            value, first = self._requant(node.output)
        elif isinstance(node, CODERS) and self.coded.fits(source, WIDEST_CODE):  # codes, which others may read
            value, first = self._requantized(node, source)
        raw = conv is not None and first is None
        if raw and (value.name not in self.coded.written or self._read_inside(value)):
            raise refused(node, UNQUANTIZED)
        middle = value.shape
        window, second = None, None
        if not raw:
            value, window, second = self._window(value, node, alone=conv is None and first is None)
        merge = None
        if not raw:
            value, merge = self._merge(value, node, alone=conv is None and first is None and window is None)
        if conv is None and first is None and window is None and merge is None:
            raise refused(node, "no unit of the engine runs it")
        stored = self._stored(source.name)
        join, added = self.joined.get(stored), None if merge is None else self.joined.get(merge.residual)
        if conv is None:
            self._demand_shape(node, source)
            if merge is not None and not (join is added is None or (join is not None and join.is_like(added))):
                conv, first = self._rearranged(source, first)
        self._keep(value, join if conv is None else added)
        found = Pass(
            name=node.origin[0] if node.origin else node.name,
            source=stored,
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
            repeat=self.repeat.get(source.name, (1, 1)),
        )
        if conv is None:
            return found if join is None else join.widened(found)
        found = self._convolving(found, source, conv)
        return found if added is None else added.fanned(found)

    def _rearranged(self, source: Value, first: Requant | None) -> tuple[Convolution, Requant]:
        """A convolution that makes the channels of ``source`` anew, where others want them, and ``first`` behind it.

        Its weights are as large as others: sums as small as codes would have all requantizers take wide factors.
        """
        largest = (int(np.abs(node.weight).max()) for node in self.graph.nodes if isinstance(node, MatVec))
        bits = max(0, max(largest, default=1).bit_length() - 1)
        ones = np.ones(source.shape[2], dtype=np.int64)
        if first is None:
            first = Requant(ones, 0 * ones, 0, *self.coded.ranges[source.name], self.coded.form(source))
        return Convolution(np.diag(ones << bits)[:, None, None]), of_raised(first, bits)

    def _demand_shape(self, node: Node, value: Value) -> None:
        """Demand that the stored map that ``value`` names lies in memory as ``value`` does: with the same channels."""
        aliased = value.name in self.repeat or value.name in self.views
        if not aliased and self.values[self._stored(value.name)].shape[2] != value.shape[2]:
            raise refused(node, RESHAPED)

    def _read_inside(self, value: Value) -> bool:
        """Return whether a node that the host does not run reads ``value``, also by another name."""
        return any(
            self._read_inside(node.output) if node.renames else not self._on_host(node)
            for node in self.coded.readers.get(value.name, ())
        )

    def _on_host(self, node: Node) -> bool:
        """Return whether the host finds the largest, which then no other node reads."""
        written = isinstance(node, ArgMax) and node.output.name in self.graph.written
        return written and not self._read_inside(node.output)

    def _convolution(self, node: Window, product: MatVec) -> tuple[tuple[int, int, int], Convolution]:
        source = self.values[node.inputs[0]]
        self._demand_shape(node, source)
        alone = source.name == self.graph.input.name and len(self.coded.readers[source.name]) == 1
        if alone and source.shape[2] <= FOLDED_CHANNELS:
            self.folded = True
            weight = product.weight.reshape(len(product.weight), 1, 1, -1)
            return (*node.output.shape[:2], weight.shape[3]), Convolution(weight)
        weight = product.weight.reshape(len(product.weight), *node.kernel, source.shape[2])
        return source.shape, Convolution(weight, node.stride, node.pads, node.pad_value, node.dilation)

    def _dense(self, node: MatVec) -> tuple[tuple[int, int, int], Convolution]:
        """A product at every position; over a flattened map, a convolution as large as the map."""
        source = self.values[node.inputs[0]]
        own = source.name in self.repeat or source.name in self.views
        shape = source.shape if own else self.values[self._stored(source.name)].shape
        if shape[2] == source.shape[2]:
            weight = node.weight.reshape(len(node.weight), 1, 1, -1)
            return source.shape, Convolution(weight)
        if source.shape[:2] != (1, 1):
            raise refused(node, "it reads features as a map")
        return shape, Convolution(node.weight.reshape(len(node.weight), *shape))

    def _requant(self, value: Value) -> tuple[Value, Requant | None]:
        """The requantizer that alone reads ``value``, taken, and what leaves it; or nothing."""
        node = self.coded.only_reader(value)
        return self._requantized(node, value) if isinstance(node, CODERS) else (value, None)

    def _requantized(self, node: MulShift | Threshold | Lookup, value: Value) -> tuple[Value, Requant]:
        """``node``, and a table behind it, taken as a requantizer of ``value``; and what leaves it."""
        self.done.add(node.name)
        requant, last = self.coded.requantized(node, value)
        self.done.add(last.name)
        return last.output, requant

    def _window(self, value: Value, node: Node, *, alone: bool) -> tuple[Value, Sliding | None, Requant | None]:
        """The window unit's work behind ``value``; ``alone``: ``node`` itself is it."""
        start = node if alone else self.coded.only_reader(value) if self.fuse else None
        if isinstance(start, GlobalSum):
            self.done.add(start.name)
            found, second = self._requant(start.output)
            if second is None:
                raise refused(start, UNQUANTIZED, _AVERAGE)
            return found, Sliding("global_sum"), second
        if not isinstance(start, Window):
            return value, None, None
        unit = self.coded.only_reader(start.output)
        if not isinstance(unit, (Depthwise, Pool)):
            if alone:
                raise refused(start, "no unit of the engine reduces it")
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
            raise refused(unit, UNQUANTIZED)
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
        """The sum or product of ``value`` and a value of an earlier pass; ``alone``: ``node`` itself is it."""
        start = node if alone else self.coded.only_reader(value) if self.fuse else None
        if not isinstance(start, Add | Multiply):
            return value, None
        own = start.inputs[0] if alone else value.name
        place = start.inputs.index(own)
        once = isinstance(start, Multiply) and start.once
        if once and place == 1:
            return value, None  # its pass has one position
        other = start.inputs[1 - place]
        producer = self.graph.producers().get(other)
        if producer is not None and producer.name not in self.done:
            return value, None  # the other branch comes later and takes it
        stored = self._stored(other)
        self._demand_shape(start, self.values[other])
        self.done.add(start.name)
        quantizer = self.coded.only_reader(start.output)
        if not isinstance(quantizer, REQUANTIZERS):
            raise refused(start, _OF_ONE_QUANTIZER)
        self.done.add(quantizer.name)
        requant = self.coded.requant(quantizer, start.output)
        multipliers = start.multipliers if isinstance(start, Add) else ()
        numbers = (requant.mul, requant.add, *multipliers)
        if requant.below is not None or any(len({*v.tolist()}) > 1 for v in numbers):
            raise refused(start, _OF_ONE_QUANTIZER)
        mul, add = int(requant.mul[0]), int(requant.add[0])
        main, rest = (int(multipliers[i][0]) * mul for i in (place, 1 - place)) if multipliers else (mul, 0)
        zeros = None if multipliers else (0, 0)
        line = (main, rest, add, requant.shift, requant.low, requant.high, requant.form)
        merge, form = Merge(stored, *line, zeros, once), self.coded.other_form(quantizer.output)
        return quantizer.output, untied_merge(start, merge, self.coded.ranges[own], self.coded.ranges[other], form)


def _renamed(graph: Graph, names: Iterable[str]) -> Iterator[str]:
    """Yield the values that ``names`` rename, nearest first."""
    makers = graph.producers()
    for name in names:
        while (node := makers.get(name)) is not None and node.renames:
            name = node.inputs[0]
            yield name


def _check_window(node: Window) -> None:
    if node.kernel[0] != node.kernel[1] or node.stride[0] != node.stride[1] or node.dilation != (1, 1):
        raise refused(node, "its kernel or stride is not square, or it is dilated")


def _too_wide(node: Node | None, value: Value) -> UserError:
    why = f"its codes have {value.qint.bits} bits, {WIDEST_CODE} are stored"
    return (
        UserError(f"the engine cannot run it: {why}", where=f"input '{value.name}'")
        if node is None
        else refused(node, why)
    )
