"""Numbers in generated C++: each in a type that holds it, or not written at all."""

from __future__ import annotations

import subprocess
from dataclasses import replace

import numpy as np
import pytest

from tests.graphs import Builder
from tests.hardware import with_lanes
from toolchain.errors import FlowError
from toolchain.hls_templates.generate import place_units, unit_sources
from toolchain.hls_templates.literals import INT, LONG_LONG, array_text, declaration, int_list, literal, native_type
from toolchain.hls_templates.render import render
from toolchain.ir.types import QInt
from toolchain.simulate import compiler
from toolchain.units.call import Constant, among

ENDS = [0, 1, -1, *(sign * (1 << n) + d for n in (31, 32, 40, 62) for sign in (1, -1) for d in (-1, 0, 1))]
ENDS += [LONG_LONG.min, LONG_LONG.min + 1, LONG_LONG.max]


@pytest.mark.needs_gxx
def test_every_constant_has_its_value_and_no_warning(tmp_path):
    lines = [declaration(among(value), f"c{i}", "u") for i, value in enumerate(ENDS)]
    body = " && ".join(f"C::c{i} == {literal(value, LONG_LONG, 'c')}" for i, value in enumerate(ENDS))
    table = array_text(np.array(ENDS, dtype=np.int64), LONG_LONG, "t")
    text = "struct C {" + "\n".join(lines) + "};\nstatic_assert(" + body + ', "");\n'
    (tmp_path / "c.cpp").write_text(text + f'constexpr long long t[] = {{{table}}};\nstatic_assert(t[0] == 0, "");\n')
    flags = ["-std=c++14", "-Wall", "-Wextra", "-Werror", "-pedantic", "-fsyntax-only"]
    command = [compiler.compiler()[0], *flags, str(tmp_path / "c.cpp")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_constant_is_an_int_as_long_as_its_integers_are():
    assert declaration(5, "size", "u") == "static constexpr int size = 5;"
    assert declaration(True, "dsp", "u") == "static constexpr bool dsp = true;"
    assert declaration(Constant(5, QInt(40, True)), "low", "u") == "static constexpr long long low = 5;"
    assert native_type(QInt(31, False)) == "int"
    assert native_type(QInt(32, False)) == native_type(QInt(33, True)) == "long long"
    with pytest.raises(FlowError, match="^no native C\\+\\+ integer holds u64$"):
        native_type(QInt(64, False))


@pytest.mark.parametrize("value", [INT.max + 1, INT.min - 1, 1 << 62])
def test_a_size_that_is_no_int_names_the_unit_and_the_constant(value):
    with pytest.raises(FlowError, match=rf"^constant 'size' of unit 'conv_1' is {value}, which s32 does not hold in C"):
        declaration(value, "size", "conv_1")


def test_a_number_beyond_its_type_is_not_written():
    with pytest.raises(FlowError, match=r"^constant 'low' of unit 'u' is -9, which s4 does not hold in C\+\+$"):
        declaration(Constant(-9, QInt(4, True)), "low", "u")
    with pytest.raises(FlowError, match=r"^table 't' of unit 'u' is 16, which u4 does not hold in C\+\+$"):
        array_text(np.array([[0, 16]]), QInt(4, False), "table 't' of unit 'u'")
    with pytest.raises(FlowError, match=r"^list 'blocks' of unit 'u' is 2147483648, which s32"):
        int_list((1, 1 << 31), "blocks", "u")


def test_a_template_writes_no_number_that_is_no_int():
    with pytest.raises(FlowError, match="^a template writes 2147483648, which no int of C\\+\\+ holds$"):
        render("top.hpp", {"top": "net", "reader": {"words": 1 << 31}, "writers": []})


def test_limits_factors_and_fill_values_are_as_wide_as_the_data():
    b = Builder((2, 2, 2), 40, signed=True)
    x = b.window(b.input, pad_value=-(1 << 39))
    x = b.add(b.slice(x, 0, 2), b.slice(x, 2, 2), (1 << 20, -(1 << 21)))
    x = b.mulshift(x, 4)
    b.nodes[-1] = replace(b.nodes[-1], mul=np.array([1]), add=np.array([0]), shift=0, low=-(1 << 33), high=1 << 33)
    b.nodes[-1] = replace(b.nodes[-1], outputs=(replace(b.nodes[-1].output, type=QInt(35, True)),))
    graph = b.graph(b.nodes[-1].output)
    lanes = {"window0": (2, 2), "slice1": (2, 2), "slice2": (2, 2), "add3": (2, 2), "mulshift4": (2, 2)}
    sources = unit_sources(place_units(with_lanes(graph, lanes)))

    assert "static constexpr long long pad_value = -549755813888LL;" in sources["src/units/window0.cpp"]
    assert "static constexpr int second = -2097152;" in sources["src/units/add3.cpp"]
    assert "static constexpr long long low = -8589934592LL;" in sources["src/units/mulshift4.cpp"]
    assert "static constexpr int shift = 0;" in sources["src/units/mulshift4.cpp"]
