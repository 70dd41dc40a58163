"""Norms that a file writes as several nodes, read as one: exporters do so below opset 17, and for RMSNorm below 23."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar

import numpy as np
from onnx import numpy_helper

RMS = "RMSNormalization"
ALONE = "alone"
"""Attribute of a norm that is taken over its axis alone, not over all behind it too."""


class AnyNode(Protocol):
    """A node of an ONNX graph."""

    @property
    def op(self) -> str:
        """The operation."""

    @property
    def domain(self) -> str:
        """Its domain, "" for the standard's."""

    @property
    def inputs(self) -> tuple[str, ...]:
        """Tensors that it reads."""

    @property
    def outputs(self) -> tuple[str, ...]:
        """Tensors that it makes."""

    @property
    def attributes(self) -> Mapping[str, Any]:
        """Its attributes."""

    def input(self, index: int) -> str:
        """Name of an optional input, "" when absent."""


N = TypeVar("N", bound=AnyNode)
Make = Callable[[N, str, str, Mapping[str, Any]], N]
"""The node that stands in the place of a norm's last one, for its operation, what it reads, and its attributes."""


@dataclass
class WrittenNorms(Generic[N]):
    """The norms among ``nodes``, which are in order; ``constants`` are initializers, ``outputs`` the graph's."""

    nodes: Sequence[N]
    constants: Mapping[str, np.ndarray]
    outputs: Collection[str]
    make: Make[N]
    _maker: dict[str, N] = field(init=False)
    _readers: dict[str, list[N]] = field(init=False)

    def __post_init__(self) -> None:
        self._maker = {name: node for node in self.nodes for name in node.outputs if name}
        self._readers = {}
        for node in self.nodes:
            for name in dict.fromkeys(node.inputs):
                self._readers.setdefault(name, []).append(node)

    def joined(self) -> tuple[N, ...]:
        """``nodes`` with one node in place of those of a norm, where its last one stands."""
        inner: set[int] = set()
        made: dict[int, N] = {}
        for node in self.nodes:
            parts = self._norm(node) if node.op == "ReduceMean" else None
            if parts is not None:
                *before, last, norm = parts
                inner |= {id(part) for part in before}
                made[id(last)] = norm
        return tuple(made.get(id(node), node) for node in self.nodes if id(node) not in inner)

    def _norm(self, mean: N) -> list[N] | None:
        """The nodes of the norm whose mean square is ``mean``, and the one that does the same; None: it is no such."""
        axis, square = self._axis(mean), self._maker.get(mean.inputs[0])
        base = self._squared(square) if square is not None else None
        if axis is None or square is None or base is None:
            return None
        parts, epsilon, at = [square, mean], 0.0, self._only(mean)
        if at is not None and at.op == "Add":
            epsilon, parts, at = self._beside(at, mean), [*parts, at], self._only(at)
        if at is None or not epsilon >= 0 or self._only(square) is not mean:
            return None
        divides = at.op == "Sqrt" or (at.op == "Pow" and self._number(at.input(1)) == 0.5)
        parts, last = [*parts, at], self._only(at)
        if divides and last is not None and (last.op == "Reciprocal" or self._one_over(last, at)):
            divides, parts, last = False, [*parts, last], self._only(last)
        elif not divides and not (at.op == "Pow" and self._number(at.input(1)) == -0.5):
            return None
        factor = parts[-1].outputs[0]
        whole = (base, factor) if divides else {base, factor}
        if last is None or last.domain or last.op != ("Div" if divides else "Mul"):
            return None
        if (last.inputs if divides else set(last.inputs)) != whole:
            return None
        source, centre = self._centred(base, axis, {id(square), id(last)})
        op = "LayerNormalization" if centre else RMS
        norm = self.make(last, op, source, {"axis": axis, "epsilon": epsilon, ALONE: 1})
        return [*centre, *parts, last, norm]

    def _centred(self, base: str, axis: int, readers: set[int]) -> tuple[str, list[N]]:
        """The tensor of which ``base`` is what is left less its mean, and the nodes for it; ``base`` and none."""
        less = self._maker.get(base)
        if less is None or less.domain or less.op != "Sub" or len(less.inputs) != 2:
            return base, []
        mean = self._maker.get(less.inputs[1])
        own = {id(node) for node in self._readers.get(base, ())} == readers and base not in self.outputs
        if mean is None or mean.op != "ReduceMean" or self._axis(mean) != axis or self._only(mean) is not less:
            return base, []
        return (less.inputs[0], [mean, less]) if own and mean.inputs[0] == less.inputs[0] else (base, [])

    def _axis(self, mean: N) -> int | None:
        """The one axis that ``mean`` is taken over and keeps; None where it does not."""
        axes = mean.attributes.get("axes")
        if axes is None and mean.input(1):
            given = self._value(mean.input(1))
            axes = None if given is None else given.ravel().tolist()
        if mean.domain or not mean.attributes.get("keepdims", 1) or axes is None or len(axes) != 1:
            return None
        return int(axes[0])

    def _squared(self, node: N) -> str | None:
        """The tensor whose square ``node`` makes."""
        if node.domain or len(node.inputs) != 2:
            return None
        if node.op == "Pow":
            return node.inputs[0] if self._number(node.inputs[1]) == 2 else None
        return node.inputs[0] if node.op == "Mul" and node.inputs[0] == node.inputs[1] else None

    def _one_over(self, node: N, root: N) -> bool:
        return node.op == "Div" and node.inputs[1:] == root.outputs[:1] and self._number(node.inputs[0]) == 1

    def _beside(self, node: N, first: N) -> float:
        """The number that ``node`` adds to what ``first`` makes; NaN where it is none."""
        others = [name for name in node.inputs if name != first.outputs[0]]
        number = self._number(others[0]) if len(others) == 1 else None
        return float("nan") if number is None else number

    def _only(self, node: N) -> N | None:
        """The node that alone reads what ``node`` makes."""
        readers = self._readers.get(node.outputs[0], ())
        return readers[0] if len(readers) == 1 and node.outputs[0] not in self.outputs else None

    def _number(self, name: str) -> float | None:
        value = self._value(name)
        return float(value.ravel()[0]) if value is not None and value.size == 1 else None

    def _value(self, name: str) -> np.ndarray | None:
        """The constant ``name``: an initializer, or what a Constant makes."""
        node = self._maker.get(name)
        if node is not None and node.op == "Constant" and "value" in node.attributes:
            return np.asarray(numpy_helper.to_array(node.attributes["value"]))
        return self.constants.get(name)
