"""The units that reduce the taps of a window channel by channel: depthwise filter and pool."""

from __future__ import annotations

from dataclasses import replace
from typing import TypeVar

from toolchain.ir.graph import Graph
from toolchain.ir.ops.pools import Pool
from toolchain.ir.ops.products import Depthwise
from toolchain.ir.types import Parallelism, QInt, Value
from toolchain.resources import Resources, total
from toolchain.units.call import Call, Storage, Table, check_unroll, impl, input_type, own_slice, positions
from toolchain.units.fabric import product_type
from toolchain.units.fabric_costs import STREAM_LUT, adder_tree, comparator, counters, dots, logic, rom
from toolchain.units.lanes import single_products
from toolchain.units.order import parallelism, require_order, window_order
from toolchain.units.schedule import Phase, Schedule, ends, first
from toolchain.units.unit import Unit, Units

T = TypeVar("T", bound=Depthwise | Pool)


class _TapUnit(Unit[T]):
    """A unit that reduces windows tap by tap: some lanes of channels, one tap or all taps a cycle."""

    reduces_windows = True

    def options(self, node: T, x: Value, upstream: Parallelism | None) -> list[Parallelism]:
        """The window decides; without one the stream has the plain order, that of a window with all channels."""
        channels = node.output.shape[2]
        if upstream:
            lanes = [Parallelism(upstream.lanes_out, upstream.lanes_in)]
        else:
            lanes = [Parallelism(channels * p, channels) for p in sorted({1, x.shape[2] // channels})]
        return [replace(p, products_per_dsp=n) for p in lanes for n in single_products(self.operands(node, x))]

    def schedule(self, node: T, x: Value, lanes: Parallelism) -> Schedule:
        """A word of channels: its taps are read, with the last one it is written."""
        words = node.output.size // lanes.lanes_out
        taps = x.size // lanes.lanes_in // words
        return Schedule((Phase(taps, (first(taps),), ends(taps, taps)),), words)


class DepthwiseUnit(_TapUnit[Depthwise]):
    """The unit in ``depthwise.hpp``."""

    def cost(self, node: Depthwise, x: Value, lanes: Parallelism, *others: Value) -> Resources:
        """A dot product over the taps a lane, with a weight memory each."""
        taps, channels = node.weight.shape
        parallel = lanes.lanes_in // lanes.lanes_out
        steps = taps // parallel
        width = lanes.lanes_out
        found = dots(node.weight_type, x.qint, node.output.qint, lanes, terms=parallel, count=width, steps=steps)
        weights = rom(steps * channels // width, parallel * node.weight_type.bits)
        loops = counters(node.output.size // channels, channels // width, steps, frames=1)
        return total((loops, found, weights * width))

    def operands(self, node: Depthwise, x: Value) -> tuple[QInt, QInt]:
        """Return the types of weights and inputs."""
        return node.weight_type, x.qint

    def template(self, node: Depthwise, graph: Graph) -> Call:
        """Weights by block of channels and taps."""
        lanes, kind = parallelism(node), input_type(graph, node)
        taps, channels = node.weight.shape
        width = lanes.lanes_out
        parallel = lanes.lanes_in // width
        check_unroll(node, lanes.lanes_in)
        require_order(graph, node, lambda count: window_order(taps, count // taps, width))
        blocks = node.weight.reshape(taps, channels // width, width).transpose(1, 0, 2)
        weight = blocks.reshape(-1, parallel, width)
        storage = Storage(impl(len(weight), parallel * node.weight_type.bits), partition=(3,), reshape=(2,))
        return Call(
            "depthwise",
            "depthwise",
            {
                "positions": positions(graph, node),
                "channels": channels,
                "lanes": width,
                "taps": taps,
                "parallel": parallel,
                "dsp": own_slice(node, node.weight_type, kind),
            },
            {
                "in_t": kind,
                "out_t": node.output.qint,
                "weight_t": node.weight_type,
                "product_t": product_type(node.weight_type, kind),
            },
            (Table("weight", node.weight_type, weight, storage),),
        )


class PoolUnit(_TapUnit[Pool]):
    """The unit in ``pool.hpp``."""

    def cost(self, node: Pool, x: Value, lanes: Parallelism, *others: Value) -> Resources:
        """A tree over the taps that come at once, a register for the rest; a maximum is a comparison and a choice."""
        parallel = lanes.lanes_in // lanes.lanes_out
        bits = node.output.qint.bits
        joins = parallel if parallel < node.taps else parallel - 1
        if node.kind == "max":
            tree = (comparator(bits) + logic(bits)) * joins
        else:
            tree = adder_tree(parallel, x.qint.bits) + logic(bits if parallel < node.taps else 0)
        return total((logic(STREAM_LUT), tree * lanes.lanes_out))

    def template(self, node: Pool, graph: Graph) -> Call:
        """Call the pool's function; it has no tables."""
        lanes = parallelism(node)
        check_unroll(node, lanes.lanes_in)
        require_order(graph, node, lambda count: window_order(node.taps, count // node.taps, lanes.lanes_out))
        return Call(
            "pool",
            "pool",
            {
                "positions": positions(graph, node),
                "channels": node.output.shape[2],
                "lanes": lanes.lanes_out,
                "taps": node.taps,
                "parallel": lanes.lanes_in // lanes.lanes_out,
                "maximum": node.kind == "max",
            },
            {"in_t": input_type(graph, node), "out_t": node.output.qint},
        )


UNITS: Units = {Depthwise: DepthwiseUnit(), Pool: PoolUnit()}
