"""The part of a network that is left to the host: rest.onnx, which the driver runs in onnxruntime."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import onnx

from toolchain.files import digest_bytes, write_bytes
from toolchain.flow.build import FIRST, REST
from toolchain.flow.records import FirstRecord, HostRecord
from toolchain.frontend.host_part import part_bytes, rest_of
from toolchain.frontend.onnx_file import OnnxFile
from toolchain.frontend.read import ModelFile
from toolchain.ir.graph import Graph

TOLD = 8
"""Nodes that a note names."""


def host_part(whole: OnnxFile, file: ModelFile, graph: Graph) -> tuple[HostRecord | None, onnx.ModelProto | None]:
    """The operations of ``whole`` behind the outputs of its ``graph``, as read to ``file``, and the model of it.

    None where nothing does, or where the accelerator's outputs are codes that stand for no real values.
    """
    layouts = [file.output_layout(name) for name in file.outputs]
    if any(output.decoding is None for output in graph.outputs) or set(file.outputs) & set(file.zeros):
        return None, None
    shapes = {name: layout.onnx_shape(1) for name, layout in zip(file.outputs, layouts, strict=True)}
    rest = rest_of(whole, shapes)
    if rest is None:
        return None, None
    record = HostRecord(
        tensors=list(file.outputs),
        axes=[layout.axes for layout in layouts],
        outputs=list(whole.outputs),
        nodes=[f"{node.op_type} '{node.name}'" for node in rest.graph.node],
        sha256=digest_bytes(part_bytes(rest)),
    )
    return record, rest


def host_notes(first: FirstRecord | None, host: HostRecord | None) -> list[str]:
    """The notes of the report."""
    notes = []
    if first is not None:
        notes.append(f"left to the host in front, {FIRST}: {_told(first.nodes)}; the driver runs it in onnxruntime")
    if host is not None:
        notes.append(f"left to the host, {REST}: {_told(host.nodes)}; results() of the driver runs it in onnxruntime")
    return notes


def _told(nodes: Sequence[str]) -> str:
    return ", ".join(nodes[:TOLD]) + (f" and {len(nodes) - TOLD} more" if len(nodes) > TOLD else "")


def write_part(part: onnx.ModelProto | None, path: Path) -> None:
    """Write ``part`` of a network to ``path``, or remove that of a network before."""
    if part is None:
        path.unlink(missing_ok=True)
    else:
        write_bytes(path, part_bytes(part))
