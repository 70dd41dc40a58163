"""Units that ask the vendor's header for whole DSP slices compute the same, within the ports of a slice."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.conformance import DRIVER, UnitConformance, cases, compile_cases
from tests.simulate import test_product_units as units
from toolchain.ir.graph import Graph

FLAGS = ("-DFPGAFLOW_HARDWARE", "-DFPGAFLOW_DSP_INTRINSICS", f"-I{DRIVER / 'vendor'}")


class OnSlices(UnitConformance):
    """The units of ``grid`` with the vendor's header."""

    grid: type[UnitConformance]

    def graphs(self) -> Iterator[Graph]:
        yield from self.grid().graphs()

    @pytest.fixture(scope="class")
    def compiled(self, request, tmp_path_factory):
        """The units of all graphs, compiled."""
        found = cases(request.cls().graphs())
        return compile_cases(found, tmp_path_factory.mktemp("slices"), *FLAGS), found


class TestRowConvOnSlices(OnSlices):
    """Chains of packed products on a cascade."""

    grid = units.TestRowConv


class TestPackedMatVecOnSlices(OnSlices):
    """Packed weights joined by the pre-adder."""

    grid = units.TestPackedMatVec
