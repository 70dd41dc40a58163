"""Names of nodes from the module paths that torch's exporter notes: ``encoder.conv1.Conv`` in place of ``node_7``."""

from __future__ import annotations

import ast
from collections.abc import Iterable

import onnx

SCOPES = "pkg.torch.onnx.name_scopes"
LONGEST = 4096
"""Characters of a note that is read at all."""


def module_names(nodes: Iterable[onnx.NodeProto]) -> list[str]:
    """A name a node, "" where nothing is noted: the module's path and the operation, of a quantizer the path alone.

    Repeated names are numbered from 2 in the order of the file.
    """
    used: dict[str, int] = {}
    found = []
    for node in nodes:
        base = _name(node)
        used[base] = used.get(base, 0) + 1
        found.append(f"{base}_{used[base]}" if base and used[base] > 1 else base)
    return found


def _name(node: onnx.NodeProto) -> str:
    path = next((_innermost(entry.value) for entry in node.metadata_props if entry.key == SCOPES), "")
    if not path:
        return ""
    parts = path.split(".")
    for i, part in enumerate(parts):
        if part.endswith("_quant"):  # Brevitas' quantizer, whose own parts say nothing
            return ".".join(parts[: i + 1] if "Quant" in node.op_type else [*parts[:i], node.op_type])
    return f"{path}.{node.op_type}"


def _innermost(text: str) -> str:
    """The path of the innermost module in a note ``['', 'block', 'block.conv', 'conv2d']``, which ends with the call.

    The text is parsed as a list of strings; anything else in it makes it unknown, and nothing of it is run.
    """
    if len(text) > LONGEST:
        return ""
    try:
        found = ast.literal_eval(text)
    except (ValueError, SyntaxError, RecursionError, MemoryError, TypeError):
        return ""
    if not isinstance(found, list) or len(found) < 2 or not all(isinstance(part, str) for part in found):
        return ""
    return str(found[-2])
