"""What of a network is left to the host: rest.onnx, which the driver runs in onnxruntime."""

from __future__ import annotations

from pathlib import Path

import onnx

from toolchain.files import write_bytes
from toolchain.flow.build import REST
from toolchain.flow.records import HostRecord
from toolchain.frontend.host_part import rest_of
from toolchain.frontend.onnx_file import load_onnx
from toolchain.frontend.read import ModelFile
from toolchain.ir.graph import Graph

TOLD = 8
"""Nodes that a note names."""


def host_part(path: Path, file: ModelFile, graph: Graph) -> tuple[HostRecord | None, onnx.ModelProto | None]:
    """What stands in the file ``path`` behind the outputs of its ``graph``, as read to ``file``, and the model of it.

    None where nothing does, or where the accelerator's outputs are codes that stand for no real values.
    """
    whole, layouts = load_onnx(path), [file.output_layout(name) for name in file.outputs]
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
    )
    return record, rest


def host_notes(host: HostRecord | None) -> list[str]:
    """The note of the report."""
    if host is None:
        return []
    told = ", ".join(host.nodes[:TOLD]) + (f" and {len(host.nodes) - TOLD} more" if len(host.nodes) > TOLD else "")
    return [f"left to the host, {REST}: {told}; results() of the driver runs it in onnxruntime"]


def write_rest(rest: onnx.ModelProto | None, folder: Path) -> None:
    """Write rest.onnx to ``folder``, or remove that of a network before."""
    if rest is None:
        (folder / REST).unlink(missing_ok=True)
    else:
        write_bytes(folder / REST, rest.SerializeToString(deterministic=True))
