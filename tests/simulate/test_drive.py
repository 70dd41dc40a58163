"""Single units of whole projects, driven to their ends."""

from __future__ import annotations

import numpy as np
import pytest

from tests.graphs import Builder, mlp, random_input, unet
from tests.hardware import Target, serial, with_lanes
from toolchain.boards import load_board
from toolchain.dse.explore import explore
from toolchain.errors import VerificationError
from toolchain.hls_templates.generate import READ, WRITE, generate, unit_ids
from toolchain.ir.evaluate import evaluate
from toolchain.ir.ops.maps import Reshape
from toolchain.passes.pipeline import to_hardware
from toolchain.simulate.csim import build
from toolchain.simulate.drive import drive_units

pytestmark = pytest.mark.needs_gxx


@pytest.mark.parametrize("network", [mlp, unet])
def test_every_unit_of_a_right_project_equals_its_node(network):
    model, board = network(), load_board("zu3eg")
    graph = to_hardware(model, explore(model, board))
    found = drive_units(build(graph, generate(graph, board, 250.0)))
    assert (found.mismatches, found.deviation) == (0, "")
    assert found.vectors.keys() == unit_ids(graph).keys()
    assert min(found.vectors.values()) >= 4


def test_units_alone_give_what_they_give_in_the_network():
    b = Builder((6, 5, 4), 4)
    x = b.threshold(b.conv(b.input, 4), 3)
    x = b.depthwise(b.window(x, stride=(2, 2)), 9)
    network = b.graph(b.matvec(b.reshape(x), 3), "small")
    lanes = ((2, 18), (18, 2), (2, 2), (2, 2), (2, 2), (2, 2), (2, 3))
    graph = with_lanes(network, {node.name: pair for node, pair in zip(network.nodes, lanes, strict=True)})
    csim, codes = build(graph, generate(graph, Target(), 250.0)), random_input(graph, 3)
    values = evaluate(graph, codes, taps=set(graph.values()))
    for node in graph.nodes:
        if not isinstance(node, Reshape):
            (found,) = csim.run_unit(node.name, [values[name] for name in node.inputs])
            np.testing.assert_array_equal(found, values[node.output.name], err_msg=node.name)
    np.testing.assert_array_equal(csim.run_unit(READ, [codes])[0], codes)
    np.testing.assert_array_equal(csim.run_unit(WRITE, [values[graph.output]])[0], values[graph.output])


@pytest.mark.parametrize(
    "path, old, new, reason",
    [
        ("src/units/threshold0.cpp", "positions = 6", "positions = 7", "an empty stream was read: x"),
        ("src/units/threshold0.cpp", "positions = 6", "positions = 5", "words are left over in stream: x"),
        ("include/fpgaflow/threshold.hpp", "out.write(result);", "out.write(result); out.write(result);", "words of"),
    ],
)
def test_unit_that_moves_other_words_than_its_node_deviates(path, old, new, reason):
    b = Builder((2, 3, 2), 4)
    graph = serial(b.graph(b.threshold(b.input)))
    files = generate(graph, Target(), 250.0)
    assert old in files[path]
    csim = build(graph, files | {path: files[path].replace(old, new)})
    with pytest.raises(VerificationError, match=reason):
        csim.run_unit("threshold0", [random_input(graph, 2)])
    assert drive_units(csim).deviation.startswith("unit 'threshold0' alone: ")
