"""The integer program of the engine."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.engine.brute_force import brute_force
from tests.engine.networks import inverted_residuals, joined_maps, residual_blocks
from tests.graphs import Builder
from toolchain.engine.candidates import Budget
from toolchain.engine.cost import engine_cost
from toolchain.engine.cut import cut
from toolchain.engine.options import Choices
from toolchain.engine.schedule import Places
from toolchain.engine.search import search
from toolchain.engine.tables import program
from toolchain.engine.timing import MEMORY
from toolchain.errors import UserError
from toolchain.ir.graph import Graph
from toolchain.resources import Resources

TINY = Choices(
    lanes=(8, 4), in_blocks=(2, 4), out_blocks=(1, 2), tile_depths=(64, 256), taps=(1, 9), bank_kib=(0, 1, 2)
)


def short(seed: int) -> Graph:
    """A block with a sum of branches: four passes, three maps between them."""
    net = Builder((8, 8, 8), 8, seed=seed)
    x = net.mulshift(net.matvec(net.input, 8 + 4 * (seed % 3)), 8)
    y = net.mulshift(net.matvec(x, 24), 8)
    y = net.mulshift(net.depthwise(net.window(y), 9), 8)
    y = net.mulshift(net.matvec(y, x.shape[2]), 8)
    return net.graph(net.matvec(net.mulshift(net.add(x, y), 8, per_channel=False), 16))


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    ("luts", "rate"), [(60_000, 8.0), (14_000, 2.0), (11_000, 0.25)], ids=["plenty", "few LUTs", "slow memory"]
)
def test_the_program_finds_what_brute_force_finds(seed: int, luts: int, rate: float) -> None:
    """The same cycles as the best of every unit, fabric, bank size and placement, one after the other."""
    network, budget = cut(short(seed)), Budget(Resources(luts, 2 * luts, 120, 60), rate)
    found = search(network, budget, TINY)

    assert found.cycles == pytest.approx(brute_force(network, budget, TINY), rel=1e-9)
    assert found.gap < 1e-9
    assert found.resources.fits(budget.resources)


@pytest.mark.parametrize(("luts", "rate", "again"), [(60_000, 8.0, True), (14_000, 0.5, False)])
def test_the_program_finds_what_brute_force_finds_where_maps_are_joined(luts: int, rate: float, again: bool) -> None:
    """A source in memory is read once a tile, and its bytes count as often."""
    net = Builder((6, 6, 40), 8)
    x = net.mulshift(net.matvec(net.input, 24), 8)
    low = net.pool(net.window(x, (2, 2), stride=(2, 2), pads=(0, 0, 0, 0)), 4)
    x = net.mulshift(net.matvec(net.window(net.concat(net.upsample(low), x)), 40), 8)
    network, budget = cut(net.graph(net.matvec(x, 8))), Budget(Resources(luts, 2 * luts, 120, 60), rate)
    found = search(network, budget, TINY)

    assert found.cycles == pytest.approx(brute_force(network, budget, TINY), rel=1e-9)
    assert any(s.reads > 1 and s.p.outside for s in found.schedules) == again


@pytest.mark.parametrize("graph", [inverted_residuals(), residual_blocks(), joined_maps()])
def test_the_time_of_an_engine_is_that_of_its_program(graph: Graph) -> None:
    """Schedules, places and resources of the answer are those of the memory image made from it."""
    network = cut(graph)
    found = search(network, Budget(Resources(40_000, 80_000, 360, 400), 4.0), TINY)
    built = program(network, found.shape, found.placement)

    assert built.schedules == found.schedules
    assert found.resources == engine_cost(found.shape)
    assert found.cycles == pytest.approx(sum(t.cycles for t in found.timings))
    assert sum(t.macs for t in found.timings) == sum(p.macs for p in network.passes)


def test_slow_memory_limits_passes_and_fast_memory_none_of_weights() -> None:
    network, room = cut(inverted_residuals()), Resources(40_000, 80_000, 360, 400)
    slow = search(network, Budget(room, 0.1), TINY)
    fast = search(network, Budget(room, 1e6), TINY)

    assert {t.limited_by for t in slow.timings} == {MEMORY}
    assert MEMORY not in {t.limited_by for t in fast.timings[1:]}
    assert slow.cycles > fast.cycles


def test_weights_that_come_in_before_a_pass_cost_their_time() -> None:
    network, room = cut(inverted_residuals()), Resources(40_000, 80_000, 360, 400)
    together = search(network, Budget(room, 4.0), TINY)
    one_by_one = search(network, Budget(room, 4.0, prefetch=False), TINY)

    assert one_by_one.cycles > together.cycles


def test_no_weight_tile_fits() -> None:
    """The layer and its bytes are named."""
    net = Builder((4, 4, 512), 8)
    graph = net.graph(net.matvec(net.window(net.input), 512))
    with pytest.raises(UserError) as failure:
        search(cut(graph), Budget(Resources(40_000, 80_000, 360, 400), 12.8), replace(TINY, tile_depths=(64,)))

    assert str(failure.value) == "no weight tile or row of it fits the chip (1179648 bytes of weights) [onnx_window0]"


def test_nothing_fits_the_budget() -> None:
    with pytest.raises(UserError) as failure:
        search(cut(short(0)), Budget(Resources(1000, 1000, 0, 0), 12.8), TINY)

    assert str(failure.value) == (
        "no engine for this network fits the budget: it takes 9,765 lut (8,765 too many), 18,456 ff (17,456 too many), "
        "16 dsp (16 too many), 11 bram18 (11 too many); take a larger board or fewer bits"
    )


def test_maps_on_the_chip_move_no_bytes() -> None:
    network = cut(short(0))
    found = search(network, Budget(Resources(40_000, 80_000, 360, 400), 0.5), TINY)
    inside = Places(False, False, False)

    assert set(found.placement) == {p.result for p in network.passes[:-1]}
    assert found.schedules[1].beats(inside)["source"] == 0


@pytest.mark.parametrize("seed", [0, 1])
def test_the_program_finds_what_brute_force_finds_with_ultraram(seed: int) -> None:
    """Banks and weights in either memory; an engine that is short of block RAM is faster with UltraRAM."""
    network, few = cut(short(seed)), Resources(60_000, 120_000, 120, 18)
    ultra = Budget(replace(few, uram=8), 0.5)
    found = search(network, ultra, TINY)

    assert found.cycles == pytest.approx(brute_force(network, ultra, TINY), rel=1e-9)
    assert found.resources == engine_cost(found.shape) and found.resources.fits(ultra.resources)
    assert found.resources.uram > 0 and (found.shape.ultra_banks or found.shape.ultra_weights)
    assert found.cycles < search(network, Budget(few, 0.5), TINY).cycles
