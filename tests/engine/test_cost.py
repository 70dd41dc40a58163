"""What the engine's cost counts is what its C++ holds."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from tests.engine.networks import residual_blocks
from tests.engine.test_csim import engine_for
from tests.golden_files import assert_golden
from toolchain.engine.cost import AXI_DIRECTIONS, engine_cost, fixed_cost, in_uram, memory_cost
from toolchain.engine.cut import cut
from toolchain.engine.generate import generate
from toolchain.engine.layout import MEMBERS, structs
from toolchain.engine.shape import Shape
from toolchain.hls_templates.render import headers
from toolchain.resources import KINDS, Resources, multiplier_slices
from toolchain.units.fabric_costs import AXI_BRAM18

HOST = "include/fpgaflow/engine/host.hpp"
OPERAND = r"[\w.:]+(?:<[^<>;]*>)?(?:::\w+)*(?:\([^()]*\))?"
CONSTANT = re.compile(
    r"(\d+|.*::.*|packed|taps|steps|a_beat|codes_a_beat|curve_codes|words_a_beat<\w+>\(\)|shell|k|w|b|d|e|i|s|l|o)$"
)
"""Numbers, members of types, constants of a unit by name, and counters of loops that are unrolled."""


def shape() -> Shape:
    return engine_for([cut(residual_blocks())])


def code_of(text: str) -> str:
    """C++ without comments and pragmas."""
    return re.sub(r"//[^\n]*|#[^\n]*", "", text)


def run_time_products(text: str) -> list[str]:
    """Products and quotients in C++ whose operands both are known at run time only, but those of a slice's factors."""
    return [
        f"{left} {sign} {right}"
        for left, sign, right in re.findall(rf"({OPERAND}) ([*/%]) ({OPERAND})", code_of(text))
        if not (CONSTANT.match(left) or CONSTANT.match(right) or "Factor<" in left)
    ]


def test_no_number_of_a_pass_is_multiplied_or_divided_by_another() -> None:
    """What remains are products with weights, factors and constants: a divider of 32 bits takes 1,257 LUTs in yosys."""
    files = {path: text for path, text in headers("fpgaflow/engine").items() if path != HOST}

    assert len(files) >= 7
    assert {path: found for path, text in files.items() if (found := run_time_products(text))} == {}
    assert run_time_products("const int row = y * p.stride, r = tap / p.kernel;") == ["y * p.stride", "tap / p.kernel"]


def test_every_direction_of_a_memory_port_has_a_burst_buffer() -> None:
    """No two ports of a bundle read, and none that a process does not have for itself."""
    top = generate(shape(), 1)["src/top.cpp"]
    ports = dict(re.findall(r"m_axi port=(\w+) bundle=(\w+)", top))
    reads = [ports[port] for port in ("weights", "source", "residual")]

    assert len(ports) == AXI_DIRECTIONS
    assert sorted(set(reads)) == sorted(reads)
    assert fixed_cost(shape()).bram18 >= AXI_DIRECTIONS * AXI_BRAM18
    body = top[top.index("static void run_pass(") : top.index("// `source` and `result` share")]
    assert all(len(re.findall(rf"\b{name}\b", body[body.index("DATAFLOW") :])) == 1 for name in ports)


def test_every_array_of_the_dataflow_region_has_one_reader_and_one_writer() -> None:
    """A bank is read by an earlier process than the one that writes it; all others belong to one process."""
    top = generate(shape(), 1)["src/top.cpp"]
    body = top[top.index("    engine::load<") : top.index("// `source` and `result` share")]
    calls = re.findall(r"engine::(\w+)[^;(]*\(([^;]*)\);", body)
    users = {name: [unit for unit, given in calls if re.search(rf"\b{name}\b", given)] for name in (
        "bank_0", "bank_1", "bank_2", "rows", "main", "extra", "first_entries", "second_entries", "window_memory"
    )}  # fmt: skip

    assert [users.pop(f"bank_{i}") for i in range(3)] == [["serve", "write_result"]] * 3
    assert all(len(units) == 1 for units in users.values()), users
    assert len([unit for unit, given in calls if "_facts" in given]) == len(MEMBERS) == len(calls)


VARIANTS: dict[str, dict[str, int]] = {
    "a product a slice": {},
    "products in LUTs": {"products_per_dsp": 0},
    "two products a slice": {"products_per_dsp": 2, "out_blocks": 4},
    "more outputs in LUTs": {"extra_outputs": 4, "out_blocks": 3},
    "wide words": {"lanes": 16, "taps": 9, "row_words": 5000},
    "filters on slices": {"filter_dsp_lanes": 4, "taps": 5},
    "lines that bend, positions that repeat": {"bends": True, "repeats": True},
    "products of branches": {"products": True},
    "tables of codes": {"curves": True},
    "tables of narrow codes": {"curves": True, "act_bits": 4},
    "raised factors": {"mul_shift": 17, "mul_bits": 22, "add_bits": 50},
    "narrow factors of branches": {"merge_bits": 4},
    "wide sums of branches": {"merge_bits": 20, "merge_add_bits": 40},
    "neither filters nor maxima": {"filters": False, "pools": False, "kernel": 1},
    "bursts in LUTs": {"bursts_in_luts": True},
    "maps in block RAM": {"bank_words": 20000, "small_words": 3000},
    "maps in UltraRAM": {"bank_words": 20000, "ultra_banks": True},
    "weights in UltraRAM": {"tile_depth": 4096, "ultra_weights": True},
}


def test_the_costs_of_engines_are_golden() -> None:
    """Engines that differ from the first one in what a part depends on."""
    lines = []
    for name, facts in VARIANTS.items():
        found = zip(KINDS, engine_cost(replace(shape(), **facts)), strict=True)
        lines.append(f"{name}: {', '.join(f'{count} {kind}' for kind, count in found if count)}\n")
    assert_golden("engine/costs.txt", "".join(lines))


def test_the_table_entry_and_what_the_processes_keep_of_it_are_flip_flops() -> None:
    bits = sum(kind.bits for struct in MEMBERS.values() for kind in structs(shape())[struct].values())
    assert fixed_cost(shape()).ff > 2 * bits > 2000


@pytest.mark.parametrize(("depth", "width", "luts"), [(3000, 18, 21), (2100, 36, 77), (512, 36, 0), (1024, 18, 0)])
def test_a_memory_deeper_than_its_blocks_has_the_multiplexer_that_yosys_builds(depth, width, luts) -> None:
    assert memory_cost(depth, width).lut == luts


def test_an_unsigned_code_has_a_bit_more_in_a_signed_product() -> None:
    """An unsigned number of 18 bits takes two slices, and a code of 8 bits counts as 9 in a sum of branches."""
    assert multiplier_slices(18 + 1, 20) == 2
    wide = replace(shape(), merge_bits=18)
    assert fixed_cost(wide).dsp - fixed_cost(replace(wide, merge_bits=6)).dsp == 2 * wide.lanes


def test_maps_on_the_chip_cost_their_processes_and_streams() -> None:
    small, large = (replace(shape(), bank_words=n, small_words=n) for n in (1, 8192))
    assert engine_cost(small).lut > 600
    assert (engine_cost(large) - engine_cost(small)).bram18 > 0
    assert isinstance(engine_cost(small), Resources)


def test_arrays_in_ultraram_are_bound_to_it_and_counted() -> None:
    """Maps and weights of enough words; a bank of few stays where it is, and so does a tile of nothing."""
    small = replace(shape(), bank_words=16384, small_words=16, ultra_banks=True)
    both = replace(small, ultra_weights=True, tile_depth=1024)
    assert in_uram(small) == ("bank_0",)
    assert set(in_uram(both)) >= {"bank_0", "main"}
    for built in (small, both):
        top = generate(built, 1)["src/top.cpp"]
        bound = re.findall(r"BIND_STORAGE variable=(\w+) type=ram_2p impl=uram", top)
        assert tuple(bound) == in_uram(built)
        plain = engine_cost(replace(built, ultra_banks=False, ultra_weights=False))
        assert plain.uram == 0 < engine_cost(built).uram and engine_cost(built).bram18 < plain.bram18
