"""A graph as two files: graph.json (structure) and weights.npz (arrays)."""

from __future__ import annotations

import io
import json
from dataclasses import dataclass, fields
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from toolchain import __version__
from toolchain.errors import UserError
from toolchain.files import NO_ARRAYS, digest_bytes, write_bytes, write_text
from toolchain.ir.graph import Graph, Output
from toolchain.ir.ops import HARDWARE_OPS, MODEL_OPS
from toolchain.ir.ops.node import Node
from toolchain.ir.types import Decoding, Encoding, InputType, Parallelism, QInt, Quantizer, Real, Standardization, Value

FORMAT = 3
_HEADER = ("format", "fpgaflow", "source", "weights", "digest")
_NODES = {cls.__name__: cls for cls in (*MODEL_OPS, *HARDWARE_OPS)}
_RECORDS: dict[str, type] = {
    c.__name__: c
    for c in (QInt, Real, Value, Parallelism, Quantizer, InputType, Standardization, Encoding, Decoding, Output)
}


def _pack(value: Any, key: str, arrays: dict[str, np.ndarray]) -> Any:
    if isinstance(value, np.ndarray):
        arrays[key] = value
        return {"array": key}
    if isinstance(value, Fraction):
        return {"fraction": str(value)}
    if isinstance(value, tuple):
        return [_pack(item, f"{key}.{i}", arrays) for i, item in enumerate(value)]
    if type(value).__name__ in _RECORDS:
        return {"is": type(value).__name__} | _pack_fields(value, key, arrays)
    return value


def _pack_fields(record: Any, key: str, arrays: dict[str, np.ndarray]) -> dict[str, Any]:
    return {f.name: _pack(getattr(record, f.name), f"{key}.{f.name}", arrays) for f in fields(record)}


def _unpack(value: Any, arrays: dict[str, np.ndarray]) -> Any:
    if isinstance(value, list):
        return tuple(_unpack(item, arrays) for item in value)
    if not isinstance(value, dict):
        return value
    if "array" in value:
        return arrays[value["array"]]
    if "fraction" in value:
        return Fraction(value["fraction"])
    record = dict(value)
    return _build(_RECORDS[record.pop("is")], record, arrays)


def _build(cls: type, record: dict[str, Any], arrays: dict[str, np.ndarray]) -> Any:
    known = {field.name for field in fields(cls)}
    unknown = [key for key in record if key not in known]
    if unknown:
        raise KeyError(unknown[0])
    return cls(**{key: _unpack(item, arrays) for key, item in record.items()})


@dataclass(frozen=True)
class Stored:
    """A ``graph`` as its files hold it, with its ``digest`` and the sha256 of the record it stems from."""

    graph: Graph
    digest: str
    source: str


def save(graph: Graph, folder: Path, *, source_digest: str = "") -> Stored:
    """Write graph.json and weights.npz below ``folder``; ``load`` would return the same.

    ``source_digest`` is the sha256 of the record of the file the graph stems from. The bytes depend on the graph alone.
    """
    arrays: dict[str, np.ndarray] = {}
    record = {
        "name": graph.name,
        "input": _pack(graph.input, "input", arrays),
        "nodes": [{"op": type(n).__name__} | _pack_fields(n, n.name, arrays) for n in graph.nodes],
        "outputs": [_pack(output, "outputs", arrays) for output in graph.outputs],
        "encoding": _pack(graph.encoding, "encoding", arrays),
        "classes": list(graph.classes),
    }
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)  # type: ignore[arg-type]
    weights = _array_digest(arrays)
    digest = _graph_digest(record, weights)
    header = dict(zip(_HEADER, (FORMAT, __version__, source_digest, weights, digest), strict=True))
    write_bytes(folder / "weights.npz", buffer.getvalue())
    write_text(folder / "graph.json", json.dumps(header | record, indent=1) + "\n")
    return Stored(graph, digest, source_digest)


def _graph_digest(record: dict[str, Any], weights: str) -> str:
    return digest_bytes(json.dumps(record).encode() + weights.encode())


def _array_digest(arrays: dict[str, np.ndarray]) -> str:
    return digest_bytes(b"".join(k.encode() + str(a.dtype).encode() + a.tobytes() for k, a in sorted(arrays.items())))


def load(folder: Path) -> Stored:
    """Read the graph that ``save`` wrote; UserError when the files are missing, damaged or of another version."""
    path = folder / "graph.json"
    try:
        record = json.loads(path.read_text())
        with np.load(folder / "weights.npz", allow_pickle=False) as file:
            arrays = dict(file)
        if record["format"] != FORMAT:
            raise UserError(
                f"graph of format {record['format']}, this version reads {FORMAT}",
                where=str(path),
                hint="lower the model again",
            )
        if record["weights"] != _array_digest(arrays):
            raise UserError("weights.npz does not belong to graph.json", where=str(path), hint="lower the model again")
        nodes = tuple(_load_node(n, arrays) for n in record["nodes"])
        graph = Graph(
            name=record["name"],
            input=_unpack(record["input"], arrays),
            nodes=nodes,
            outputs=_unpack(record["outputs"], arrays),
            encoding=_unpack(record["encoding"], arrays),
            classes=tuple(record["classes"]),
        )
        content = {key: value for key, value in record.items() if key not in _HEADER}
        if record["digest"] != _graph_digest(content, record["weights"]):
            raise UserError("graph.json is not as it was written", where=str(path), hint="lower the model again")
        return Stored(graph, str(record["digest"]), str(record["source"]))
    except FileNotFoundError as error:
        raise UserError("no such file", where=str(error.filename), hint="run 'fpgaflow lower' first") from error
    except (KeyError, TypeError, *NO_ARRAYS) as error:
        raise UserError(f"damaged graph file: {error}", where=str(path), hint="lower the model again") from error


def _load_node(record: dict[str, Any], arrays: dict[str, np.ndarray]) -> Node:
    fields_of_node = {key: item for key, item in record.items() if key != "op"}
    node: Node = _build(_NODES[record["op"]], fields_of_node, arrays)
    return node
