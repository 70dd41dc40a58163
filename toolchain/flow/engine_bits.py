"""Bits of every layer's weights on the engine, from a build folder and a sensitivity table: bits.json."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from toolchain.engine.candidates import Budget
from toolchain.engine.cut import cut
from toolchain.engine.joint import search_front
from toolchain.engine.layers import Cut
from toolchain.engine.precision import Mixed, Sensitivity, nearest, weight_noise
from toolchain.errors import UserError
from toolchain.files import write_text
from toolchain.flow.build import Build
from toolchain.flow.engine_found import memory_rate
from toolchain.flow.options import Check, Search, planned_board
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

NOISE = "noise of rounded weights"

IMAGES, DEFAULT_IMAGES = 256, 64
"""Most images that losses are measured on, of the user's and of the data trained on: all run a layer and width."""


def search_weight_bits(
    build: Build,
    search: Search,
    widths: Sequence[int],
    *,
    table: Path | None = None,
    images: Path | None = None,
    loss: float | None = None,
) -> tuple[list[Mixed], float]:
    """The front of frame time and loss for the network of ``build``, or the fastest within ``loss``; writes bits.json.

    Args:
        widths: bits to choose from.
        table: a sensitivity table, JSON of layer, bits, loss.
        images: without a table, .npy of which 256 images tell what each layer's bits change of the outputs. Without
            images 64 of the data that the network was trained on do; without those, the losses are the noise of the
            rounded weights.

    Returns:
        the front and the clock in MHz.

    Raises:
        UserError: the engine does not run the network; the table is none; nothing fits the board or the loss.
    """
    bad = [bits for bits in widths if not 2 <= bits <= 8]
    if bad or not widths:
        raise UserError(f"weights of {bad[0] if bad else 'no'} bits", hint="give 2 to 8, for example 4,6,8")
    network, board = cut(build.network.graph), planned_board(search, "engine")
    clock = search.clock_mhz or board.clock.default_mhz
    widths = sorted(set(widths))
    losses, told = _losses(build, network, widths, table, images)
    budget = Budget(board.budget, memory_rate(board, clock))
    front = search_front(network, budget, losses, widths, loss=loss, time_limit=search.time_limit)
    rows = [
        {
            "fps": clock * 1e6 / m.cycles,
            "gap": m.gap,
            "loss": m.loss,
            "engine_bits": m.engine.shape.weight_bits,
            "bits": m.bits,
        }
        for m in front
    ]
    table_text = json.dumps(
        {"graph": build.network.digest, "losses": told, "sensitivity": losses, "front": rows}, indent=1
    )
    write_text(build.folder / BITS_FILE, table_text + "\n")
    return front, clock


def _losses(
    build: Build, network: Cut, widths: Sequence[int], table: Path | None, images: Path | None
) -> tuple[Sensitivity, str]:
    """The sensitivity table, and what it is of."""
    if table is not None:
        return read_sensitivity(table), table.name
    graph, count = build.network.graph, DEFAULT_IMAGES if images is None else IMAGES
    try:
        shown = build.images(Check(images, count=count))
    except UserError:
        if images is not None:
            raise
        shown = None  # the data it was trained on is not at hand
    if shown is None or shown.random:
        return weight_noise(network, widths), NOISE
    return output_errors(graph, widths, encode(graph, shown.x)), f"{len(shown.x)} images of {shown.name}"


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
        _pass_name(graph, layer): {bits: error / power if power else 0.0 for bits, error in errors[i].items()}
        for i, layer in layers.items()
    }


def _rounded(graph: Graph, index: int, bits: int) -> Graph:
    """``graph`` with the weights of a layer at the nearest codes of so many bits."""
    node = graph.nodes[index]
    assert isinstance(node, MatVec)
    rounded = replace(node, weight=np.rint(nearest(node.weight, bits)).astype(np.int64))
    return replace(graph, nodes=(*graph.nodes[:index], rounded, *graph.nodes[index + 1 :]))


def _pass_name(graph: Graph, node: MatVec) -> str:
    """The pass of the engine that multiplies ``node``'s weights: it begins with the windows that only they read."""
    source = graph.producers().get(node.inputs[0])
    first = source if isinstance(source, Window) and len(graph.consumers()[source.output.name]) == 1 else node
    return first.origin[0] if first.origin else first.name


def read_sensitivity(path: Path) -> dict[str, dict[int, float]]:
    """A sensitivity table.

    Raises:
        UserError: it is no JSON object of layers, bits and losses of at least 0.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        table = {str(layer): {int(b): float(loss) for b, loss in row.items()} for layer, row in found.items()}
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise UserError(f"no sensitivity table: {error}", where=str(path)) from error
    if any(not loss >= 0 for row in table.values() for loss in row.values()):
        raise UserError("a sensitivity table with a negative loss", where=str(path))
    return table
