"""Several inputs of an ONNX file as one: the host joins their frames, and nodes in front of the network part them.

Inputs that differ in channels alone are joined along these. Others are flattened, maps with their channels last, so
that the elements of each come in the order in which the accelerator streams them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from onnx import helper, numpy_helper

from toolchain.errors import UserError
from toolchain.ir.names import Names

SPLIT_INPUT = 13
"""The first opset whose Split reads the sizes as an input."""


@dataclass(frozen=True)
class Joined:
    """The joining of frames of several inputs into one along ``axis`` of their arrays; flattened where it is None.

    ``shapes`` are those of a frame by the inputs' names, in their order.
    """

    shapes: Mapping[str, tuple[int, ...]]
    axis: int | None

    def join(self, given: Mapping[str, np.ndarray]) -> np.ndarray:
        """The frames of all inputs, (N, ...) by name, as those of one.

        Raises:
            UserError: an input is missing or unknown, or its array does not fit; they are not of one kind of number.
        """
        if set(given) != set(self.shapes):
            have, want = (", ".join(map(repr, sorted(names))) or "none" for names in (given, self.shapes))
            raise UserError(f"arrays of the inputs {have}, the network has {want}", hint="give one array an input")
        frames = {len(array) for array in given.values() if array.ndim}
        for name, shape in self.shapes.items():
            if given[name].shape[1:] != shape or len(frames) > 1:
                takes = f"the network takes (N, {', '.join(map(str, shape))})"
                raise UserError(
                    f"the array of '{name}' has the shape {given[name].shape}, {takes}",
                    hint="give as many frames of every input",
                )
        if len({np.issubdtype(array.dtype, np.floating) for array in given.values()}) > 1:
            raise UserError(
                "integers for one input and real numbers for another",
                hint="give the values that the network reads, as float32, for all of them",
            )
        parts = [given[name] for name in self.shapes]
        if self.axis is not None:
            return np.concatenate(parts, axis=self.axis)
        # no -1: of no frames it is not known
        flat = [np.moveaxis(part, 1, -1).reshape(len(part), int(np.prod(part.shape[1:]))) for part in parts]
        return np.concatenate(flat, axis=1)


def join_inputs(path: Path, model: onnx.ModelProto, opset: int) -> Joined | None:
    """Give ``model`` one input in place of several; None where it has not several.

    Raises:
        UserError: an input has no fixed shape or nothing reads it, or two are of other types or batches.
    """
    graph = model.graph
    constants = {tensor.name for tensor in graph.initializer}
    inputs = [value for value in graph.input if value.name not in constants]
    if len(inputs) < 2:
        return None
    shapes = {value.name: _shape(path, value) for value in inputs}
    kinds = {value.type.tensor_type.elem_type for value in inputs}
    read = {name for node in graph.node for name in node.input}
    for name in shapes:
        if name not in read:
            raise UserError(f"nothing reads the input '{name}'", where=path.name, hint="export the model without it")
    batches = {shape[0] for shape in shapes.values()}
    if len(kinds) > 1 or len(batches) > 1:
        what = "types" if len(kinds) > 1 else "numbers of frames"
        names = ", ".join(f"'{name}'" for name in shapes)
        raise UserError(f"the inputs {names} are of other {what}", where=path.name, hint="export them alike")
    found = Joined(
        {name: shape[1:] for name, shape in shapes.items()}, _axis(graph, list(shapes.values()), set(shapes))
    )
    _part(model, found, opset, next(iter(batches)), next(iter(kinds)))
    return found


def _shape(path: Path, value: onnx.ValueInfoProto) -> tuple[int, ...]:
    sizes = tuple(max(int(d.dim_value), 0) for d in value.type.tensor_type.shape.dim)
    if not 2 <= len(sizes) <= 4 or 0 in sizes[1:]:
        raise UserError(
            f"input '{value.name}' has the shape {sizes}; only the batch may be left open",
            where=path.name,
            hint="export inputs (N, features), (N, channels, length) or (N, channels, height, width) of fixed size",
        )
    return sizes


def _axis(graph: onnx.GraphProto, shapes: Sequence[tuple[int, ...]], names: set[str]) -> int | None:
    """Along which the inputs are joined: channels, the last axis where a Transpose in front of the network says so."""
    first = shapes[0]
    last = any(_takes_last(node) for node in graph.node if names & set(node.input))
    for axis in (len(first) - 1, 1) if last else (1,):
        if all((*shape[:axis], *shape[axis + 1 :]) == (*first[:axis], *first[axis + 1 :]) for shape in shapes):
            return axis
    return None


def _takes_last(node: onnx.NodeProto) -> bool:
    perm = next((list(a.ints) for a in node.attribute if node.op_type == "Transpose" and a.name == "perm"), [])
    return len(perm) > 2 and perm == [0, len(perm) - 1, *range(1, len(perm) - 1)]


def _part(model: onnx.ModelProto, joined: Joined, opset: int, batch: int, kind: int) -> None:
    """Put the one input and the nodes that part it into ``model``."""
    graph, names = model.graph, list(joined.shapes)
    tensors = Names([*names, *(name for node in graph.node for name in (*node.input, *node.output))])
    source = tensors.fresh("_".join(names))
    shapes = list(joined.shapes.values())
    flat = joined.axis is None
    axis = joined.axis or 1
    sizes = [int(np.prod(shape)) if flat else shape[axis - 1] for shape in shapes]
    whole = (sum(sizes),) if flat else (*shapes[0][: axis - 1], sum(sizes), *shapes[0][axis:])
    maps = [flat and len(shape) > 1 for shape in shapes]
    ends = [tensors.fresh(f"{name}_flat") if moved else name for name, moved in zip(names, maps, strict=True)]

    def constant(text: str, numbers: Sequence[int]) -> str:
        name = tensors.fresh(text)
        graph.initializer.append(numpy_helper.from_array(np.array(numbers, np.int64), name))
        return name

    given = [source, constant(f"{source}_sizes", sizes)] if opset >= SPLIT_INPUT else [source]
    split = helper.make_node("Split", given, ends, f"{source}_split", axis=axis)
    if opset < SPLIT_INPUT:
        split.attribute.append(helper.make_attribute("split", sizes))
    nodes = [split]
    for name, end, shape, moved in zip(names, ends, shapes, maps, strict=True):
        if moved:
            rows = tensors.fresh(f"{name}_rows")
            target = constant(f"{name}_shape", (0, *shape[1:], shape[0]))
            perm = [0, len(shape), *range(1, len(shape))]
            nodes.append(helper.make_node("Reshape", [end, target], [rows], rows))
            nodes.append(helper.make_node("Transpose", [rows], [name], f"{name}_channels_first", perm=perm))
    kept = [value for value in graph.input if value.name not in joined.shapes]
    first = "N" if batch == 0 else batch
    del graph.input[:]
    graph.input.extend([helper.make_tensor_value_info(source, kind, (first, *whole)), *kept])
    rest = list(graph.node)
    del graph.node[:]
    graph.node.extend([*nodes, *rest])
