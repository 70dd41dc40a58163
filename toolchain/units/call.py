"""The C++ of a unit: a call of a header's function, its parameters, its tables of constants."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from toolchain.errors import UserError
from toolchain.ir.graph import Graph
from toolchain.ir.ops.node import Node
from toolchain.ir.types import Array, QInt
from toolchain.units.adder_graph import AdderGraph
from toolchain.units.fabric import products_per_dsp, use_lutram, use_uram
from toolchain.units.limits import MAX_UNROLL
from toolchain.units.order import parallelism, require_order


@dataclass(frozen=True)
class Constant:
    """A number of a unit and the type of the integers that it may be among.

    Sizes, lanes and shifts are plain ``int``; limits, factors and fill values are as wide as the data.
    """

    value: int
    type: QInt


def among(value: int, *others: int) -> Constant:
    """``value`` in the narrowest type that holds it and ``others``."""
    return Constant(value, QInt.holding(min(value, *others, 0), max(value, *others, 0)))


@dataclass(frozen=True)
class Storage:
    """Storage of an array: the kind of memory, the dimensions split into memories, the dimensions joined."""

    impl: str
    partition: tuple[int, ...] = ()
    reshape: tuple[int, ...] = ()


@dataclass(frozen=True)
class Table:
    """Constants of a unit, in the order and the shape in which its header reads them."""

    name: str
    type: QInt
    values: Array
    storage: Storage


@dataclass(frozen=True)
class Buffer:
    """Memory of a unit; ``alias`` is the header's name of its type, ``packed`` a memory of stream words."""

    name: str
    alias: str
    storage: Storage
    packed: bool = False


@dataclass(frozen=True)
class Call:
    """One call of a function template of ``fpgaflow/HEADER.hpp``; ``variadic`` tells which streams it takes last.

    ``constants`` are sizes, ``numbers`` are as wide as the data; ``network`` are the additions of a product with
    constants.
    """

    header: str
    function: str
    constants: dict[str, int | bool]
    types: dict[str, QInt]
    tables: tuple[Table, ...] = ()
    buffers: tuple[Buffer, ...] = ()
    variadic: Literal["", "inputs", "outputs"] = ""
    lists: dict[str, tuple[int, ...]] = field(default_factory=dict)
    network: AdderGraph | None = None
    numbers: dict[str, Constant] = field(default_factory=dict)

    @property
    def declared(self) -> dict[str, int | Constant]:
        """The numbers that the Config declares as constants."""
        return {**self.constants, **self.numbers}


def positions(graph: Graph, node: Node) -> int:
    """Positions of the map that ``node`` reads."""
    height, width, _ = graph.value(node.inputs[0]).shape
    return height * width


def input_type(graph: Graph, node: Node, index: int = 0) -> QInt:
    """Type of the elements that ``node`` reads."""
    return graph.value(node.inputs[index]).qint


def table_type(values: Array) -> QInt:
    """The narrowest type of every number of a table."""
    return QInt.holding(int(values.min()), int(values.max()))


def check_unroll(node: Node, count: int) -> None:
    """UserError when ``node`` does more in a cycle than Vitis HLS unrolls."""
    if count > MAX_UNROLL:
        raise UserError(
            f"{count} operations a cycle, Vitis HLS unrolls at most {MAX_UNROLL}",
            where=f"node {node.name}",
            hint="choose fewer lanes",
        )


def impl(depth: int, width: int, *, ultra: bool = False) -> str:
    """Storage of a memory of ``depth`` words of ``width`` bits, as the cost model counts it."""
    if ultra and use_uram(depth, width):
        return "uram"
    return "lutram" if use_lutram(depth, width) else "bram"


def channelwise(node: Node, graph: Graph) -> dict[str, int | bool]:
    """Parameters of a unit that treats channel by channel, ``lanes`` at once."""
    require_order(graph, node, np.arange)
    lanes = parallelism(node).lanes_in
    check_unroll(node, lanes)
    channels = graph.value(node.inputs[0]).shape[2]
    return {"positions": positions(graph, node), "channels": channels, "lanes": lanes}


def per_channel(name: str, values: Array, lanes: int) -> tuple[Table, dict[str, int | bool]]:
    """A table of one entry, or one a channel, split by lane, and its two sizes as parameters."""
    if np.all(values == values[:1]):
        values = values[:1]
    width = lanes if len(values) > 1 else 1
    shaped = values.reshape(len(values) // width, width, *values.shape[1:])
    kind = table_type(shaped)
    depth = kind.bits * (values.shape[1] if values.ndim > 1 else 1)
    reshape = (3,) if values.ndim > 1 else ()
    table = Table(name, kind, shaped, Storage(impl(len(shaped), depth), partition=(2,), reshape=reshape))
    return table, {f"{name}_blocks": shaped.shape[0], f"{name}_lanes": width}


def own_slice(node: Node, weight: QInt, act: QInt) -> bool:
    """Return whether the products of a unit that shares no slice among products are on DSP slices.

    Raises:
        UserError: its lanes say that a slice has several.
    """
    count = products_per_dsp(parallelism(node), weight, act)
    if count > 1:
        raise UserError(
            f"{count} products a DSP slice, {type(node).__name__} takes 0 or 1",
            where=f"node {node.name}",
            hint="only outputs of a matrix-vector product share their inputs",
        )
    return count == 1
