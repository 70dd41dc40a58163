"""The C++ that takes packed products apart, in native and in hardware types: every product of every packing."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

import jinja2
import pytest

from tests.graphs import Builder
from tests.hardware import with_lanes
from toolchain.errors import UserError
from toolchain.files import write_files
from toolchain.hls_templates.generate import place_units
from toolchain.hls_templates.render import cpp_type, headers
from toolchain.ir.types import QInt
from toolchain.simulate import compiler
from toolchain.units.fabric import lane_bits, packing, product_range, word_type

EXHAUSTIVE = 1 << 16  # combinations of weights and value that are all tried
TYPES = [(2, 4), (2, 17), (3, 3), (4, 1), (4, 4), (4, 8), (8, 8)]


@dataclass(frozen=True)
class Case:
    """A packing of ``weight`` and ``act``."""

    weight: QInt
    act: QInt
    offsets: tuple[int, ...]

    @property
    def name(self) -> str:
        """Name of the configuration in C++."""
        return f"{self.weight}_{self.act}_{len(self.offsets)}"

    @property
    def lane_bits(self) -> int:
        """Bits of a lane."""
        return lane_bits(self.weight, self.act)

    @property
    def word(self) -> QInt:
        """Type of the packed word."""
        return word_type((self.weight.min, self.weight.max), self.offsets)

    @property
    def wide(self) -> QInt:
        """Type of its products."""
        return word_type(product_range(self.weight, self.act), self.offsets)

    @property
    def all(self) -> bool:
        """Whether all combinations are few enough."""
        return self.weight.bits * len(self.offsets) + self.act.bits <= EXHAUSTIVE.bit_length() - 1


def cases() -> list[Case]:
    """The tightest packing of ``TYPES``, signed and unsigned in turn, some looser ones, and one of unsigned weights."""
    kinds = [(QInt(w, True), QInt(a, i % 2 == 1)) for i, (w, a) in enumerate(TYPES)]
    kinds += [(QInt(4, True), QInt(4, True)), (QInt(8, True), QInt(8, True)), (QInt(4, False), QInt(4, False))]
    found = [Case(weight, act, list(packing(weight, act).values())[-1]) for weight, act in kinds]
    return found + [Case(QInt(4, True), QInt(4, False), packing(QInt(4, True), QInt(4, False))[n]) for n in (2, 3)]


@pytest.mark.needs_gxx
@pytest.mark.parametrize("flags", [(), ("-DFPGAFLOW_HARDWARE",)], ids=["native", "hardware"])
def test_every_product_comes_back_from_the_packed_multiplier(flags: tuple[str, ...], tmp_path: Path) -> None:
    found = cases()
    loader = jinja2.FileSystemLoader(Path(__file__).parent)
    environment = jinja2.Environment(loader=loader, undefined=jinja2.StrictUndefined, trim_blocks=True)
    environment.filters["cpp_type"] = cpp_type
    write_files(headers(), tmp_path)
    (tmp_path / "packing.cpp").write_text(environment.get_template("packing.cpp.j2").render(cases=found))
    options = [
        "-std=c++14",
        "-O1",
        "-fwrapv",
        "-Wno-unknown-pragmas",
        "-Iinclude",
        "-isystem",
        str(compiler.ap_types()),
    ]
    command = ["g++", *options, *flags, "packing.cpp", "-o", "packing"]
    subprocess.run(command, cwd=tmp_path, check=True)
    done = subprocess.run(["./packing"], cwd=tmp_path, capture_output=True, text=True, check=True)

    assert done.stdout.split("\n")[:-1] == [f"{case.name} 0" for case in found]


def test_the_cases_reach_every_kind_of_lane() -> None:
    found = cases()

    assert {len(case.offsets) for case in found} == {2, 3, 4, 5}
    assert {case.wide.bits > 32 for case in found} == {False, True}
    assert any(b - a < case.lane_bits for case in found for a, b in zip(case.offsets, case.offsets[1:], strict=False))
    assert sum(case.all for case in found) >= 4


def test_a_unit_says_how_it_multiplies() -> None:
    b = Builder((1, 1, 8), 8)
    graph = b.graph(b.matvec(b.input, 6, 4))
    (unit,) = place_units(with_lanes(graph, {"matvec0": (4, 6, 3)}))

    assert unit.unit.constants["products_per_dsp"] == 3
    assert unit.unit.lists == {"offsets": (0, 11, 22)}
    assert unit.unit.types["word_t"] == QInt(27, True)


def test_outputs_that_do_not_fill_the_slices_are_refused() -> None:
    b = Builder((1, 1, 8), 8)
    graph = b.graph(b.matvec(b.input, 6, 4))
    with pytest.raises(
        UserError,
        match=r"^2 outputs a cycle cannot take 3 products s4 x u8 from a DSP slice \[node matvec0\]; "
        r"products_per_dsp can be 0, 1, 2$",
    ):
        place_units(with_lanes(graph, {"matvec0": (4, 2, 3)}))


def test_units_without_shared_inputs_do_not_pack() -> None:
    b = Builder((4, 4, 8), 4)
    graph = b.graph(b.mulshift(b.input))
    with pytest.raises(UserError, match=r"^2 products a DSP slice, MulShift takes 0 or 1 \[node mulshift0\]"):
        place_units(with_lanes(graph, {"mulshift0": (8, 8, 2)}))
