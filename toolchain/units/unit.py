"""What is asked of the hardware of an operation."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, Generic, TypeVar

from toolchain.ir.graph import Graph
from toolchain.ir.ops.node import Node
from toolchain.ir.types import Parallelism, QInt, Value
from toolchain.resources import Resources
from toolchain.units.call import Call
from toolchain.units.schedule import Schedule

N = TypeVar("N", bound=Node)


class Unit(ABC, Generic[N]):
    """The hardware of operation ``N``: the lanes it can have, when it works, what it takes, and its C++; no state.

    ``x`` is the node's first input. Lanes divide what they split.
    """

    follows: ClassVar[bool] = False
    """Whether its lanes are those of what it reads."""
    reduces_windows: ClassVar[bool] = False
    """Whether it can read the stream of a window."""

    @abstractmethod
    def options(self, node: N, x: Value, upstream: Parallelism | None) -> list[Parallelism]:
        """Legal lanes of ``node``; ``upstream`` are those of the unit before it in its chain, if any."""

    @abstractmethod
    def schedule(self, node: N, x: Value, lanes: Parallelism) -> Schedule:
        """When its loop reads and writes."""

    @abstractmethod
    def cost(self, node: N, x: Value, lanes: Parallelism, *others: Value) -> Resources:
        """Resources of the unit alone; ``others`` are the further inputs of a join."""

    @abstractmethod
    def template(self, node: N, graph: Graph) -> Call:
        """Its call in C++.

        Raises:
            UserError: it is beyond what Vitis HLS accepts.
        """

    def operands(self, node: N, x: Value) -> tuple[QInt, QInt] | None:
        """Types of the two factors of the products that ``node`` chooses a fabric for; None when it has none."""
        return None


Units = Mapping[type[Node], Unit[Any]]
"""The unit of each operation."""
