"""A folded ONNX model cut into pieces that run one after the other, so that few of its tensors are held at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import onnx
from onnx import helper

Arrays = dict[str, np.ndarray]
Run = Callable[[Arrays], Arrays]

FLOAT32_BYTES = 4


@dataclass(frozen=True)
class Piece:
    """A part of the model ``whole``: its nodes read ``inputs``, tensors of earlier pieces, and make ``outputs``."""

    whole: onnx.ModelProto
    nodes: tuple[onnx.NodeProto, ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]

    def model(self, given: Mapping[str, np.ndarray]) -> onnx.ModelProto:
        """The model of this piece for inputs of the shapes of ``given``."""
        known = (*self._types.graph.value_info, *self.whole.graph.output)
        kinds = {value.name: value.type.tensor_type.elem_type for value in known}
        read = {name for node in self.nodes for name in node.input}
        graph = helper.make_graph(
            self.nodes,
            self.whole.graph.name,
            [
                helper.make_tensor_value_info(
                    name, helper.np_dtype_to_tensor_dtype(given[name].dtype), given[name].shape
                )
                for name in self.inputs
            ],
            [
                helper.make_tensor_value_info(name, kinds.get(name, onnx.TensorProto.FLOAT), None)
                for name in self.outputs
            ],
            [array for array in self.whole.graph.initializer if array.name in read],
        )
        return helper.make_model(graph, opset_imports=self.whole.opset_import, ir_version=self.whole.ir_version)

    @cached_property
    def _types(self) -> onnx.ModelProto:
        return onnx.shape_inference.infer_shapes(self.whole)


def cut(model: onnx.ModelProto, wanted: Mapping[str, int], room: int) -> list[Piece]:
    """``model`` in pieces whose ``wanted`` tensors, of so many float32 elements each, take ``room`` bytes at most.

    A piece makes one wanted tensor at least. The last one ends with the last wanted tensor.
    """
    groups: list[list[onnx.NodeProto]] = [[]]
    held = 0
    for node in model.graph.node:
        groups[-1].append(node)
        made = sum(wanted.get(name, 0) * FLOAT32_BYTES for name in node.output)
        if made:
            held += made
            groups.append([])
            if held <= room:  # joined with the piece before
                groups[-2:] = [groups[-2]]
            else:
                held = 0
    groups = [nodes for nodes in groups if nodes]
    known = {array.name for array in model.graph.initializer} | {""}
    pieces = []
    for i, nodes in enumerate(groups):
        made_here = [name for node in nodes for name in node.output]
        later = {name for rest in groups[i + 1 :] for node in rest for name in node.input}
        read = dict.fromkeys(name for node in nodes for name in node.input)
        outputs = tuple(name for name in made_here if name in wanted or name in later)
        inputs = tuple(name for name in read if name not in known and name not in set(made_here))
        pieces.append(Piece(model, tuple(nodes), inputs, outputs))
    return [piece for piece in pieces if piece.outputs]


class PieceRunner:
    """Runs ``pieces`` with what ``make`` makes of each one's model, once."""

    def __init__(self, pieces: Sequence[Piece], make: Callable[[onnx.ModelProto], Run]) -> None:
        self._pieces = pieces
        self._make = make
        self._runs: dict[int, Run] = {}

    def tensors(self, source: str, frames: np.ndarray, wanted: Mapping[str, int]) -> Iterator[tuple[str, np.ndarray]]:
        """The ``wanted`` tensors for the input ``frames`` called ``source``, each freed when nothing reads it."""
        live: Arrays = {source: frames}
        if source in wanted:
            yield source, frames
        for i, piece in enumerate(self._pieces):
            given = {name: live[name] for name in piece.inputs}
            if i not in self._runs:
                self._runs[i] = self._make(piece.model(given))
            found = self._runs[i](given)
            del given
            later = {name for rest in self._pieces[i + 1 :] for name in rest.inputs}
            live = {name: array for name, array in (live | found).items() if name in later}
            for name in piece.outputs:
                array = found.pop(name)
                if name in wanted:
                    yield name, array
                del array
