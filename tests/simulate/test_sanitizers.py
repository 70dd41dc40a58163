"""Units and a whole network under the address and the undefined-behaviour sanitizer: no report, the same numbers.

This is how the grids are run in the C simulation's native integers.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np
import pytest

from tests.conformance import (
    FRAMES,
    HARDWARE,
    UnitConformance,
    cases,
    compile_driver,
    cycles_of_call,
    in_stream_order,
    write_driver,
)
from tests.graphs import conv_net
from tests.grids import ALL_GRIDS
from tests.hardware import Target, serial
from toolchain.files import write_files
from toolchain.hls_templates.generate import generate
from toolchain.ir.evaluate import evaluate
from toolchain.simulate import compiler

CALLED = ("--param", "asan-instrumentation-with-call-threshold=0")
"""Accesses are checked by calls: a tenth less to compile than checks in line."""

FLAGS = ("-std=c++14", "-O0", "-fsanitize=address,undefined", *CALLED, "-Wno-unknown-pragmas")
"""Without -fwrapv, which would hide an overflow: no sum of a unit overflows."""

OF_UNITS = (*FLAGS, "-fno-sanitize=null,alignment")
"""A null pointer ends a program by itself, and the whole network checks alignment: a quarter less to compile."""

KINDS = [(), (HARDWARE,)]
EVERY = {(): 4, (HARDWARE,): 12}
"""Which cases of a grid are compiled: all of them run without sanitizers in the conformance tests."""

TOGETHER = 8
"""Grids in one program: the few units of most take as long as the headers."""
PROGRAMS = [(kind, ALL_GRIDS[at : at + TOGETHER]) for kind in KINDS for at in range(0, len(ALL_GRIDS), TOGETHER)]

pytestmark = [pytest.mark.needs_gxx, pytest.mark.slow]


def run_clean(command: list[str], folder: Path) -> str:
    """What a sanitized program prints; AssertionError with its reports, but for those of the vendor's headers.

    Those cut numbers to their width by shifting them to the left, negative ones too.
    """
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    vendor = tuple(f"{path}/" for path in (compiler.ap_types(), compiler.ap_types().resolve()))  # g++ takes the shorter
    reports = [line for line in done.stderr.splitlines() if not line.startswith(vendor)]
    assert (done.returncode, reports) == (0, []), "\n".join(reports)
    return done.stdout


def _name(kind: tuple[str, ...], grids: list[type[UnitConformance]]) -> str:
    return f"{'hardware' if kind else 'native'}-{grids[0].__name__}"


@pytest.mark.parametrize(("kind", "grids"), PROGRAMS, ids=[_name(*program) for program in PROGRAMS])
def test_units_under_the_sanitizers_equal_the_evaluator_in_the_cycles_of_their_schedule(kind, grids, tmp_path):
    graphs = [(grid(), graph) for grid in grids for graph in list(grid().graphs())[:: EVERY[kind]]]
    owned = [(grid, case) for number, (grid, graph) in enumerate(graphs) for case in cases([graph], number)]
    found = [case for _, case in owned]
    write_driver(found, tmp_path, "sanitized.cpp", filled=bool(kind))
    inputs, expected = [], []
    for seed, (grid, case) in enumerate(owned):
        graph = case.graph
        values = evaluate(graph, grid.inputs(graph, seed), taps=set(graph.values()))
        inputs += [in_stream_order(graph, name, values[name]) for name in case.placed.node.inputs]
        node = case.placed.node
        expected += [in_stream_order(graph, value.name, values[value.name]) for value in node.outputs]
        counts = [FRAMES * graph.value(value.name).size for value in node.outputs]
        expected.append(np.array([*counts, cycles_of_call(graph, node, FRAMES)]))
    np.concatenate([array.reshape(-1).astype(np.int64) for array in inputs]).tofile(tmp_path / "in.bin")

    compile_driver(tmp_path, "sanitized.cpp", "sanitized", *OF_UNITS, *kind)
    run_clean(["./sanitized"], tmp_path)

    found_codes = np.fromfile(tmp_path / "out.bin", dtype=np.int64)
    np.testing.assert_array_equal(found_codes, np.concatenate([array.reshape(-1) for array in expected]))


@pytest.mark.parametrize("kind", KINDS, ids=["native", "hardware"])
def test_a_whole_network_runs_under_the_sanitizers(kind, tmp_path):
    files = generate(serial(conv_net()), Target(), 250.0)
    write_files(files, tmp_path)
    sources = [path for path in files if path.endswith(".cpp")]
    (tmp_path / "all.cpp").write_text("".join(f'#include "{path}"\n' for path in sources))
    include = ["-I.", "-Iinclude", "-Isrc", "-Ihost", "-Itb", "-isystem", str(compiler.ap_types())]
    command = [compiler.compiler()[0], *FLAGS, *kind, *include, "all.cpp", "-o", "testbench"]
    subprocess.run(command, cwd=tmp_path, check=True)

    assert run_clean(["./testbench"], tmp_path).startswith("0 of ")


def test_the_sanitizers_see_what_they_should(tmp_path):
    (tmp_path / "bad.cpp").write_text("int main(int n, char**) { int a[2] = {}; a[1] = -n << n; return a[n + 1]; }\n")
    command = [compiler.compiler()[0], *FLAGS, "bad.cpp", "-o", "bad"]
    subprocess.run(command, cwd=tmp_path, check=True)
    with pytest.raises(AssertionError, match="(?s)left shift of negative value -1.*index 2 out of bounds"):
        run_clean(["./bad"], tmp_path)
