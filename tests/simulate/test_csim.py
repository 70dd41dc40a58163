"""Whole networks in the C simulation."""

from __future__ import annotations

import re
import subprocess
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.conformance import cycles_of_call
from tests.graphs import Builder, conv_net, grouped_net, mlp, random_input, residual_net
from tests.hardware import Target, serial, with_lanes
from tests.passes.test_to_hardware import random_plan
from toolchain.boards import load_board
from toolchain.dse.explore import explore
from toolchain.errors import FlowError, UserError, VerificationError
from toolchain.files import write_files
from toolchain.hls_templates.generate import READ, WRITE, generate
from toolchain.ir import encode
from toolchain.ir.evaluate import evaluate
from toolchain.ir.graph import Graph
from toolchain.ir.input_types import parse_input
from toolchain.ir.ops.maps import Reshape
from toolchain.ir.ops.products import MatVec, RowConv
from toolchain.ir.ops.window import Window
from toolchain.ir.types import Encoding, InputType, Quantizer
from toolchain.passes.insert_forks import insert_forks
from toolchain.passes.pipeline import to_hardware
from toolchain.plan import Lanes, Plan
from toolchain.simulate import compiler
from toolchain.simulate import cycles as cycle_simulator
from toolchain.simulate.cache import cache_folder
from toolchain.simulate.compare import compare
from toolchain.simulate.csim import CSim, build

pytestmark = pytest.mark.needs_gxx


def project(graph: Graph) -> dict[str, str]:
    return generate(graph, Target(), 250.0)


def simulate(graph: Graph) -> CSim:
    return build(graph, project(graph))


@pytest.fixture(scope="module")
def small() -> tuple[Graph, CSim]:
    """A convolution, its quantizer, a strided depthwise filter and a dense layer."""
    b = Builder((6, 5, 3), 4)
    x = b.threshold(b.conv(b.input, 4), 3)
    x = b.depthwise(b.window(x, stride=(2, 2)), 9)
    graph = serial(b.graph(b.matvec(b.reshape(x), 3), "small"))
    return graph, simulate(graph)


@pytest.mark.parametrize("network", [mlp, conv_net, residual_net, grouped_net])
def test_explored_networks_equal_the_evaluator_in_the_cycles_of_the_cost_model(network):
    model, board = network(), load_board("zu3eg")
    graph = to_hardware(model, explore(model, board))
    codes = random_input(graph, 5)
    csim = build(graph, generate(graph, board, 250.0))
    assert compare(csim, codes).mismatches == 0
    counted = csim.cycles()
    for node in graph.nodes:
        if not isinstance(node, Reshape):
            assert counted[node.name] == cycles_of_call(graph, node, len(codes)), node.name


def test_network_of_constant_weights_and_of_signs_equals_the_evaluator():
    """Constants behind a window and a flatten, weights of one bit between them; counted cycles are the simulator's."""
    b = Builder((6, 5, 3), 4, signed=True)
    x = b.threshold(b.conv(b.input, 4), 2)
    x = b.threshold(b.matvec(x, 6, 2), 1)
    network = b.graph(b.matvec(b.reshape(x), 4, 8), "constants")
    middle = network.nodes[3]
    assert isinstance(middle, MatVec)
    signs = replace(middle, weight=np.where(middle.weight < 0, -1, 1))
    network = network.with_nodes(signs if node is middle else node for node in network.nodes)
    flat = 6 * 5 * 6
    lanes = ((3, 27), (27, 4, None, 1, True), (4, 4), (4, 6, 0), (6, 6), (6, 6), (flat, 4, None, 1, True))
    names = [node.name for node in network.nodes]
    plan = Plan(
        board="zu3eg",
        clock_mhz=250.0,
        input_lanes=3,
        output_lanes=4,
        nodes={
            name: Lanes(lanes_in=p[0], lanes_out=p[1], constant=len(p) == 5)
            for name, p in zip(names, lanes, strict=True)
            if not name.startswith("reshape")
        },
    )
    graph = to_hardware(network, plan)
    csim, codes = simulate(graph), random_input(graph, 4)
    assert np.array_equal(evaluate(graph, codes)[graph.output], evaluate(network, codes)[network.output])
    assert compare(csim, codes).mismatches == 0
    timing = cycle_simulator.simulate(graph, len(codes)).check()
    for name in ("matvec1", "matvec3", "matvec6"):
        assert csim.cycles()[name] == timing.units[name].busy, name


def test_network_of_packed_products_equals_the_evaluator():
    """Four products a slice behind a window, three of a 1 x 1 convolution, two of a dense layer."""
    b = Builder((6, 5, 3), 4, signed=True)
    x = b.threshold(b.conv(b.input, 8), 8)
    x = b.threshold(b.conv(x, 6, kernel=1), 8)
    network = b.graph(b.matvec(b.reshape(x), 4, 8), "packed")
    lanes = ((1, 1), (1, 8, 4), (8, 8), (8, 3, 3), (3, 3), (3, 3), (3, 2, 2))
    graph = with_lanes(network, {node.name: place for node, place in zip(network.nodes, lanes, strict=True)})
    codes = random_input(graph, 4)
    csim = simulate(graph)
    assert compare(csim, codes).mismatches == 0
    assert csim.cycles()["matvec1"] == len(codes) * 6 * 5 * 27


def test_network_of_row_convolutions_equals_the_evaluator():
    """Padded and not, one behind the other, behind a pool and beside a residual branch."""
    b = Builder((8, 8, 3), 4)
    x = b.threshold(b.conv(b.input, 4), 4)
    main = b.threshold(b.conv(b.threshold(b.conv(x, 4), 4), 4), 4)
    x = b.pool(b.window(b.add(main, x), (2, 2), stride=(2, 2), pads=(0, 0, 0, 0)), 4)
    x = b.matvec(b.window(b.threshold(x, 4), pads=(0, 0, 0, 0)), 4)
    network = insert_forks(b.graph(b.matvec(b.reshape(x), 4, 8), "rows"))
    nodes: dict[str, Lanes] = {}
    for node in network.nodes:
        if isinstance(node, Window) and node.taps == 9:
            nodes[node.name] = Lanes(lanes_in=1, lanes_out=3)
        elif isinstance(node, MatVec) and node.weight.shape[1] > 16:
            nodes[node.name] = Lanes(lanes_in=3, lanes_out=4, columns=2)
        elif not isinstance(node, Reshape):
            nodes[node.name] = Lanes(lanes_in=1, lanes_out=1)
    graph = to_hardware(network, Plan(board="zu3eg", clock_mhz=250, input_lanes=1, output_lanes=1, nodes=nodes))
    convolutions = [node for node in graph.nodes if isinstance(node, RowConv)]
    codes = random_input(graph, 4)
    csim = simulate(graph)
    assert [node.pad for node in convolutions] == [1, 1, 1, 0]
    assert compare(csim, codes).mismatches == 0
    for node in graph.nodes:
        if not isinstance(node, Reshape):
            assert csim.cycles()[node.name] == cycles_of_call(graph, node, len(codes)), node.name


@settings(max_examples=3, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_random_networks_equal_the_evaluator(data):
    bits = data.draw(st.integers(1, 8))
    shape = (data.draw(st.integers(3, 7)), data.draw(st.integers(3, 7)), data.draw(st.integers(1, 4)))
    b = Builder(shape, bits, signed=data.draw(st.booleans()), seed=data.draw(st.integers(0, 99)))
    x = b.input
    for _ in range(data.draw(st.integers(1, 2))):
        kernel, stride = data.draw(st.sampled_from([(1, 1), (3, 1), (3, 2), (5, 2)]))
        x = b.conv(x, data.draw(st.integers(1, 5)), kernel=kernel, stride=stride, bits=data.draw(st.integers(2, 8)))
        quantize = data.draw(st.sampled_from([b.threshold, b.mulshift]))
        x = quantize(x, data.draw(st.integers(1, 6)), per_channel=data.draw(st.booleans()))
    graph = serial(b.graph(b.argmax(b.global_sum(x)), "random_net"))
    codes = random_input(graph, 4)
    csim = simulate(graph)
    assert compare(csim, codes).mismatches == 0
    assert csim.calls == 1
    for node in graph.nodes:
        assert csim.cycles()[node.name] == cycles_of_call(graph, node, len(codes))


@pytest.mark.parametrize("seed", range(2))
def test_random_grouped_networks_with_random_plans_equal_the_evaluator(seed):
    """Groups of odd sizes, several filters a channel, kernels of one row or position, strides, any legal lanes."""
    rng = np.random.default_rng(seed)
    groups, width, filters = ((3, 5, 2), (6, 1, 3))[seed]
    bits = int(rng.integers(1, 8))
    b = Builder((1 if seed == 1 else 5, 6, 3), bits, signed=bool(seed % 2), seed=seed)
    x = b.threshold(b.matvec(b.input, groups * width, 4), bits)
    tall = 1 if seed == 1 else 3
    edges = (tall // 2, 1, tall // 2, 1)
    x = b.window(x, (tall, 3), stride=(1, 1 + seed), pads=edges)
    x = b.mulshift(b.grouped(x, groups * filters, groups, int(rng.integers(2, 9)), taps=3 * tall), bits)
    x = b.mulshift(b.grouped(x, 2 * filters, filters, 4), 4, per_channel=False)
    network = b.graph(b.matvec(b.global_sum(x), 4, 6), "groups")
    graph = to_hardware(network, random_plan(network, seed))
    csim, codes = simulate(graph), random_input(graph, 4)

    assert compare(csim, codes).mismatches == 0
    for node in graph.nodes:
        assert csim.cycles()[node.name] == cycles_of_call(graph, node, len(codes)), node.name


def test_result_does_not_depend_on_threads_and_chunks(small):
    graph, csim = small
    codes = random_input(graph, 7)
    expected = evaluate(graph, codes)[graph.output]
    seen = []
    for threads, chunk in ((1, 7), (2, 2), (3, 1)):
        found = csim.run(codes, threads=threads, chunk=chunk, progress=lambda done, total: seen.append((done, total)))
        np.testing.assert_array_equal(found, expected)
    assert seen[0] == (7, 7)
    assert seen[1:5] == [(2, 7), (4, 7), (6, 7), (7, 7)]
    assert csim.run(codes[:0]).shape == expected[:0].shape


def test_reader_and_writer_take_a_cycle_a_word(small):
    graph, csim = small
    before = csim.cycles()
    csim.run(random_input(graph, 3))
    after = csim.cycles()
    assert after[READ] - before[READ] == 3 * 6 * 5 * 3
    assert after[WRITE] - before[WRITE] == 3 * 3


@pytest.mark.parametrize("room", [1, 3000, 1 << 28])
def test_taps_show_every_value_in_the_order_of_the_ir(small, room):
    """Row after row, a few at a time, or all in one run; values that a Reshape renames come by their first name."""
    graph, csim = small
    codes = random_input(graph, 1)
    expected = evaluate(graph, codes, taps=set(graph.values()))
    found: dict[str, list[np.ndarray]] = {}
    for tap in csim.taps(codes, room):
        found.setdefault(tap.value, []).append(tap.elements)
    renamed = {node.output.name for node in graph.nodes if isinstance(node, Reshape)}
    assert list(found) == [name for name in graph.values() if name not in renamed]
    for name, rows in found.items():
        np.testing.assert_array_equal(np.concatenate(rows, axis=1), expected[name], err_msg=name)


def test_first_deviating_node_is_named(small):
    graph, _ = small
    files = project(graph)
    path = "src/data/depthwise4_weight.inc"
    changed = files | {path: re.sub(r"-?\d+", lambda m: str(int(m[0]) ^ 1), files[path], count=1)}
    comparison = compare(build(graph, changed), random_input(graph, 2))
    assert comparison.node == "depthwise4"
    with pytest.raises(
        VerificationError, match=r"differ in \d+ output codes of 2 images; first deviating node: depthw"
    ):
        comparison.check()


def test_unit_that_reads_too_much_stops_the_run_with_the_stream_named(small):
    graph, _ = small
    files = project(graph)
    path = "src/units/threshold2.cpp"
    changed = files | {path: files[path].replace("positions = 30", "positions = 31")}
    with pytest.raises(VerificationError, match=r"an empty stream was read: matvec1_out"):
        build(graph, changed).run(random_input(graph, 1))


def test_unit_that_reads_too_little_stops_the_run_with_the_stream_named(small):
    graph, _ = small
    files = project(graph)
    path = "src/units/matvec6.cpp"
    changed = files | {path: files[path].replace("frames);", "frames - 1);")}
    with pytest.raises(VerificationError, match="stream"):
        build(graph, changed).run(random_input(graph, 1))


def test_error_in_a_unit_shows_the_first_lines_and_leaves_nothing_behind(small, tmp_path, monkeypatch):
    monkeypatch.setenv("FPGAFLOW_CACHE", str(tmp_path))  # other tests build in the common one meanwhile
    graph, _ = small
    files = project(graph)
    broken = files | {"src/units/matvec1.cpp": "int f() { return missing; }\n"}
    with pytest.raises(FlowError, match=r"(?s)does not compile:.*matvec1\.cpp:1:.*missing"):
        build(graph, broken)
    leftovers = [path.name for path in cache_folder().iterdir() if path.name.startswith("build-")]
    assert leftovers == []


def test_only_changed_units_are_compiled_again(small):
    graph, _ = small
    files = project(graph)
    build(graph, files)
    objects = set((cache_folder() / "obj").iterdir())
    path = "src/data/matvec1_weight.inc"
    build(graph, files | {path: re.sub(r"-?\d+", "1", files[path], count=1)})
    assert len(set((cache_folder() / "obj").iterdir()) - objects) <= 1


@pytest.mark.parametrize("name", ["no-such-compiler", "/bin/false", "/bin/true", "/bin/echo", "g++ -m64"])
def test_a_program_that_is_no_compiler_is_refused(name, monkeypatch):
    monkeypatch.setenv("CXX", name)
    compiler.compiler.cache_clear()
    told = f"the C simulation needs g++, and CXX is '{name}', which is no C++ compiler; set it to the path of one"
    with pytest.raises(UserError, match=f"^{re.escape(told)}"):
        compiler.compiler()
    monkeypatch.undo()
    compiler.compiler.cache_clear()


def test_missing_compiler_is_the_users_to_install(monkeypatch):
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setenv("PATH", "")
    compiler.compiler.cache_clear()
    with pytest.raises(UserError, match=r"^the C simulation needs g\+\+; install it"):
        compiler.compiler()
    monkeypatch.undo()
    compiler.compiler.cache_clear()


@pytest.mark.needs_gxx
def test_an_empty_cxx_names_no_compiler(monkeypatch):
    monkeypatch.delenv("CXX", raising=False)
    compiler.compiler.cache_clear()
    usual = compiler.compiler()
    monkeypatch.setenv("CXX", "")
    compiler.compiler.cache_clear()
    assert compiler.compiler() == usual


HOST_INPUTS = {
    "pixels to be quantized": Encoding(
        InputType(0, 255, (Fraction(1, 255),) * 3, (Fraction(-1, 2), Fraction(0), Fraction(1, 4))),
        Quantizer(scale=(0.1, 0.2, 0.05), zero_point=1, low=-8, high=7, rounding="FLOOR"),
    ),
    "INT12 to be quantized": Encoding(InputType(-2048, 2047), Quantizer(scale=(300.0,), zero_point=0, low=-8, high=7)),
    "int4 by channel": Encoding(parse_input("int4:0.05,0.7,1/8:3")),
}


@pytest.mark.parametrize("case", HOST_INPUTS)
def test_host_code_encodes_as_the_ir_does(case):
    """Integers of the input's type, and real numbers in and beyond its range, by channel."""
    encoding = HOST_INPUTS[case]
    b = Builder((3, 2, 3), 4, signed=True)
    graph = serial(replace(b.graph(b.threshold(b.input)), encoding=encoding))
    csim, shape = simulate(graph), (40, 3, 2, 3)
    integers = encode.random_inputs(encoding, shape)
    reals = np.random.default_rng(1).normal(0, 2 * float(encode.worth(encoding.input, integers).max()), shape)
    for images in (integers, reals.astype(np.float32), encode.host_values(graph, integers)):
        np.testing.assert_array_equal(csim.encode(images), encode.encode(graph, images))


@pytest.mark.parametrize("bits, lanes", [(3, 5), (12, 10), (20, 5)])
def test_codes_are_packed_and_unpacked_in_groups_of_lanes(bits, lanes):
    b = Builder((3, 1, 10), bits, signed=True)
    graph = with_lanes(b.graph(b.mulshift(b.input, bits, signed=True)), {"mulshift0": (lanes, lanes)})
    assert compare(simulate(graph), random_input(graph, 3)).mismatches == 0


def test_testbench_passes_with_the_vendors_headers_alone(tmp_path):
    b = Builder((4, 4, 2), 4)
    files = project(serial(b.graph(b.threshold(b.conv(b.input, 3)), "tiny")))
    write_files(files, tmp_path)
    sources = [path for path in files if path.endswith(".cpp")]
    (tmp_path / "all.cpp").write_text("".join(f'#include "{path}"\n' for path in sources))
    flags = re.findall(r"tb\.cflags=(.*)", files["hls_config.cfg"])[0].split()
    assert "-DFPGAFLOW_HARDWARE" in flags  # the types that are synthesized
    flags += ["-Wall", "-Werror", "-Wno-unknown-pragmas", "-Wno-unused-label", "-I."]
    command = ["g++", *flags, "-isystem", str(compiler.ap_types()), "all.cpp", "-o", "testbench"]
    subprocess.run(command, cwd=tmp_path, check=True)
    done = subprocess.run(["./testbench"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "0 of 144 codes are wrong\n")
