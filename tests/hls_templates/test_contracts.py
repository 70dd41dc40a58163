"""What the headers promise their readers: lists of Config fields, names of loops, sentences for wrong sizes."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from functools import cache
from itertools import product
from math import ceil, prod

import pytest

from tests.conformance import cases
from tests.graphs import Builder
from tests.grids import ALL_GRIDS
from tests.hardware import Target, with_lanes
from toolchain.files import write_files
from toolchain.hls_templates.generate import PlacedUnit, generate, place_units, unit_sources
from toolchain.hls_templates.render import headers
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


@cache
def emitted() -> list[PlacedUnit]:
    """Every unit of the conformance grid, under names that differ."""
    return [case.placed for case in cases(graph for grid in ALL_GRIDS for graph in grid().graphs())]


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
            assert not named or "#pragma HLS PIPELINE II=1 style=flp" in lines[i + 1 : i + 2], f"{path}:{i + 1}"


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


WHOLE = re.compile(r"static_assert\(Config::(\w+) % \(?((?:Config::\w+(?: \* )?)+)\)? == 0, \"(.+)\"\);")
FUNCTION = re.compile(r"^(?:void|struct) (\w+)", re.MULTILINE)
CARRIED = {"simd": "in_1", "pe": "out_1", "lanes_in": "in_1", "lanes_out": "out_1"}
"""Sizes that are those of a stream's words, in which a unit and its Config agree here."""
VARIANTS = 3
"""Units that are tried for a sentence: spread over the grid, since some kinds never reach it."""
DIVIDED = re.compile(r"Config::(\w+) / Config::(\w+)")


def whole(path: str) -> list[tuple[str, str, list[str], str]]:
    """What a header asserts to be whole: the function, the size, the fields it is a multiple of, the sentence."""
    text = UNITS[path]
    return [
        (FUNCTION.findall(text, 0, match.start())[-1], match[1], re.findall(r"Config::(\w+)", match[2]), match[3])
        for match in WHOLE.finditer(text)
    ]


def _with_included(path: str) -> set[str]:
    """``path`` and the headers that it includes."""
    included = [f"include/{name}" for name in re.findall(r'#include "(fpgaflow/.+)"', UNITS[path])]
    return {path}.union(*map(_with_included, included))


@pytest.mark.parametrize("path", sorted(UNITS))
def test_every_quotient_of_two_sizes_is_asserted_to_be_whole(path):
    """By the header or by one that it includes."""
    asserted = {(a, b) for other in _with_included(path) for _, a, many, _ in whole(other) for b in many}
    assert set(DIVIDED.findall(UNITS[path])) <= asserted


def _variants(path: str, function: str, size: str, divisors: list[str]) -> Iterator[tuple[str, dict[str, str]]]:
    """Units of the grid with one size larger by one, no longer a multiple in some: their Config and sources."""
    functions = {placed.unit.function for placed in emitted()}
    fitting = [
        placed
        for placed in emitted()
        if f"include/fpgaflow/{placed.unit.header}.hpp" == path
        and (placed.unit.function == function or function not in functions)
        and {size, *divisors} <= placed.unit.declared.keys()
        and prod(placed.unit.declared[name] for name in divisors) > 1
    ]
    for placed, field in product(fitting[:: ceil(len(fitting) / VARIANTS)], (size, *divisors)):
        number = placed.unit.declared[field]
        if placed.unit.declared[size] % (number + 1) == 0 and field != size:
            continue
        name = f"{placed.name}_{function}_{size}_{'_'.join(divisors)}_{field}"
        files = {p.replace(placed.name, name): t.replace(placed.name, name) for p, t in unit_sources([placed]).items()}
        source = f"src/units/{name}.cpp"
        text = files[source].replace(f"int {field} = {number};", f"int {field} = {number + 1};")
        if field in CARRIED:
            text = text.replace(f", {number}>>& {CARRIED[field]}", f", {number + 1}>>& {CARRIED[field]}")
        yield f"{name}_config", files | {source: text}


@pytest.mark.needs_gxx
def test_every_size_that_is_no_multiple_is_refused_in_the_sentence_of_its_header(tmp_path):
    """Each sentence of a header is said of a unit of the grid with one more of what divides or is divided."""
    wrong, expected = {}, []
    for path in sorted(UNITS):
        for function, size, divisors, sentence in whole(path):
            variants = dict(_variants(path, function, size, divisors))
            expected.append((sentence, set(variants)))
            for files in variants.values():
                wrong |= files
    sources = [path for path in wrong if path.endswith(".cpp")]
    write_files(headers() | wrong | {"all.cpp": "".join(f'#include "{path}"\n' for path in sources)}, tmp_path)
    flags = ["-std=c++14", "-fsyntax-only", "-Wno-unknown-pragmas", "-Iinclude", "-isystem", str(compiler.ap_types())]
    done = subprocess.run(["g++", *flags, "all.cpp"], cwd=tmp_path, capture_output=True, text=True, check=False)
    found, config = set(), ""
    for line in done.stderr.splitlines():
        config = match[1] if (match := re.search(r"Config = (\w+)", line)) else config
        if match := re.search(r"static assertion failed: (.+)", line):
            found.add((match[1], config))
    assert [sentence for sentence, configs in expected if not any((sentence, c) in found for c in configs)] == []
