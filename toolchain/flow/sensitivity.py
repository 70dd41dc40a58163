"""Tables of what layers lose in fewer bits, read from a file or measured on images, and the front that they lead to."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import inf
from pathlib import Path
from typing import Any

import numpy as np

from toolchain.dse.bits import Sensitivity, nearest
from toolchain.errors import UserError
from toolchain.files import write_text
from toolchain.flow.build import Build
from toolchain.flow.options import Check
from toolchain.ir.encode import encode
from toolchain.ir.evaluate import evaluate, values
from toolchain.ir.graph import Graph
from toolchain.ir.ops.products import MatVec
from toolchain.ir.ops.window import Window
from toolchain.ir.types import Array
from toolchain.memory import spans

BITS_FILE = "bits.json"

_AT_ONCE = 16
"""Images of which all values are kept while layer after layer is rounded."""

IMAGES, DEFAULT_IMAGES = 256, 64
"""Most images that losses are measured on, of the user's and of the data trained on: all run a layer and width."""


@dataclass(frozen=True)
class Asked:
    """A search of bits: the ``widths`` to choose from, rising, and the most summed ``loss``; without it a whole front.

    Losses are those of ``table``, JSON of layer, bits, loss; without it, what each layer's bits change of the outputs
    for 256 of ``images`` (.npy), or for 64 of the data that the network was trained on.
    """

    widths: Sequence[int]
    table: Path | None = None
    images: Path | None = None
    loss: float | None = None

    def __post_init__(self) -> None:
        """Put the widths in order.

        Raises:
            UserError: there are none, or one is not 2 to 8.
        """
        bad = [bits for bits in self.widths if not 2 <= bits <= 8]
        if bad or not self.widths:
            raise UserError(f"weights of {bad[0] if bad else 'no'} bits", hint="give 2 to 8, for example 4,6,8")
        object.__setattr__(self, "widths", sorted(set(self.widths)))

    def losses(self, build: Build) -> tuple[Sensitivity, str] | None:
        """Return the losses for the network of ``build`` and what they are of, or None if no data is at hand.

        Raises:
            UserError: ``table`` or ``images`` cannot be read.
        """
        if self.table is not None:
            return read_sensitivity(self.table), self.table.name
        graph, count = build.network.graph, DEFAULT_IMAGES if self.images is None else IMAGES
        try:
            shown = build.images(Check(self.images, count=count))
        except UserError:
            if self.images is not None:
                raise
            return None  # the data it was trained on is not at hand
        if shown.random:
            return None
        told = f"{len(shown.x)} images of {shown.name}"
        return output_errors(graph, self.widths, encode(graph, shown.x)), told


def output_errors(graph: Graph, widths: Sequence[int], codes: Array) -> dict[str, dict[int, float]]:
    """A sensitivity table from images: the squared error of the outputs with one layer's weights rounded, over their
    squares.

    ``codes`` (N, H, W, C) are of the network's input. A few images run at a time; of each layer only what follows it.
    """
    layers = {i: node for i, node in enumerate(graph.nodes) if isinstance(node, MatVec)}
    kept = [v.name for node in graph.nodes if not isinstance(node, Window) for v in node.outputs]
    errors = {i: dict.fromkeys(widths, 0.0) for i in layers}
    power = 0.0
    for part in spans(len(codes), _AT_ONCE):
        x = codes[part]
        exact = dict(values(graph, x, kept))
        power += sum(float((exact[name].astype(float) ** 2).sum()) for name in graph.written)
        before: set[str] = set()
        for index, node in enumerate(graph.nodes):
            if index in layers:
                given = {name: exact[name] for name in before if name in exact}
                for bits in widths:
                    other = evaluate(_rounded(graph, index, bits), x, given=given)
                    errors[index][bits] += sum(
                        float(((exact[name].astype(float) - other[name]) ** 2).sum()) for name in graph.written
                    )
            before |= {v.name for v in node.outputs}
    return {
        pass_name(graph, layer): {bits: error / power if power else 0.0 for bits, error in errors[i].items()}
        for i, layer in layers.items()
    }


def _rounded(graph: Graph, index: int, bits: int) -> Graph:
    """``graph`` with the weights of a layer at the nearest codes of so many bits."""
    node = graph.nodes[index]
    assert isinstance(node, MatVec)
    rounded = replace(node, weight=np.rint(nearest(node.weight, bits)).astype(np.int64))
    return replace(graph, nodes=(*graph.nodes[:index], rounded, *graph.nodes[index + 1 :]))


def pass_name(graph: Graph, node: MatVec) -> str:
    """The pass of the engine that multiplies ``node``'s weights: it begins with the windows that only they read."""
    source = graph.producers().get(node.inputs[0])
    first = source if isinstance(source, Window) and len(graph.consumers()[source.output.name]) == 1 else node
    return first.origin[0] if first.origin else first.name


def read_sensitivity(path: Path) -> dict[str, dict[int, float]]:
    """A sensitivity table.

    Raises:
        UserError: it is no JSON object of layers, bits and losses, which are finite and at least 0.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        table = {str(layer): {int(b): float(loss) for b, loss in row.items()} for layer, row in found.items()}
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise UserError(f"no sensitivity table: {error}", where=str(path)) from error
    for layer, row in table.items():
        for bits, loss in row.items():
            if not 0 <= loss < inf:
                what = f"a sensitivity table whose loss of '{layer}' in {bits} bits is {loss}"
                raise UserError(what, where=str(path), hint="losses are numbers of at least 0")
    return table


def write_bits(build: Build, told: str, losses: Sensitivity, front: Sequence[dict[str, Any]], **facts: str) -> None:
    """Write bits.json of ``build``: the ``front``, the ``losses`` that it rests on, and what they are of."""
    found = {**facts, "graph": build.network.digest, "losses": told, "sensitivity": losses, "front": front}
    write_text(build.folder / BITS_FILE, json.dumps(found, indent=1) + "\n")
