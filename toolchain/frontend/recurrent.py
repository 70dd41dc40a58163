"""Brevitas' QuantLSTM as the layers, functions and products of its steps: it is unrolled before anything reads it.

The order of the operations is that of `brevitas.nn.quant_rnn`: float32 gives the numbers of the trained network.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper, shape_inference

from toolchain.ir.names import Names

CELL = "QuantLSTMCell"
MOST_STEPS = 256
"""Longer sequences would be thousands of layers, which no board holds; they stay one node and are refused."""

_GATES = ("input", "forget", "cell", "output")
_QUANTIZERS = (
    "output", "cell_state", *(f"{gate}_acc" for gate in _GATES),
    "input_sigmoid", "forget_sigmoid", "cell_tanh", "output_sigmoid", "hidden_state_tanh",
)  # fmt: skip
_WEIGHTS, _INPUTS = 3, 15
_QUANTS = frozenset({"Quant", "IntQuant", "BipolarQuant"})
_AXES_INPUT = 13
"""The first opset whose Unsqueeze reads the axes as an input."""


def unroll(model: onnx.ModelProto, opset: int) -> None:
    """Write the steps of every QuantLSTMCell of ``model`` in its place, where its sequence has a known length.

    What takes single steps of its outputs, or the state of a layer, reads those directly.
    """
    if any(node.op_type == CELL for node in model.graph.node):
        _Unrolling(model, opset).run()


@dataclass(frozen=True)
class _Stack:
    """A tensor that joins ``parts``, each without ``axis``, along that."""

    axis: int
    parts: tuple[str, ...]


class _Unrolling:
    def __init__(self, model: onnx.ModelProto, opset: int) -> None:
        self.model, self.graph, self.opset = model, model.graph, opset
        self.constants = {tensor.name: tensor for tensor in self.graph.initializer} | dict(_constants(self.graph))
        tensors = (name for node in self.graph.node for name in (*node.input, *node.output))
        self.tensors = Names([*self.constants, *tensors])
        self.nodes: list[onnx.NodeProto] = []
        self.stacks: dict[str, _Stack] = {}
        self.states: set[str] = set()
        self.turned: set[str] = set()

    def run(self) -> None:
        """Rewrite the nodes in their order."""
        left = list(self.graph.node)
        for node in left:
            self._turn(node)
        for i, node in enumerate(left):
            steps = self._steps(node, left[i:]) if node.op_type == CELL else 0
            if steps:
                _Cell(self, node, steps).write()
            elif not self._moved(node):
                self.nodes.append(node)
        del self.graph.node[:]
        self.graph.node.extend(self.nodes)

    def node(self, op: str, inputs: Sequence[str], name: str, output: str = "", **attributes: Any) -> str:
        """Add a node; returns the tensor that it makes."""
        output = output or self.tensors.fresh(name)
        self.nodes.append(helper.make_node(op, list(inputs), [output], name, **attributes))
        return output

    def constant(self, name: str, array: np.ndarray) -> str:
        """Add ``array`` as an initializer; return its name."""
        name = self.tensors.fresh(name)
        self.graph.initializer.append(numpy_helper.from_array(array, name))
        return name

    def numbers(self, name: str) -> np.ndarray | None:
        """The constant tensor ``name``; None where it is none."""
        tensor = self.constants.get(name)
        try:
            return None if tensor is None else numpy_helper.to_array(tensor)
        except (ValueError, TypeError, KeyError):  # told where the file's constants are read
            return None

    def stack(self, name: str, output: str, stack: _Stack) -> None:
        """Let ``output`` join the parts of ``stack``, for those that do not take one of them."""
        self.stacks[output] = stack
        parts = [self._unsqueezed(f"{name}/{i}", part, stack.axis) for i, part in enumerate(stack.parts)]
        self.node("Concat", parts, name, output, axis=stack.axis)

    def _unsqueezed(self, name: str, x: str, axis: int) -> str:
        if self.opset < _AXES_INPUT:
            return self.node("Unsqueeze", [x], name, axes=[axis])
        return self.node("Unsqueeze", [x, self.constant(f"{name}/axes", np.array([axis]))], name)

    def sequence_axis(self, cell: onnx.NodeProto) -> int:
        """Return the axis of the cell's input along which the steps lie."""
        return 1 if cell.input[0] in self.turned else _sequence_axis(cell)

    def _turn(self, node: onnx.NodeProto) -> None:
        """Let a Transpose to (steps, N, features) that only cells read, maybe quantized, put the batch first."""
        perm = next((a for a in node.attribute if a.name == "perm"), None)
        if node.op_type != "Transpose" or perm is None or len(perm.ints) != 3 or perm.ints[1]:
            return
        tensors, readers = {node.output[0]}, []
        for other in self.graph.node:
            if tensors & set(other.input[:1]) and other.op_type in _QUANTS:
                tensors |= set(other.output)
            elif tensors & set(other.input):
                readers.append(other)
        if readers and all(other.op_type == CELL and not _sequence_axis(other) for other in readers):
            perm.ints[:2] = [0, perm.ints[0]]
            self.turned |= tensors

    def _steps(self, cell: onnx.NodeProto, left: Sequence[onnx.NodeProto]) -> int:
        """The length of the sequence that ``cell`` reads; 0 where it is not known or too long, or the node another."""
        if len(cell.input) != _INPUTS + 3 * len(_QUANTIZERS) or len(cell.output) != 3:
            return 0
        stack = self.stacks.get(cell.input[0])
        steps = len(stack.parts) if stack else self._inferred(cell, left)
        return steps if steps <= MOST_STEPS else 0

    def _inferred(self, cell: onnx.NodeProto, left: Sequence[onnx.NodeProto]) -> int:
        """The sequence's length by the shapes of what is in front of it, where quantizers change none."""
        copy = onnx.ModelProto()
        copy.CopyFrom(self.model)
        del copy.graph.node[:], copy.graph.value_info[:], copy.graph.output[:]
        for node in [*self.nodes, *left[: left.index(cell)]]:
            quant = node.op_type in _QUANTS
            copy.graph.node.append(helper.make_node("Identity", node.input[:1], node.output[:1]) if quant else node)
        copy.graph.output.append(helper.make_empty_tensor_value_info(cell.input[0]))
        try:
            found = shape_inference.infer_shapes(copy).graph
        except shape_inference.InferenceError:
            return 0
        shapes = {
            info.name: info.type.tensor_type.shape.dim for info in (*found.input, *found.value_info, *found.output)
        }
        dims, axis = shapes.get(cell.input[0], []), self.sequence_axis(cell)
        return int(dims[axis].dim_value) if len(dims) == 3 else 0

    def _moved(self, node: onnx.NodeProto) -> bool:
        """Return whether ``node`` only joins or takes states and steps; its sources then stand for its output."""
        attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
        sources = [self.stacks.get(name) for name in node.input]
        if not sources or not node.output:
            return False
        if node.op_type == "Unsqueeze" and node.input[0] in self.states:
            axes = attributes.get("axes", self.numbers(node.input[1]) if len(node.input) > 1 else None)
            if axes is not None and list(np.ravel(axes)) == [0]:
                self.stacks[node.output[0]] = _Stack(0, (node.input[0],))
        elif node.op_type == "Concat" and all(s is not None and s.axis == attributes.get("axis") for s in sources):
            joined = tuple(part for source in sources if source is not None for part in source.parts)
            self.stacks[node.output[0]] = _Stack(attributes["axis"], joined)
        elif (
            node.op_type == "Gather"
            and len(sources) > 1
            and sources[0]
            and sources[0].axis == attributes.get("axis", 0)
        ):
            index, parts = self.numbers(node.input[1]), sources[0].parts
            if index is not None and not index.ndim and -len(parts) <= index < len(parts):
                self.node("Identity", [parts[int(index)]], node.name, node.output[0])
                return True
        elif (squeezed := self._squeezed(node)) is not None:
            self.node("Identity", [squeezed], node.name, node.output[0])
            return True
        return False

    def _squeezed(self, node: onnx.NodeProto) -> str | None:
        """The only part of the stack along axis 0 that ``node`` squeezes: a Squeeze, or torch's If on that axis."""
        makers = {name: made for made in self.nodes for name in made.output}
        source: onnx.NodeProto | None = node if node.op_type in ("If", "Squeeze") else None
        for op in ("If", "Equal", "Gather", "Shape") if node.op_type == "If" else ():
            if source is None or source.op_type != op or (op == "If" and not _squeezes(source)):
                return None
            source = makers.get("".join(source.input[:1])) if op != "Shape" else source
        if source is None or not source.input or source.op_type not in ("Shape", "Squeeze"):
            return None
        stack = self.stacks.get(source.input[0])
        if source.op_type == "Squeeze":
            axes = next((a.ints for a in node.attribute if a.name == "axes"), None)
            axes = self.numbers(node.input[1]) if axes is None and len(node.input) > 1 else axes
            if axes is None or list(axes) != [0]:
                return None
        return stack.parts[0] if stack and stack.axis == 0 and len(stack.parts) == 1 else None


class _Cell:
    """A QuantLSTMCell, and the steps that take its place."""

    def __init__(self, unrolling: _Unrolling, node: onnx.NodeProto, steps: int) -> None:
        self.to, self.proto, self.steps = unrolling, node, steps
        self.attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
        self.name = node.name or CELL
        rest = node.input[_INPUTS:]
        self.quantizers = {name: rest[3 * i : 3 * i + 3] for i, name in enumerate(_QUANTIZERS)}

    def write(self) -> None:
        """Add the steps, and what joins their states."""
        hidden, cell = (self._start(index) for index in (1, 2))
        order = range(self.steps)
        states = {}
        for t in reversed(order) if self.attributes.get("reverse_input") else order:
            hidden, cell = self._step(t, hidden, cell)
            states[t] = hidden
        self.to.stack(
            self.name, self.proto.output[0], _Stack(_sequence_axis(self.proto), tuple(states[t] for t in order))
        )
        for output, state in zip(self.proto.output[1:], (hidden, cell), strict=True):
            self.to.states.add(self.to.node("Identity", [state], f"{self.name}/{output}", output))

    def _start(self, index: int) -> str:
        """The first state; "" where it is zeros."""
        numbers = self.to.numbers(self.proto.input[index])
        return "" if numbers is not None and not numbers.any() else self.proto.input[index]

    def _step(self, t: int, hidden: str, cell: str) -> tuple[str, str]:
        """The states behind step ``t``; "" stands for zeros, of which nothing is computed."""
        at, x = f"{self.name}/{t}", self._input(t)
        given = self._gate(at, "input", x, hidden)
        new = self._node(at, "Mul", "new", given, self._gate(at, "cell", x, hidden))
        state = self._quant(at, "cell_state", new, "new")
        if cell:
            kept = self._node(at, "Mul", "kept", self._forget(at, x, hidden, given), cell)
            total = self._node(at, "Add", "cell", self._quant(at, "cell_state", kept, "kept"), state)
            state = self._quant(at, "cell_state", total)
        told = self._quant(at, "hidden_state_tanh", self._node(at, "Tanh", "tanh", state))
        out = self._node(at, "Mul", "out", self._gate(at, "output", x, hidden), told)
        return self._quant(at, "output", out), state

    def _input(self, t: int) -> str:
        source = self.proto.input[0]
        if source in self.to.stacks:
            return self.to.stacks[source].parts[t]
        index = self.to.constant(f"{self.name}/{t}/index", np.array(t))
        return self.to.node("Gather", [source, index], f"{self.name}/{t}/x", axis=self.to.sequence_axis(self.proto))

    def _gate(self, at: str, gate: str, x: str, hidden: str) -> str:
        place, at = _GATES.index(gate), f"{at}/{gate}"
        of_input, of_state, bias = (self.proto.input[_WEIGHTS + 4 * part + place] for part in range(3))
        total = self._node(at, "Gemm", "x", x, of_input, transB=1)
        if hidden:
            total = self._node(at, "Add", "sum", total, self._node(at, "Gemm", "h", hidden, of_state, transB=1))
        numbers = self.to.numbers(bias)
        if numbers is None or numbers.any():
            total = self._node(at, "Add", "bias", total, bias)
        function = "tanh" if gate == "cell" else "sigmoid"
        curve = self._node(at, function.title(), function, self._quant(at, f"{gate}_acc", total))
        return self._quant(at, f"{gate}_{function}", curve)

    def _forget(self, at: str, x: str, hidden: str, given: str) -> str:
        """The forget gate, or one less the ``given`` input gate where the two are coupled."""
        if not self.attributes.get("cifg"):
            return self._gate(at, "forget", x, hidden)
        one = self._quant(at, "input_sigmoid", self.to.constant(f"{at}/one", np.ones((1, 1), np.float32)), "one")
        return self._node(at, "Sub", "forget", one, given)

    def _node(self, at: str, op: str, name: str, *inputs: str, **attributes: Any) -> str:
        return self.to.node(op, inputs, f"{at}/{name}", **attributes)

    def _quant(self, at: str, quantizer: str, x: str, name: str = "") -> str:
        narrow = self.attributes.get(f"{quantizer}_narrow", self.attributes.get(f"{quantizer}_narrow_range", 0))
        return self.to.node(
            "Quant",
            [x, *self.quantizers[quantizer]],
            f"{at}/{quantizer}" + (f"/{name}" if name else ""),
            domain=self.proto.domain,
            signed=self.attributes.get(f"{quantizer}_signed", 1),
            narrow=narrow,
            rounding_mode=self.attributes.get(f"{quantizer}_rounding_mode", "ROUND"),
        )


def _squeezes(node: onnx.NodeProto) -> bool:
    """Return whether the first branch of an If is a Squeeze."""
    branch = next((a.g for a in node.attribute if a.name == "then_branch"), None)
    return branch is not None and [inner.op_type for inner in branch.node] == ["Squeeze"]


def _sequence_axis(cell: onnx.NodeProto) -> int:
    return 1 if any(a.name == "batch_first" and a.i for a in cell.attribute) else 0


def _constants(graph: onnx.GraphProto) -> Iterator[tuple[str, onnx.TensorProto]]:
    """The tensors of Constant nodes."""
    for node in graph.node:
        yield from ((node.output[0], a.t) for a in node.attribute if node.op_type == "Constant" and a.name == "value")
