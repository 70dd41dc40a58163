"""Bits and engine in one program: against all bits on all engines, and never behind one after the other."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import pytest

from tests.engine.brute_force import brute_force
from tests.engine.test_precision import BUDGET, CHOICES, WIDTHS, mixed_network
from toolchain.engine.candidates import Budget
from toolchain.engine.joint import search_front, search_jointly
from toolchain.engine.layers import Cut
from toolchain.engine.options import Choices
from toolchain.engine.precision import held, parts_for, search_bits, weight_noise
from toolchain.engine.search import search
from toolchain.errors import UserError
from toolchain.resources import Resources


def with_bits(cut: Cut, bits: tuple[int, ...], width: int) -> Cut:
    """The network for an engine of ``width`` bits with each layer's weights in the parts that its bits take."""
    network, left = held(cut, width, max(WIDTHS)), iter(bits)
    passes = tuple(
        p if p.conv is None else replace(p, conv=replace(p.conv, parts=parts_for(next(left), width)))
        for p in network.passes
    )
    return replace(network, passes=passes)


def fewest_of_all(cut: Cut, budget: Budget, choices: Choices, limit: float) -> float:
    """The oracle: every bits of every layer, every width of the engine, every unit and placement."""
    losses, names = weight_noise(cut, WIDTHS), [p.name for p in cut.passes if p.conv is not None]
    found = []
    for bits in product(WIDTHS, repeat=len(names)):
        if sum(losses[name][b] for name, b in zip(names, bits, strict=True)) <= limit:
            found += [brute_force(with_bits(cut, bits, width), budget, choices) for width in WIDTHS]
    return min(found)


UNEQUAL = Budget(Resources(11_000, 22_000, 120, 60), 0.25)
SMALL = replace(CHOICES, in_blocks=(1, 2), out_blocks=(1, 2), taps=(1,), bank_kib=(0, 1), tile_depths=(64, 256),
                channel_words=(32,), bursts_in_luts=(False,))  # fmt: skip


@pytest.mark.parametrize(("luts", "rate"), [(40_000, 4.0), (11_000, 0.25)], ids=["plenty", "few LUTs, slow memory"])
@pytest.mark.parametrize("share", [0.001, 0.05, 0.5])
def test_bits_and_engine_together_are_the_best_of_trying_all(luts: int, rate: float, share: float) -> None:
    cut, budget = mixed_network(), Budget(Resources(luts, 2 * luts, 120, 60), rate)
    losses = weight_noise(cut, WIDTHS)
    limit = share * sum(losses[name][4] for name in losses)
    found = search_jointly(cut, budget, losses, WIDTHS, limit, choices=SMALL)
    best = fewest_of_all(cut, budget, SMALL, limit)
    assert found.cycles == pytest.approx(best, rel=1e-9)
    assert found.gap < 1e-6 and found.loss <= limit * (1 + 1e-9)


def test_no_point_of_the_front_is_slower_than_bits_on_an_engine_that_was_there() -> None:
    cut, losses = mixed_network(), weight_noise(mixed_network(), WIDTHS)
    before = search_bits(cut, UNEQUAL, losses, WIDTHS, choices=SMALL)
    front = search_front(cut, UNEQUAL, losses, WIDTHS, choices=SMALL)
    for point in before:
        assert any(m.cycles <= point.cycles and m.loss <= point.loss for m in front)
    assert all(m.gap < 1e-6 for m in front)


def test_what_is_found_runs_with_its_bits_at_the_cycles_that_were_promised() -> None:
    """The engine of a search with the bits fixed is as fast, and the schedules are those of the parts."""
    cut, losses = mixed_network(), weight_noise(mixed_network(), WIDTHS)
    found = search_jointly(cut, BUDGET, losses, WIDTHS, 0.02, choices=SMALL)
    width = found.engine.shape.weight_bits
    fixed = search(with_bits(cut, tuple(found.bits.values()), width), BUDGET, SMALL)
    assert found.cycles == sum(t.cycles for t in found.engine.timings) == pytest.approx(fixed.cycles)
    parts = [s.p.conv.parts for s in found.engine.schedules if s.p.conv is not None]
    assert parts == [parts_for(bits, width) for bits in found.bits.values()]


@pytest.mark.parametrize("limit", [0.001, 0.005, 0.02])
def test_together_they_better_the_bits_on_the_fastest_engine_of_one_width_or_prove_them(limit: float) -> None:
    """On this network they prove them, since those count what a pass loads for the next one as it is."""
    cut, losses = mixed_network(), weight_noise(mixed_network(), WIDTHS)
    (known,) = search_bits(cut, UNEQUAL, losses, WIDTHS, choices=SMALL, loss=limit)
    found = search_jointly(cut, UNEQUAL, losses, WIDTHS, limit, known, choices=SMALL)
    assert found.cycles <= known.cycles and found.loss <= limit and found.gap < 1e-6


def test_without_time_the_bits_that_were_known_stay_with_their_gap() -> None:
    cut, losses = mixed_network(), weight_noise(mixed_network(), WIDTHS)
    (known,) = search_bits(cut, UNEQUAL, losses, WIDTHS, choices=SMALL, loss=0.005)
    found = search_jointly(cut, UNEQUAL, losses, WIDTHS, 0.005, known, choices=SMALL, time_limit=0.0)
    best = search_jointly(cut, UNEQUAL, losses, WIDTHS, 0.005, choices=SMALL)
    assert found.bits == known.bits and found.cycles == known.cycles
    assert 0 < found.bound <= best.cycles <= known.cycles and found.gap > 0


def test_a_loss_that_no_bits_keep_below_is_told() -> None:
    cut, losses = mixed_network(), weight_noise(mixed_network(), WIDTHS)
    with pytest.raises(UserError, match=r"^no bits lose as little as 1e-09; allow more loss, or give more bits"):
        search_front(cut, BUDGET, losses, WIDTHS, choices=SMALL, loss=1e-9)
