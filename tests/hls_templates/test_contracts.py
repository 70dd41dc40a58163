"""What the headers promise their readers: lists of Config fields, names of loops, sentences for wrong sizes."""

from __future__ import annotations

import re
import subprocess

import pytest

from tests.conformance import UnitConformance
from tests.graphs import Builder
from tests.hardware import Target, with_lanes
from tests.simulate import test_units, test_wide_units
from toolchain.files import write_files
from toolchain.hls_templates.generate import PlacedUnit, generate, place_units, unit_sources
from toolchain.hls_templates.render import headers
from toolchain.ir.graph import Graph
from toolchain.simulate import compiler

UNITS = {path: text for path, text in headers().items() if not path.endswith("host.hpp")}
LIST = re.compile(r"Config of (\w+(?:(?: and|,) \w+)*):\n((?://   .*\n)+)")
LINE = re.compile(r"//   (\w+(?:, \w+)*)  +(\(packed\) )?\S.*")


def documented() -> dict[str, tuple[set[str], set[str]]]:
    """Fields of the Config of every function by its name: those it always has, and those of packed products."""
    found = {}
    for text in UNITS.values():
        for names, lines in LIST.findall(text):
            always: set[str] = set()
            packed: set[str] = set()
            for line in lines.splitlines():
                match = LINE.fullmatch(line)
                assert match, line
                (packed if match[2] else always).update(match[1].split(", "))
            found.update(dict.fromkeys(re.split(r" and |, ", names), (always, packed)))
    return found


def emitted() -> list[PlacedUnit]:
    """Every unit of the conformance grid."""
    grids = {
        grid
        for module in (test_units, test_wide_units)
        for grid in vars(module).values()
        if isinstance(grid, type) and issubclass(grid, UnitConformance) and "graphs" in vars(grid)
    }
    return [unit for grid in sorted(grids, key=lambda g: g.__name__) for g in _graphs(grid) for unit in place_units(g)]


def _graphs(grid: type[UnitConformance]) -> list[Graph]:
    try:
        return list(grid().graphs())
    except NotImplementedError:
        return []


def test_every_config_has_the_fields_that_its_header_lists():
    fields = documented()
    seen = set()
    for placed in emitted():
        call = placed.unit
        always, packed = fields[call.function]
        declared = {"id", *call.declared, *call.types, *call.lists}
        assert declared in (always, always | packed), call.function
        seen.add(call.function)
    assert fields.keys() - seen == {"unpack", "pack"}


def test_the_memory_units_config_has_the_fields_that_the_header_lists():
    b = Builder((1, 1, 2), 4)
    top = generate(with_lanes(b.graph(b.threshold(b.input)), {"threshold0": (2, 2)}), Target(), 250.0)["src/top.cpp"]
    config = top.split("struct input_config {")[1].split("};")[0]
    assert documented()["unpack"][0] == set(re.findall(r"(\w+)(?= =|;)", re.sub("= .*;", "=", config)))


@pytest.mark.parametrize("path", sorted(UNITS))
def test_every_loop_is_unrolled_or_has_a_name(path):
    lines = [line.strip() for line in UNITS[path].splitlines()]
    for i, line in enumerate(lines):
        if re.match(r"(for|while) \(", line):
            unrolled = "#pragma HLS UNROLL" in lines[i + 1 : i + 2]
            named = re.fullmatch(r"\w+_loop:", lines[i - 1])
            compile_time = _in_constexpr(lines, i)
            assert unrolled or named or compile_time, f"{path}:{i + 1}"
            assert not named or "#pragma HLS PIPELINE II=1" in lines[i + 1 : i + 2], f"{path}:{i + 1}"


def _in_constexpr(lines: list[str], at: int) -> bool:
    """Whether line ``at`` is in a function that the compiler runs."""
    heads = [line for line in lines[:at] if line.endswith(") {") and not re.match(r"(for|while|if|\} else)", line)]
    return bool(heads) and "constexpr" in heads[-1]


@pytest.mark.needs_gxx
@pytest.mark.parametrize(
    "change, sentence",
    [
        (("lanes = 2;", "lanes = 3;"), "the words of a position have all lanes"),
        (("mul_lanes = 2;", "mul_lanes = 4;"), "a factor a channel, or one"),
        (("shift = ", "shift = 60 + "), "sum_t holds half a unit"),
    ],
)
def test_a_config_of_wrong_sizes_is_refused_in_a_sentence(change, sentence, tmp_path):
    b = Builder((2, 2, 4), 8, signed=True)
    (placed,) = place_units(with_lanes(b.graph(b.mulshift(b.input, 4, per_channel=True)), {"mulshift0": (2, 2)}))
    files = headers() | unit_sources([placed])
    path = f"src/units/{placed.name}.cpp"
    assert change[0] in files[path]
    write_files(files | {path: files[path].replace(*change)}, tmp_path)
    flags = ["-std=c++14", "-fsyntax-only", "-Wno-unknown-pragmas", "-Iinclude", "-isystem", str(compiler.ap_types())]
    done = subprocess.run(["g++", *flags, path], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert f"static assertion failed: {sentence}" in done.stderr
