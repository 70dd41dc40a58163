"""Conformance of hardware units: each one, compiled and run, equals the evaluator and takes the cycles of the formula.

A subclass of UnitConformance lists graphs; every node of theirs is one unit, run on what the evaluator says its inputs
are. All units of a class are compiled into one library, once in the C simulation's native integers and once in the
types that hardware computes in.
"""

from __future__ import annotations

import ctypes
import re
import subprocess
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import jinja2
import numpy as np
import pytest

from tests.graphs import random_input
from toolchain.files import write_files
from toolchain.hls_templates.generate import PlacedUnit, place_units, unit_sources
from toolchain.hls_templates.render import cpp_type, headers
from toolchain.ir.evaluate import evaluate
from toolchain.ir.graph import Graph
from toolchain.ir.ops.node import Node
from toolchain.ir.types import Array
from toolchain.paths import data_path
from toolchain.simulate import compiler
from toolchain.simulate.cache import cache_folder
from toolchain.units.order import stream_order
from toolchain.units.table import iterations

FRAMES = 3
FLAGS = ("-fPIC", "-fwrapv", "-shared", "-fno-gnu-unique")
HARDWARE = "-DFPGAFLOW_HARDWARE"
TABLE = re.compile(r'static const (fpgaflow::Exact<\w+::\w+>) (\w+)((?:\[\d+\])+) = \{\n(#include ".+")\n\};')
DRIVER = Path(__file__).parent / "simulate"


@dataclass(frozen=True)
class Case:
    """One unit of a graph."""

    graph: Graph
    placed: PlacedUnit

    @property
    def title(self) -> str:
        """What pytest's message should say."""
        return f"{self.placed.node} {self.placed.unit.constants} {self.placed.unit.types}"


def cycles_of_call(graph: Graph, node: Node, frames: int) -> int:
    """Cycles of ``frames`` frames by the schedule, what comes before the first one leaves included."""
    return iterations(node, graph.value(node.inputs[0]), frames).count


def cases(graphs: Iterable[Graph], first: int = 0) -> list[Case]:
    """Every unit of ``graphs``, the nodes renamed to be different ones: by numbers from ``first``."""
    found = []
    for number, graph in enumerate(graphs, first):
        named = graph.with_nodes(replace(node, name=f"{node.name}_{number}") for node in graph.nodes)
        found += [Case(named, placed) for placed in place_units(named)]
    return found


def _filled(source: str) -> str:
    """``source`` with its tables filled by a loop: g++ takes a time quadratic in the initializers of ap_int."""
    return TABLE.sub(
        r"static const std::int64_t \2_numbers\3 = {\n\4\n};\ntypedef \1 \2_type\3;\n"
        r"static const Filled<\2_type> \2_filled(\2_numbers);\nstatic const \2_type& \2 = \2_filled.table;",
        source,
    )


def write_driver(found: list[Case], folder: Path, *templates: str, filled: bool = False) -> None:
    """Write the units, their driver and further ``templates``, the tables perhaps ``filled`` by a loop."""
    units = [case.placed for case in found]
    sources = unit_sources(units)
    if filled:
        sources = {path: _filled(text) if path.endswith(".cpp") else text for path, text in sources.items()}
    files = headers() | sources
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(DRIVER), undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["cpp_type"] = cpp_type
    for name in ("driver.cpp", *templates):
        files[name] = environment.get_template(f"{name}.j2").render(units=units, frames=FRAMES)
    write_files(files, folder)


@cache
def _precompiled(flags: tuple[str, ...]) -> Path:
    """The folder of ``units.hpp``, precompiled with ``flags``: all that drivers include, a second of reading."""
    simulated = [path for folder in (data_path("sim"), DRIVER) for path in sorted(folder.glob("*.h*"))]
    files = headers() | {path.name: path.read_text(encoding="utf-8") for path in simulated}
    first = ["simulation.hpp", "driver.hpp", *(path.removeprefix("include/") for path in headers())]
    files["units.hpp"] = "".join(f'#include "{path}"\n' for path in first) + "#include <cstdio>\n#include <vector>\n"
    folder = cache_folder() / "tests" / compiler.digest([*compiler.compiler(), *flags, *files.values()])
    if not folder.exists():
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent) as name:
            new = Path(name) / "new"
            write_files(files, new)
            _compile(new, *flags, "-Iinclude", "-x", "c++-header", "units.hpp", "-o", "units.hpp.gch")
            with suppress(OSError):  # another process was faster
                new.rename(folder)
    return folder


def _compile(folder: Path, *options: str) -> None:
    command = [compiler.compiler()[0], "-std=c++14", "-Wno-unknown-pragmas", "-isystem", str(compiler.ap_types())]
    subprocess.run([*command, *options], cwd=folder, check=True)


def compile_driver(folder: Path, source: str, output: str, *flags: str) -> None:
    """Compile a ``source`` that ``write_driver`` wrote to ``folder``."""
    include = ["-I.", "-Iinclude", f"-I{data_path('sim')}", f"-I{DRIVER}"]
    first = ["-include", "simulation.hpp"]
    if "-include" not in flags:
        first = ["-include", str(_precompiled(flags) / "units.hpp")]
    _compile(folder, *flags, *first, *include, source, "-o", output)


def compile_cases(found: list[Case], folder: Path, *flags: str) -> ctypes.CDLL:
    """One library with a function ``run_NAME`` for every unit."""
    write_driver(found, folder, filled=HARDWARE in flags)
    compile_driver(folder, "driver.cpp", "driver.so", "-O0", *FLAGS, *flags)
    return ctypes.CDLL(str(folder / "driver.so"))


def in_stream_order(graph: Graph, name: str, value: Array) -> Array:
    """Elements of ``value`` (N, H, W, C) as its stream carries them."""
    return np.ascontiguousarray(value[..., stream_order(graph, name)])


def run_case(library: ctypes.CDLL, case: Case, inputs: list[Array]) -> tuple[list[Array], int]:
    """Outputs in stream order, and the cycles counted."""
    node, graph = case.placed.node, case.graph
    frames = len(inputs[0])
    outputs = [np.full((frames, *value.shape), -(1 << 60), dtype=np.int64) for value in node.outputs]
    cycles = np.zeros(case.placed.id + 1, dtype=np.uint64)
    counts = np.zeros(len(outputs), dtype=np.int64)
    ins = (ctypes.c_void_p * len(inputs))(*[array.ctypes.data for array in inputs])
    outs = (ctypes.c_void_p * len(outputs))(*[array.ctypes.data for array in outputs])
    run = getattr(library, f"run_{case.placed.name}")
    pointers = [ctypes.c_void_p(array.ctypes.data) for array in (cycles, counts)]
    assert run(ins, outs, frames, *pointers) == 0, f"empty or leftover stream: {case.title}"
    assert [int(c) for c in counts] == [frames * graph.value(value.name).size for value in node.outputs], case.title
    return outputs, int(cycles[case.placed.id])


@pytest.mark.needs_gxx
class UnitConformance:
    """Subclasses define ``graphs``."""

    def graphs(self) -> Iterator[Graph]:
        """Graphs with the lanes of every node set."""
        raise NotImplementedError

    def inputs(self, graph: Graph, seed: int) -> Array:
        """Frames for ``graph``."""
        return random_input(graph, FRAMES, seed)

    @pytest.fixture(scope="class")
    def compiled(self, request, tmp_path_factory) -> tuple[ctypes.CDLL, list[Case]]:
        """The units of all graphs, compiled."""
        found = cases(request.cls().graphs())
        return compile_cases(found, tmp_path_factory.mktemp("units"), HARDWARE), found

    def test_units_equal_the_evaluator_in_the_cycles_of_their_schedule(self, compiled):
        library, found = compiled
        for seed, case in enumerate(found):
            graph, node = case.graph, case.placed.node
            values = evaluate(graph, self.inputs(graph, seed), taps=set(graph.values()))
            outputs, cycles = run_case(library, case, [in_stream_order(graph, n, values[n]) for n in node.inputs])
            for value, output in zip(node.outputs, outputs, strict=True):
                expected = in_stream_order(graph, value.name, values[value.name])
                np.testing.assert_array_equal(output, expected, err_msg=case.title)
            assert cycles == cycles_of_call(graph, node, FRAMES), case.title
