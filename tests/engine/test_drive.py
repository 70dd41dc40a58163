"""Passes of an engine, each by itself."""

from __future__ import annotations

import numpy as np
import pytest

from tests.engine.networks import conv, inverted_residuals, joined_maps, residual_blocks, selected_maps
from tests.engine.test_csim import engine_for
from tests.graphs import Builder
from toolchain.engine import csim
from toolchain.engine.csim import EngineSim
from toolchain.engine.cut import cut
from toolchain.engine.drive import directed_frames, drive_passes, windows_apart
from toolchain.engine.tables import Program, program
from toolchain.ir.evaluate import needed
from toolchain.ir.graph import Graph
from toolchain.ir.ops.products import MatVec, dot_bounds
from toolchain.ir.ops.window import Window
from toolchain.ir.ranges import value_ranges

GRAPHS = (inverted_residuals(), residual_blocks())
JOINED, SELECTED = joined_maps(size=8), selected_maps()


def engine(graph: Graph) -> Program:
    """All maps but the first two in memory, weights in tiles."""
    network = cut(graph)
    built_for = (SELECTED,) if graph is SELECTED else (*GRAPHS, JOINED)
    facts = {"tile_depth": 96, "bank_words": 2048, "small_words": 1024}
    placement = {p.result: bank for bank, p in enumerate(network.passes[:2])}
    return program(network, engine_for([cut(each) for each in built_for], **facts), placement)


@pytest.mark.needs_gxx
@pytest.mark.parametrize("graph", [*GRAPHS, JOINED, SELECTED])
def test_every_pass_alone_equals_its_nodes(graph: Graph) -> None:
    found = engine(graph)
    driven = drive_passes(EngineSim(graph, found))

    assert (driven.mismatches, driven.deviation) == (0, "")
    assert driven.vectors.keys() == {p.result for p in found.cut.passes}
    assert min(driven.vectors.values()) >= 4


@pytest.mark.needs_gxx
def test_passes_of_what_was_merged_are_driven_as_they_are_built() -> None:
    """Two equal requantizers of one convolution are one, and its codes are quantized to what they are."""
    net = Builder((6, 6, 5), 8, signed=True)
    x = conv(net, net.input, 12, 3)
    same = net.unchanged(net.again(x))
    graph = net.graph(net.matvec(net.concat(net.pool(net.window(same), 9), x), 4))
    network = cut(graph)
    driven = drive_passes(EngineSim(graph, program(network, engine_for([network], tile_depth=96), {})))

    assert (driven.mismatches, len(network.passes)) == (0, 4)
    assert min(driven.vectors.values()) >= 4


@pytest.mark.parametrize("graph", GRAPHS)
def test_frames_take_sums_of_every_pass_to_their_ends(graph: Graph) -> None:
    """The largest and the least sum of the first product that a pass computes, over all its outputs."""
    ranges, seen = value_ranges(graph), 0
    for p in cut(graph).passes:
        frames = [frame for frame in directed_frames(graph, p, ranges) if frame.name == "sums at their ends"]
        window, *others = nodes = needed(graph.nodes, [p.result], list(frames[0].maps))
        unit = others[0] if others else window
        inside, _ = windows_apart(nodes, graph.value(p.source).shape)  # none in a map smaller than the kernel
        if isinstance(window, Window) and isinstance(unit, MatVec) and inside:
            x = np.stack([frame.maps[p.source] for frame in frames])
            sums = unit.evaluate(window.evaluate(x))
            least, largest = dot_bounds(unit.weight, *ranges[p.source])
            assert (sums.min(), sums.max()) == (least.min(), largest.max()), p.name
            seen += 1
    assert seen >= 1


@pytest.mark.needs_gxx
@pytest.mark.parametrize(
    ("header", "old", "new"),
    [
        ("merge", "line_t(p.add)", "line_t(0)"),
        ("requantize", "(line, low, high)", "(line, low, Code<Shape>(high - (high == Shape::largest_code)))"),
    ],
)
def test_a_fault_in_a_unit_is_found_in_a_pass_that_uses_it(monkeypatch, header: str, old: str, new: str) -> None:
    graph = GRAPHS[0]
    right = csim.generate

    def planted(*arguments) -> dict[str, str]:
        files = right(*arguments)
        path = f"include/fpgaflow/engine/{header}.hpp"
        assert files[path].count(old) == 1
        return {**files, path: files[path].replace(old, new)}

    monkeypatch.setattr(csim, "generate", planted)
    driven = drive_passes(EngineSim(graph, engine(graph)))

    assert driven.mismatches > 0
    assert driven.deviation.startswith("pass 'onnx_")
    assert " alone on maps '" in driven.deviation
