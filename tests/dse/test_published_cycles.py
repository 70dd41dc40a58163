"""The cycle model against schedules that others published, where their units have the same loops."""

from __future__ import annotations

import pytest

from tests.graphs import Builder
from toolchain.dse.bound import macs_per_dsp
from toolchain.ir.ops.products import RowConv
from toolchain.ir.types import Parallelism
from toolchain.passes.split_row_convs import row_forms
from toolchain.units.table import options, schedule, unit_cost

# DAC-SDC 2022, SEUer: rows, columns, channels in and out of UltraNet's layers behind the first; DSP slices of each
SEUER = [
    (80, 160, 16, 32, 96),
    (40, 80, 32, 64, 96),
    (20, 40, 64, 64, 48),
    *[(10, 20, 64, 64, 12)] * 4,
]


@pytest.mark.parametrize(("rows", "columns", "inputs", "outputs", "dsp"), SEUER)
def test_every_seuer_layer_takes_102400_cycles(rows: int, columns: int, inputs: int, outputs: int, dsp: int) -> None:
    """OUT_H * OCH / PE * OUT_W / 2 * ICH / SIMD with 3 * SIMD * PE slices of six 4-bit products: one of our options."""
    b = Builder((rows, columns, inputs), 4)
    b.matvec(b.window(b.input), outputs)
    window, conv = row_forms(b.nodes)[1]
    assert isinstance(conv, RowConv)
    simd = min(dsp // 3, inputs)
    delivered = Parallelism(simd, 3 * simd)
    lanes = Parallelism(3 * simd, 2 * dsp // (3 * simd), 6, 2)

    assert macs_per_dsp(4, 4) == 6
    assert lanes in options(conv, window.output, delivered)
    assert schedule(conv, window.output, lanes).cycles == 102_400
    assert schedule(window, b.input, delivered).cycles <= 102_400
    assert unit_cost(conv, window.output, lanes).dsp == dsp


def test_ultranet_of_2020_takes_460800_cycles() -> None:
    """Its first layer: 160 x 320 positions, a kernel position of three channels a cycle, all 16 outputs at once."""
    b = Builder((160, 320, 3), 8)
    b.matvec(b.window(b.input), 16)
    window, matvec = b.nodes

    assert schedule(matvec, window.output, Parallelism(3, 16)).cycles == 460_800
    assert schedule(window, b.input, Parallelism(3, 3)).cycles == 460_800


@pytest.mark.parametrize(("size", "inputs", "outputs"), [(14, 96, 64), (7, 160, 320)])
def test_codenet_loops(size: int, inputs: int, outputs: int) -> None:
    """CoDeNet (FPGA 2021), PA = PE = 16: D^2 * OC/PE * IC/PA for 1 x 1, D^2 * C/PE for a 3 x 3 filter a channel.

    Its 1 x 1 loop spends IC/PA more a position on copying the input, which the units here read while they multiply.
    """
    b = Builder((size, size, inputs), 8)
    b.matvec(b.input, outputs)
    b.depthwise(b.window(b.input), 9)
    matvec, window, depthwise = b.nodes

    assert schedule(matvec, b.input, Parallelism(16, 16)).cycles == size**2 * (outputs // 16) * (inputs // 16)
    assert schedule(depthwise, window.output, Parallelism(9 * 16, 16)).cycles == size**2 * (inputs // 16)
