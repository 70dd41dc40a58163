"""The part of a network in front of the accelerator: first.onnx, which the driver runs in onnxruntime."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx

from toolchain.errors import UserError
from toolchain.files import digest_bytes
from toolchain.flow.records import FirstRecord, InputsRecord, IntegersRecord
from toolchain.frontend.execute import execute_frames
from toolchain.frontend.front_part import front_of
from toolchain.frontend.host_part import part_bytes
from toolchain.frontend.layout import Layout
from toolchain.frontend.metadata import encoding_of
from toolchain.frontend.onnx_file import OnnxFile
from toolchain.frontend.read import input_layout
from toolchain.frontend.reader import Reader
from toolchain.frontend.several_inputs import Joined
from toolchain.ir.encode import worth
from toolchain.ir.graph import Graph
from toolchain.ir.types import Array, InputType


def shapes_of(file: OnnxFile, starts: tuple[str, ...]) -> Mapping[str, tuple[int, ...]] | None:
    """Shapes (1, ...) of the tensors ``starts``, computed of one frame of zeros; None where the host cannot run it."""
    front = front_of(file, starts)
    if front is None:
        return None
    try:
        found = execute_frames(front, np.zeros((1, *file.shape[1:]), _dtype(file)))
    except UserError:
        return None
    fits = all(a.dtype == np.float32 and 2 <= a.ndim <= 4 and len(a) == 1 and a.size for a in found.values())
    return {name: found[name].shape for name in starts} if fits else None


def host_input(file: OnnxFile, given: InputType | None) -> tuple[Layout, InputType | None]:
    """How frames lie in the input of ``file``, and what integers of it are worth: as ``given``, or as the file says.

    Raises:
        UserError: the file says that the host standardizes or rounds the numbers, which only an accelerator's have.
    """
    reader = Reader(file)
    layout = input_layout(reader)
    found = encoding_of(file, layout, Graph("front", reader.start(layout), (), ()))
    if found is not None and (found.quantizer or found.standard or not found.integers or found.input.rounds):
        raise UserError("the host rounds the input, and the network begins on the host", where=file.path.name)
    return layout, given if given is not None or found is None else found.input


def first_record(
    file: OnnxFile, given: InputType | None, starts: Mapping[str, object], network: str
) -> tuple[FirstRecord, onnx.ModelProto]:
    """first.onnx of ``file``, whose accelerator begins at ``starts``, and what model.json says of it."""
    layout, integers = host_input(file, given)
    front = front_of(file, tuple(starts))
    assert front is not None
    text = None
    if integers is not None:
        scale, offset = ([str(number) for number in numbers] for numbers in (integers.scale, integers.offset))
        text = IntegersRecord(low=integers.low, high=integers.high, scale=scale, offset=offset)
    record = FirstRecord(
        axes=layout.axes,
        shape=list(layout.shape),
        dtype=_dtype(file).name,
        input=text,
        joined=InputsRecord.of(file.joined),
        tensors=list(starts),
        nodes=[f"{node.op_type} '{node.name}'" for node in front.graph.node],
        sha256=digest_bytes(part_bytes(front)),
        network=network,
    )
    return record, front


def run_first(part: bytes, first: FirstRecord, images: Array, layout: Layout, joined: Joined | None) -> Array:
    """The real numbers (N, H, W, C) that the accelerator, whose input has ``layout``, reads of ``images`` (N, H, W, C).

    ``joined`` tells how the tensors of ``part``, the content of first.onnx, become one.

    Raises:
        UserError: onnxruntime does not run it.
    """
    front = onnx.load_from_string(part)
    values = images
    if np.issubdtype(images.dtype, np.integer) and first.input is not None:
        values = worth(first.input.type, images)
    found = execute_frames(front, first.layout.from_ir(values).astype(first.dtype))
    whole = joined.join(found) if joined is not None else found[first.tensors[0]]
    most = np.finfo(np.float32).max
    return layout.to_ir(np.clip(whole, -most, most))  # a logarithm of 0, which quantizers clamp


def _dtype(file: OnnxFile) -> np.dtype[np.generic]:
    if file.integer is None:
        return np.dtype(np.float32)
    return np.dtype(np.int8 if file.integer.signed else np.uint8)
