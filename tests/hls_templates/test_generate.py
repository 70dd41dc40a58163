"""The generated project: golden files, limits, names, no tool needed."""

from __future__ import annotations

import re
from dataclasses import replace

import jinja2
import numpy as np
import pytest

from tests.golden_files import assert_golden
from tests.graphs import Builder, conv_net
from tests.hardware import Target, serial, with_lanes
from toolchain.errors import FlowError, UserError
from toolchain.hls_templates.generate import ends, generate, place_units, unit_ids
from toolchain.hls_templates.render import render, tcl_quote
from toolchain.hls_templates.streams import streams
from toolchain.ir.graph import Graph
from toolchain.ir.ops.maps import Reshape
from toolchain.ir.ops.node import Node
from toolchain.ir.text import to_text
from toolchain.ir.types import Parallelism
from toolchain.units.order import stream_order, window_order
from toolchain.units.table import template


def tiny() -> Graph:
    """A convolution and its quantizer: three nodes."""
    b = Builder((4, 4, 2), 4)
    graph = b.graph(b.threshold(b.conv(b.input, 4), 2), "tiny")
    return with_lanes(graph, {"window0": (2, 2), "matvec1": (2, 4), "threshold2": (4, 4)}, depth=16)


@pytest.mark.parametrize(
    "path",
    ["src/top.cpp", "src/streams.hpp", "src/units/matvec1.cpp", "host/encode.hpp", "run_hls.tcl", "hls_config.cfg"],
)
def test_generated_file_is_golden(path):
    assert_golden(f"hls/{path}", generate(tiny(), Target(), 250.0)[path])


def test_a_row_convolution_is_golden():
    b = Builder((4, 4, 2), 4)
    x = b.row_conv(b.window(b.input, (3, 1), pads=(1, 0, 1, 0)), 4)
    graph = with_lanes(b.graph(x, "rows"), {"window0": (2, 6), "rowconv1": (6, 4, 6, 2)}, depth=16)

    assert_golden("hls/rows.txt", to_text(graph))
    assert_golden("hls/src/units/rowconv1.cpp", generate(graph, Target(), 250.0)["src/units/rowconv1.cpp"])


def test_columns_that_fit_no_slice_name_the_node():
    b = Builder((4, 4, 2), 8)
    graph = with_lanes(b.graph(b.row_conv(b.input, 4, 8)), {"rowconv0": (2, 4, 6, 2)})
    with pytest.raises(
        UserError,
        match=r"^3 taps x 2 columns of s8 x u8 do not fit a DSP slice \[node rowconv0\]; choose fewer columns$",
    ):
        place_units(graph)


def test_generation_is_pure():
    graph = serial(conv_net())
    assert generate(graph, Target(), 200.0) == generate(graph, Target(), 200.0)


def test_every_file_named_by_the_scripts_exists():
    files = generate(serial(conv_net()), Target(), 250.0)
    named = re.findall(r"(?:syn|tb)\.file=(\S+)", files["hls_config.cfg"])
    named += re.findall(r'add_files (?:-tb )?\[file join \$hls "?([^\s"\]]+)', files["run_hls.tcl"])
    assert len(named) == 2 * (len([p for p in files if p.startswith("src/") and p.endswith(".cpp")]) + 1)
    assert set(named) <= files.keys()


def test_every_include_of_a_project_file_exists():
    files = generate(serial(conv_net()), Target(), 250.0)
    names = {path.rsplit("/", 1)[-1] for path in files}
    for path, text in files.items():
        for included in re.findall(r'#include "([^"]+)"', text):
            assert included.rsplit("/", 1)[-1] in names, f"{path} includes {included}"


def test_more_outputs_than_ports_to_memory_are_refused():
    b = Builder((1, 1, 4), 4)
    heads = tuple(b.matvec(b.input, n) for n in range(2, 7))
    with pytest.raises(
        UserError, match=r"^the network has 5 outputs, 'out', .*, and the board 4 ports to memory; join"
    ):
        hardware = serial(b.graph(heads[0], "net", heads[1:]))
        generate(hardware, Target(), 250.0)


def test_four_outputs_have_a_port_each_and_one_is_shared_with_the_input_which_only_reads():
    b = Builder((1, 1, 4), 4)
    heads = tuple(b.matvec(b.input, n) for n in range(2, 6))
    top = generate(serial(b.graph(heads[0], "net", heads[1:])), Target(), 250.0)["src/top.cpp"]
    ports = dict(re.findall(r"m_axi port=(\w+) bundle=(\w+)", top))
    assert ports == {
        "in": "gmem0",
        "out_out": "gmem1",
        "out_head0": "gmem2",
        "out_head1": "gmem3",
        "out_head2": "gmem0",
    }


def test_missing_variable_is_an_error():
    with pytest.raises(jinja2.UndefinedError, match="'writers' is undefined"):
        render("top.hpp", {"top": "net", "reader": {"words": 1}})


def test_unknown_operation_raises():
    class Novel(Node):
        """No unit knows it."""

    with pytest.raises(TypeError, match="^no hardware unit for Novel$"):
        template(Novel(name="n", inputs=("x",), outputs=()), tiny())


def test_reshape_is_a_renamed_stream():
    graph = serial(conv_net())
    (reshape,) = [node for node in graph.nodes if isinstance(node, Reshape)]
    carried = streams(graph)
    assert carried[reshape.output.name] is carried[reshape.inputs[0]]
    assert reshape.name not in unit_ids(graph)


def test_a_network_that_only_renames_reads_and_writes_the_lanes_of_its_plan():
    """It read one element a cycle where the model counted a word of lanes."""
    b = Builder((2, 2, 4), 4)
    graph = b.graph(b.reshape(b.input))
    (stream,) = {id(s): s for s in streams(with_lanes(graph, {"reshape0": (4, 4)})).values()}.values()
    assert stream.lanes == 4


def test_names_that_cpp_reserves_are_changed():
    graph = tiny()
    renamed = [replace(node, name=name) for node, name in zip(graph.nodes, ("switch", "input", "Input"), strict=True)]
    units = place_units(graph.with_nodes(renamed))
    assert [unit.name for unit in units] == ["n_switch", "n_input", "Input"]


def test_node_without_parallelism_is_named():
    b = Builder((4, 4, 2), 4)
    graph = b.graph(b.conv(b.input, 4))
    with pytest.raises(FlowError, match=r"^node 'matvec1' has no parallelism; apply a plan first$"):
        template(graph.nodes[1], graph)


def test_stream_too_wide_names_the_node():
    b = Builder((4, 4, 128), 8)
    graph = with_lanes(b.graph(b.window(b.input)), {"window0": (128, 1152)})
    with pytest.raises(
        UserError, match=r"^a stream of 9216 bits, Vitis HLS takes at most 4096 \[node window0\]; choose fewer lanes$"
    ):
        streams(graph)


def test_too_much_unrolling_names_the_node():
    b = Builder((1, 1, 128), 1)
    graph = with_lanes(b.graph(b.matvec(b.input, 64)), {"matvec0": (128, 64)})
    with pytest.raises(
        UserError, match=r"^8192 operations a cycle, Vitis HLS unrolls at most 4096 \[node matvec0\]; choose fewer"
    ):
        place_units(graph)


def test_memory_port_too_narrow_names_the_value():
    b = Builder((1, 1, 64), 8)
    graph = with_lanes(b.graph(b.threshold(b.input)), {"threshold0": (64, 64)})
    with pytest.raises(
        UserError, match=r"^the input stream carries 512 bits a cycle, the memory port 128 \[value x\]; choose fewer"
    ):
        ends(graph)


def test_window_streams_channel_groups_then_taps():
    order = window_order(taps=2, channels=4, lanes=2)
    np.testing.assert_array_equal(order, [0, 1, 4, 5, 2, 3, 6, 7])  # (tap, channel) is tap * 4 + channel


def test_order_of_a_flattened_window_repeats_at_every_position():
    b = Builder((2, 1, 2), 4)
    x = b.reshape(b.window(b.input, (1, 2), pads=(0, 0, 0, 1)))
    graph = with_lanes(b.graph(x), {"window0": (1, 1), "reshape1": (1, 1)})
    np.testing.assert_array_equal(stream_order(graph, x.name), [0, 2, 1, 3, 4, 6, 5, 7])


def test_channelwise_unit_behind_a_window_is_refused_unless_the_order_fits():
    b = Builder((4, 4, 4), 4)
    graph = b.graph(b.threshold(b.window(b.input)))
    reordered = with_lanes(graph, {"window0": (2, 2), "threshold1": (2, 2)})
    with pytest.raises(FlowError, match="^node 'threshold1' cannot read 'window0_out' in the order of its stream$"):
        place_units(reordered)
    assert len(place_units(with_lanes(graph, {"window0": (4, 4), "threshold1": (4, 4)}))) == 2


def test_lanes_of_a_node_are_read_from_its_parallelism():
    graph = tiny()
    assert [streams(graph)[name].lanes for name in graph.values()] == [2, 2, 4, 4]
    assert graph.nodes[0].parallelism == Parallelism(2, 2)


def test_tcl_quoting_protects_every_special_character():
    assert tcl_quote('a "b" $c [d] {e} \\f;') == r'"a \"b\" \$c \[d\] \{e\} \\f\;"'
