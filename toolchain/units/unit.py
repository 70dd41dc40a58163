"""Interface of the hardware unit of an operation."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar, Generic, TypeVar

from toolchain.ir.graph import Graph
from toolchain.ir.ops.node import Node
from toolchain.ir.types import Parallelism, QInt, Value
from toolchain.resources import Resources
from toolchain.units.call import Call
from toolchain.units.fabric import products_per_dsp
from toolchain.units.lanes import channel_lanes
from toolchain.units.schedule import Schedule, word_by_word

N = TypeVar("N", bound=Node)


class Unit(ABC, Generic[N]):
    """The hardware of operation ``N``: the lanes it can have, when it works, what it takes, and its C++; no state.

    ``x`` is the node's first input. Lanes divide what they split.
    """

    follows: ClassVar[bool] = False
    """Whether the unit's lanes are those of the stream that it reads."""
    reduces_windows: ClassVar[bool] = False
    """Whether the unit can read the stream of a window."""
    makes_windows: ClassVar[bool] = False
    """Whether the unit writes the stream of a window, in the words that its reader takes."""
    stores: ClassVar[int | None] = None
    """The input of which it reads a whole frame before any word of the others, if there is one."""
    planned: ClassVar[bool] = True
    """Whether a plan chooses the unit's lanes; else its neighbours' do."""

    @abstractmethod
    def options(self, node: N, x: Value, upstream: Parallelism | None) -> list[Parallelism]:
        """Legal lanes of ``node``; ``upstream`` are those of the unit before it in its chain, if any."""

    @abstractmethod
    def schedule(self, node: N, x: Value, lanes: Parallelism) -> Schedule:
        """Return when the unit's loop reads and writes."""

    @abstractmethod
    def cost(self, node: N, x: Value, lanes: Parallelism, *others: Value) -> Resources:
        """Resources of the unit alone; ``others`` are the further inputs of a join."""

    @abstractmethod
    def template(self, node: N, graph: Graph) -> Call:
        """Return the unit's call in C++.

        Raises:
            UserError: it is beyond what Vitis HLS accepts.
        """

    def operands(self, node: N, x: Value) -> tuple[QInt, QInt] | None:
        """Types of the two factors of the products that ``node`` chooses a fabric for; None when it has none."""
        return None

    def completed(self, node: N, x: Value, lanes: Parallelism) -> Parallelism:
        """``lanes`` with the products a DSP slice that a plan leaves open."""
        operands = self.operands(node, x)
        if operands is None or lanes.constant:
            return lanes
        return replace(lanes, products_per_dsp=products_per_dsp(lanes, *operands))

    def facts(self, node: N, lanes: Parallelism) -> dict[str, int]:
        """``lanes`` in the words of a report."""
        same = lanes.lanes_in == lanes.lanes_out
        found = {"lanes": lanes.lanes_in} if same else {"lanes_in": lanes.lanes_in, "lanes_out": lanes.lanes_out}
        return found | told_products(lanes)


class ElementwiseUnit(Unit[N]):
    """A unit that treats channel by channel, a word a cycle, with the lanes of the stream that it reads."""

    follows = True

    def options(self, node: N, x: Value, upstream: Parallelism | None) -> list[Parallelism]:
        """Return the lanes of ``channel_lanes``."""
        return [Parallelism(n, n) for n in channel_lanes(x, upstream)]

    def schedule(self, node: N, x: Value, lanes: Parallelism) -> Schedule:
        """A word in, a word out."""
        return word_by_word(x.size // lanes.lanes_in)


def told_products(lanes: Parallelism) -> dict[str, int]:
    """Products a DSP slice, where ``lanes`` tell them, for a report."""
    return {} if lanes.products_per_dsp is None else {"products_per_dsp": lanes.products_per_dsp}


Units = Mapping[type[Node], Unit[Any]]
"""The unit of each operation."""
