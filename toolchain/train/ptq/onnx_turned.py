"""Maps of float ONNX files whose channels come last, as Keras' exporters have them: read as if they came first.

PyTorch's layers take (N, C, ...), and so is every tensor of the network. Nodes that read one which the file has as
(N, ..., C) get their axes and constants moved; a Transpose between the two orders is nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import prod

import numpy as np
import torch

from toolchain.frontend.onnx_file import OnnxNode
from toolchain.frontend.written_norms import ALONE
from toolchain.ir.types import Array
from toolchain.train.own.kinds import FeatureMap
from toolchain.train.ptq.curves import ALIKE
from toolchain.train.ptq.onnx_arithmetic import bias_of
from toolchain.train.ptq.onnx_builder import Builder
from toolchain.train.ptq.onnx_moves import regroup

_HINT = "transpose it to (N, channels, ...) in front"
_ROW_OPS = ("Squeeze", "Unsqueeze")
_WINDOWS = frozenset(["AveragePool", "Conv", "MaxPool"])


class Turned:
    """Which tensors of ``build`` the file has in another order.

    Args:
        build: the network under construction.
        last: the input has its channels last.
    """

    def __init__(self, build: Builder, *, last: bool) -> None:
        self.build = build
        self.last: dict[str, int] = {build.file.input: len(build.file.shape)} if last else {}  # and their ranks
        self.listed: set[str] = set()  # of ``last``, those that the file has as a list of positions (N * positions, C)
        self.read_already: set[str] = set()  # what is known before the node that makes it
        self.flat: dict[str, Array] = {}  # flattened ones: for each feature of the file, the network's

    def read(self, node: OnnxNode) -> OnnxNode | None:
        """``node`` as it is on tensors with channels first; None where nothing is left to do."""
        if node.outputs[0] in self.read_already:
            return None
        if node.inputs and node.inputs[0] in self.build.groups:
            regroup(self.build, node)
            return None
        if node.op == "Transpose" and node.inputs[0] not in self.build.constants:
            self._transpose(node)
            return None
        if (node.op == "Reshape" and self._renames(node)) or (node.op in _ROW_OPS and self._row(node)):
            return None
        if any(name in self.flat for name in node.inputs):
            return self._flat(node)
        if node.op == "Reshape" and self._lists(node):
            return None
        if node.op in ("Reshape", "Unsqueeze") and not any(name in self.last for name in node.inputs):
            return None if node.op == "Reshape" and self._features(node) else self._position(node)
        if any(name in self.last for name in node.inputs):
            return self._turned(node)
        return node

    def shape(self, node: OnnxNode) -> tuple[int, ...]:
        """The shape that the file gives the first tensor that ``node`` reads."""
        shape = self._map(node)
        return (prod(shape[:-1]), shape[-1]) if node.inputs[0] in self.listed else shape

    def _map(self, node: OnnxNode) -> tuple[int, ...]:
        """The same; of a list of positions that of the map."""
        curve = self.build.curves.get(node.inputs[0])
        batch, *rest = (self.build.value(node) if curve is None else self.build.tensor(curve.source))[1].shape
        if node.inputs[0] in self.build.rows:
            rest.insert(self.build.rows[node.inputs[0]] - 1, 1)
        return (batch, *rest[1:], rest[0]) if node.inputs[0] in self.last else (batch, *rest)

    def _transpose(self, node: OnnxNode) -> None:
        """Between the two orders, which is another view of the tensor."""
        name, rank = node.inputs[0], len(self.shape(node))
        given = [int(axis) for axis in node.attributes.get("perm", reversed(range(rank)))]
        to_last, to_first = [0, *range(2, rank), 1], [0, rank - 1, *range(1, rank - 1)]
        alike = given == list(range(rank))
        known = alike or (rank > 2 and given == (to_first if name in self.last else to_last))
        if name in self.flat or not known:
            what = f"it transposes {self.shape(node)} by {given}"
            raise self.build.file.fault(node, what, "move channels to the end and back only")
        self._view(node, rank if alike == (name in self.last) else 0)

    def _view(self, node: OnnxNode, last: int) -> None:
        """The output of ``node`` is what it reads; its channels are the last of ``last`` axes, or the first."""
        name = node.outputs[0]
        self.build.view(name, node.inputs[0])
        if node.inputs[0] in self.build.rows:
            self.build.rows[name] = self.build.rows[node.inputs[0]]
        if last:
            self.last[name] = last

    def _row(self, node: OnnxNode) -> bool:
        """Return whether ``node`` makes a map of one row or column of a signal, or a signal of that: another view."""
        name, build = node.inputs[0], self.build
        if name in build.constants or name in self.flat or name in build.halves:
            return False
        sizes, single, last = self.shape(node), build.rows.get(name), name in self.last
        given = [axis % 4 for axis in build.integers(node, "axes", 1) or ()]
        position = {*(sizes[1:-1] if last else sizes[2:])} == {1}
        known = [2, 3] if node.op == "Unsqueeze" and not position and len(sizes) == 3 and single is None else []
        if node.op == "Squeeze" and single is not None and len(sizes) == 4:
            known = [single]
        found = [axis for axis in known if given == [axis - last]]
        if node.op == "Unsqueeze" and known and not last and given == [1]:
            return self._before_channels(node, sizes)
        if not found:
            return False
        self._view(node, 0)
        if last:
            self.last[node.outputs[0]] = len(sizes) + (1 if node.op == "Unsqueeze" else -1)
        build.rows.pop(node.outputs[0], None)
        if node.op == "Unsqueeze":
            build.rows[node.outputs[0]] = found[0]
        return True

    def _before_channels(self, node: OnnxNode, sizes: tuple[int, ...]) -> bool:
        """Return whether (N, 1, C, length) is reshaped to a map of one column at once, as in front of Keras' pools."""
        build, (_, channels, length) = self.build, sizes
        readers = build.readers(node.outputs[0])
        known = [other for other in readers if other.op == "Reshape" and other.input(1) in build.constants]
        shapes = [build.integers(other, "shape", 1) or [] for other in known]
        if len(known) != len(readers) or {tuple(shape[1:]) for shape in shapes} != {(channels, length, 1)}:
            return False
        for reader in readers:
            build.view(reader.outputs[0], node.inputs[0])
            build.rows[reader.outputs[0]] = 3
            self.read_already.add(reader.outputs[0])
        return True

    def _renames(self, node: OnnxNode) -> bool:
        """Return whether a Reshape is such a Transpose, of a map of one channel or position, as Keras files have it."""
        source = node.inputs[0]
        if source in self.build.constants or source in self.flat:
            return False
        wanted, before = self.build.integers(node, "shape", 1) or [], self.shape(node)
        if len(wanted) != len(before) or len(before) < 3:
            return False
        batch, channels, *sizes = (before[0], before[-1], *before[1:-1]) if source in self.last else before
        after = (batch, channels, *sizes) if source in self.last else (batch, *sizes, channels)
        fits = all(n in (-1, 0, m) or (axis == 0 and n == self.build.file.shape[0])
                   for axis, (n, m) in enumerate(zip(wanted, after, strict=True)))  # fmt: skip
        if 1 not in (channels, prod(sizes)) or not fits or before == after:
            return False
        self._view(node, 0 if source in self.last else len(before))
        return True

    def _lists(self, node: OnnxNode) -> bool:
        """Return whether a Reshape lists the positions of a map, or makes it a map again, as around Keras' Dense."""
        name = node.inputs[0]
        if name not in self.last or name in self.build.rows:
            return False
        wanted, (batch, *sizes, channels) = self.build.integers(node, "shape", 1) or [], self._map(node)
        batches = {-1, self.build.file.shape[0], batch}
        if name in self.listed:
            if len(wanted) != self.last[name] or wanted[0] not in batches or wanted[1:] != [*sizes, channels]:
                return False
        elif prod(sizes) == 1 or wanted[1:] != [channels] or wanted[0] not in {n * prod(sizes) for n in batches} | {-1}:
            return False
        else:
            self.listed.add(node.outputs[0])
        self._view(node, self.last[name])
        return True

    def _position(self, node: OnnxNode) -> OnnxNode:
        """A Reshape of features; to a map of one position with the channels last, it is that to one with them first."""
        if len(self.shape(node)) != 2 or self._over_length(node):
            return node
        wanted = self._wanted(node)
        if len(wanted) < 3 or {*wanted[1:-1]} != {1}:
            return node
        self.last[node.outputs[0]] = len(wanted)
        return replace(node, op="Reshape", attributes={"shape": [wanted[0], wanted[-1], *wanted[1:-1]]})

    def _features(self, node: OnnxNode) -> bool:
        """Return whether a Reshape makes of features a signal or a map with channels last, as what reads it tells."""
        build, wanted = self.build, self._wanted(node)
        readers = build.readers(node.outputs[0])
        if len(self.shape(node)) != 2 or len(wanted) not in (3, 4) or {*wanted[1:-1]} == {1} or not readers:
            return False
        sizes = build.value(node)[1].reshape(build.sizes(self.shape(node), wanted)).shape[1:]
        to_first = [0, len(sizes), *range(1, len(sizes))]
        for reader in readers:
            turned = reader.op == "Transpose" and list(reader.attributes.get("perm", ())) == to_first
            row = reader.op == "Unsqueeze" and len(sizes) == 2 and build.integers(reader, "axes", 1) in ([1], [-3])
            if not turned and not row:
                return False
        build.call(node, [FeatureMap(*sizes[:-1])])
        self.last[node.outputs[0]] = len(wanted)
        return True

    def _wanted(self, node: OnnxNode) -> list[int]:
        """The shape that a Reshape or an Unsqueeze gives what it reads."""
        if node.op == "Reshape":
            return self.build.integers(node, "shape", 1) or []
        sizes, given = iter(self.shape(node)), self.build.integers(node, "axes", 1) or []
        rank = len(self.shape(node)) + len(given)
        return [1 if axis in {a % rank for a in given} else next(sizes) for axis in range(rank)]

    def _over_length(self, node: OnnxNode) -> bool:
        """Return whether a layer takes the features that ``node`` unsqueezes for the numbers of a signal."""
        readers = self.build.readers(node.outputs[0])
        return node.op == "Unsqueeze" and any(other.op in _WINDOWS or self._over_length(other) for other in readers)

    def _flat(self, node: OnnxNode) -> OnnxNode:
        """``node`` on features that the file has in another order: a fully connected layer, or one number at a time."""
        tensors = [other for other in node.inputs if other and other not in self.build.constants]
        name = tensors[0]
        if node.op in ALIKE and len(tensors) == 1:
            self.flat[node.outputs[0]] = self.flat[name]
            return replace(node, inputs=tuple(self._beside_flat(other, self.flat[name]) for other in node.inputs))
        weight = self.build.constant(node, 1) if node.op in ("Gemm", "MatMul") and name in self.flat else None
        if weight is None or weight.dim() != 2 or node.attributes.get("transA", 0):
            what = "it reads a map that is flattened with its channels last"
            raise self.build.file.fault(node, what, "let a fully connected layer read it")
        axis = 1 if node.attributes.get("transB", 0) else 0
        moved = np.take(weight.numpy(), np.argsort(self.flat[name]), axis=axis)
        return replace(node, inputs=(name, self.build.form(node.inputs[1], moved), *node.inputs[2:]))

    def _beside_flat(self, name: str, order: Array) -> str:
        """What stands beside features in the file's ``order`` as it stands beside the network's."""
        if name not in self.build.constants or self.build.constants.get(name).shape[-1:] != order.shape:
            return name
        return self.build.form(name, self.build.constants.get(name).take(np.argsort(order), axis=-1))

    def _turned(self, node: OnnxNode) -> OnnxNode | None:
        """``node``, which reads tensors with channels last, with its axes and constants moved."""
        build = self.build
        rank = max(self.last[other] for other in node.inputs if other in self.last)
        axes = [0, *range(2, rank), 1]  # of the network's tensor, for each of the file's
        tensors = [other for other in node.inputs if other and other not in build.constants]
        if any(other not in self.last or (other in self.listed) != (tensors[0] in self.listed) for other in tensors):
            raise build.file.fault(node, "it reads maps of both orders of the axes", _HINT)
        if tensors[0] in self.listed:
            if node.op not in ALIKE | {"Gemm", "MatMul"}:
                what = "it reads a list of a map's positions"
                raise build.file.fault(node, what, "let a fully connected layer read it")
            self.listed.add(node.outputs[0])
        attributes, inputs = dict(node.attributes), list(node.inputs)
        if node.op in ALIKE:
            inputs = [self._beside(other, rank) if other in build.constants else other for other in inputs]
        elif node.op in ("Concat", "Split"):
            attributes["axis"] = axes[int(node.attributes.get("axis", 0)) % rank]
            self.last |= dict.fromkeys(node.outputs, rank)
        elif node.op in ("ReduceMax", "ReduceMean", "ReduceSum"):
            given = build.integers(node, "axes", 1) or range(rank)
            attributes["axes"] = [axes[axis % rank] for axis in given]
            if not node.attributes.get("keepdims", 1):
                rank -= len(set(attributes["axes"]))
        elif node.op == "LayerNormalization" and int(node.attributes.get("axis", -1)) % rank == rank - 1:
            attributes |= {"axis": 1, ALONE: 1}
        elif node.op in ("Pad", "Slice"):
            given = build.integers(node, "axes", 3) or range(rank)
            attributes["axes"] = [axes[axis % rank] for axis in given]
        elif node.op in ("Gemm", "MatMul") and (weight := build.constant(node, 1)) is not None and weight.dim() == 2:
            self.last[node.outputs[0]] = rank
            return self._product(node, rank, weight)
        elif node.op in ("Flatten", "Reshape", "Squeeze"):
            return self._flattened(node)
        elif node.op == "Unsqueeze" and {*(wanted := self._wanted(node))[1:-1]} == {1}:
            self.last[node.outputs[0]] = len(wanted)
            return replace(node, op="Reshape", attributes={"shape": [wanted[0], wanted[-1], *wanted[1:-1]]})
        elif node.op not in build.operations:
            return node
        else:
            raise build.file.fault(node, f"a {node.op} of a map with its channels last", _HINT)
        if rank > 2:
            self.last[node.outputs[0]] = rank
        return replace(node, attributes=attributes, inputs=tuple(inputs))

    def _product(self, node: OnnxNode, rank: int, weight: torch.Tensor) -> OnnxNode:
        """A fully connected layer at every position of a map with ``rank`` axes: a convolution."""
        build, attributes = self.build, node.attributes
        alpha, beta = (float(attributes.get(key, 1.0)) for key in ("alpha", "beta"))
        weight = alpha * (weight if attributes.get("transB", 0) else weight.T)
        inputs = [node.inputs[0], build.form(node.inputs[1], weight.reshape(*weight.shape, *[1] * (rank - 2)).numpy())]
        bias = build.constant(node, 2)
        if bias is not None:
            each = bias_of(beta * bias, len(weight), 2)
            if each is None:
                raise build.file.fault(node, f"a bias of the shape {tuple(bias.shape)}", "give one number an output")
            inputs.append(build.form(node.inputs[2], each.numpy()))
        return replace(node, op="Conv", inputs=tuple(inputs), attributes={})

    def _flattened(self, node: OnnxNode) -> OnnxNode:
        """A flatten of a map, whose numbers lie in another order then."""
        build, name = self.build, node.inputs[0]
        batch, *sizes, channels = self.shape(node)
        if node.op == "Reshape":
            given = build.integers(node, "shape", 1) or []
            flat = len(given) == 2 and given[1] in (-1, prod(sizes) * channels)
        elif node.op == "Flatten":
            flat = int(node.attributes.get("axis", 1)) in (1, 1 - self.last[name])
        else:
            dropped = {
                axis % self.last[name] for axis in build.integers(node, "axes", 1) or range(1, self.last[name] - 1)
            }
            flat = dropped == set(range(1, self.last[name] - 1)) and set(sizes) == {1}
        if not flat:
            what = f"it reshapes a map with its channels last, {(batch, *sizes, channels)}"
            raise build.file.fault(node, what, "flatten to (N, features) only")
        order = np.arange(prod(sizes) * channels).reshape(channels, *sizes)
        if 1 not in (channels, prod(sizes)):
            self.flat[node.outputs[0]] = np.moveaxis(order, 0, -1).ravel()
        return replace(node, op="Flatten", attributes={}, inputs=(name,))

    def _beside(self, name: str, rank: int) -> str:
        """The constant ``name`` that stands beside a tensor of ``rank`` axes, its channels first."""
        array = self.build.constants.get(name)
        if array.size == 1 or array.ndim > rank:
            return name
        return self.build.form(name, np.moveaxis(array.reshape((1,) * (rank - array.ndim) + array.shape), -1, 1))


def first(shape: Sequence[int], *, last: bool) -> tuple[int, ...]:
    """The ``shape`` of a sample with its channels first; they are ``last``, or first already."""
    return (shape[-1], *shape[:-1]) if last else tuple(shape)


def in_file_order(x: torch.Tensor, *, last: bool) -> torch.Tensor:
    """A batch ``x`` with its channels first as the file has it."""
    return x.movedim(1, -1) if last else x
