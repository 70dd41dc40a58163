"""The project of an engine, as its user has it: files, a compiler and the vendor's open headers."""

from __future__ import annotations

import re
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.engine.networks import inverted_residuals, residual_blocks, two_heads
from tests.engine.test_csim import engine_for
from tests.golden_files import assert_golden
from toolchain.boards import load_board
from toolchain.engine.csim import EngineSim
from toolchain.engine.cut import cut
from toolchain.engine.project import project
from toolchain.engine.tables import Program, program
from toolchain.files import write_files
from toolchain.hls_templates import generate
from toolchain.ir.graph import Graph, Output
from toolchain.ir.ops.argmax import ArgMax
from toolchain.ir.types import QInt, Value
from toolchain.simulate import compiler

pytestmark = pytest.mark.needs_gxx

FILES = {
    "README.txt", "hls_config.cfg", "host/corrections.inc", "host/encode.hpp", "host/scale.inc", "host/zero.inc",
    "memory.bin", "run.sh", "run_hls.tcl", "src/fields.hpp", "src/shape.hpp", "src/top.cpp", "src/top.hpp",
    "tb/expected_codes.inc", "tb/input_codes.inc", "tb/testbench.cpp",
}  # fmt: skip


def with_class(graph: Graph) -> Graph:
    """``graph`` with the index of the largest channel behind it."""
    output = Value("class", (1, 1, 1), QInt(4, False))
    node = ArgMax(name="argmax0", inputs=(graph.output,), outputs=(output,), origin=("top",))
    return replace(graph, nodes=(*graph.nodes, node), outputs=(Output("out", "class"),))


def built(graph: Graph) -> Program:
    """Two maps on the chip, weights in tiles."""
    network = cut(graph)
    facts = {"tile_depth": 96, "bank_words": 2048, "small_words": 1024}
    return program(
        network,
        engine_for([network], **facts),
        {p.result: i for i, p in enumerate(network.passes[:2]) if p.result not in network.answers},
    )


def compiled(folder: Path, *flags: str) -> subprocess.CompletedProcess[str]:
    """The testbench, compiled with all warnings and run in the project's folder."""
    warnings = ["-Wall", "-Wextra", "-Werror", "-Wno-unknown-pragmas", "-Wno-unused-label"]
    include = ["-Iinclude", "-Isrc", "-Ihost", "-Itb", "-isystem", str(compiler.ap_types())]
    sources = ["src/top.cpp", "tb/testbench.cpp"]
    subprocess.run(
        ["g++", "-std=c++14", *warnings, *flags, *include, *sources, "-o", "testbench"], cwd=folder, check=True
    )
    return subprocess.run(["./testbench"], cwd=folder, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("name", ["fields.hpp", "shape.hpp", "top.cpp", "top.hpp"])
def test_generated_cpp_is_golden(name: str) -> None:
    graph = inverted_residuals()
    assert_golden(f"engine/{name}", str(project(graph, built(graph), load_board("zu3eg"), 250.0)[f"src/{name}"]))


@pytest.mark.parametrize(
    ("graph", "flags"),
    [
        (inverted_residuals(), ["-O0"]),
        (residual_blocks(), ["-O0"]),
        (residual_blocks(), ["-O0", "-DFPGAFLOW_HARDWARE"]),
        (two_heads(), ["-O0"]),
    ],
    ids=["sums, windows laid out by the host", "codes", "codes, the types that are synthesized", "two outputs"],
)
def test_the_testbench_passes_with_the_vendors_headers_alone(tmp_path: Path, graph: Graph, flags: list[str]) -> None:
    files = project(graph, built(graph), load_board("zu3eg"), 250.0)
    write_files(files, tmp_path)
    done = compiled(tmp_path, *flags)
    (tmp_path / "memory.bin").unlink()
    without = subprocess.run(["./testbench"], cwd=tmp_path, capture_output=True, text=True, check=False)

    count = generate.testbench_frames(graph) * sum(value.size for value in graph.ends)
    names = {path for path in files if not path.startswith("include/")} - {"host/pixel_codes.inc"}
    assert {re.sub(r"_\d\.", ".", path) for path in names} == FILES
    assert (done.returncode, done.stdout) == (0, f"0 of {count} codes are wrong\n")
    assert (without.returncode, without.stdout) == (255, "memory.bin is missing or too short\n")


def test_the_host_takes_the_class_that_the_network_ends_with(tmp_path: Path) -> None:
    graph = with_class(residual_blocks())
    files = project(graph, built(graph), load_board("zu3eg"), 250.0)
    write_files(files, tmp_path)
    (tmp_path / "main.cpp").write_text(
        '#include "encode.hpp"\n'
        "int main() {\n"
        "    const std::int64_t codes[host::answer::size] = {-3, 5, 7, 7, 0, 7, 1, 2, 3, 4};\n"
        "    return int(host::class_of(codes));\n"
        "}\n"
    )
    subprocess.run(["g++", "-std=c++14", "-Iinclude", "-Ihost", "main.cpp", "-o", "main"], cwd=tmp_path, check=True)

    assert subprocess.run(["./main"], cwd=tmp_path, check=False).returncode == 2
    assert "host::class_of" in str(files["README.txt"])


def test_no_passes_change_nothing() -> None:
    graph = residual_blocks()
    found = built(graph)
    memory = found.memory.copy()
    EngineSim(graph, found).run_program(memory, 0)

    assert np.array_equal(memory, found.memory)
