"""Cycles on an engine that is there, and what no engine comes below, against the integer program."""

from __future__ import annotations

from dataclasses import replace
from math import inf

import numpy as np
import pytest

from tests.search.spaces import DIGITS, space
from toolchain.boards import load_board
from toolchain.engine.candidates import Budget
from toolchain.engine.floor import Floor
from toolchain.engine.layers import narrowed
from toolchain.engine.options import Choices
from toolchain.engine.search import search
from toolchain.search.fixed import FixedEngine
from toolchain.search.network import drawn, largest, network_at, smallest
from toolchain.search.passes import Task, cut_of

BUDGET = Budget(load_board("zu3eg").budget, 12.0)
FEW = Choices(lanes=(8, 16), in_blocks=(1, 2, 4), out_blocks=(1, 2, 4), tile_depths=(256, 1024), taps=(1, 3, 9))
SLOW = Budget(load_board("zu3eg").budget, 0.5)
"""Memory so slow that the places of the maps decide."""
FAST = Budget(load_board("zu3eg").budget, 24.0)
"""Memory that gives more than a beat a cycle, which the engine does not take."""


def _points(count: int) -> list[dict[str, object]]:
    rng = np.random.default_rng(1)
    return [largest(space()), smallest(space()), *(drawn(space(), rng) for _ in range(count - 2))]


@pytest.mark.parametrize("budget", [BUDGET, SLOW, FAST])
def test_on_the_programs_engine_the_maps_are_placed_as_well_as_by_the_program(budget: Budget) -> None:
    for point in _points(4):
        cut = cut_of(network_at(space(), point), DIGITS)
        engine = search(cut, budget, FEW)
        assert FixedEngine(engine.shape, budget.bytes_per_cycle).cycles(cut) == pytest.approx(engine.cycles, rel=1e-12)


def test_banks_too_small_for_a_map_cost_cycles_and_never_save_any() -> None:
    """Of two engines that differ in their banks alone, the one with less never takes fewer cycles."""
    cut = cut_of(network_at(space(), largest(space())), DIGITS)
    shape = search(cut, SLOW, FEW).shape
    cycles = [
        FixedEngine(replace(shape, bank_words=big, small_words=small), SLOW.bytes_per_cycle).cycles(cut)
        for big, small in ((1, 1), (64, 1), (64, 64), (4096, 64), (4096, 4096))
    ]
    assert cycles == sorted(cycles, reverse=True) and cycles[0] > cycles[-1]


def test_no_engine_of_the_program_comes_below_the_floor() -> None:
    for width in (2, 8):
        floor = Floor.of(narrowed(cut_of(network_at(space(), smallest(space())), DIGITS), width), BUDGET, FEW)
        for point in _points(4):
            cut = narrowed(cut_of(network_at(space(), point), DIGITS), width)
            cycles = search(cut, BUDGET, FEW).bound
            assert 0.3 * cycles < floor.cycles(cut) <= cycles


def test_wider_weights_on_a_narrow_engine_take_their_parts() -> None:
    point = smallest(space())
    narrow, wide = (
        cut_of(network_at(space(), point | {name: bits for name in point if name.startswith("bits.")}), DIGITS)
        for bits in (2, 8)
    )
    engine = FixedEngine(search(replace(narrow, within=wide.formats), BUDGET, FEW).shape, BUDGET.bytes_per_cycle)
    assert engine.refusal(wide) == ""
    assert engine.shape.weight_bits == 2 and engine.cycles(narrow) < engine.cycles(wide) < inf


def test_what_an_engine_does_not_run_takes_for_ever_and_says_why() -> None:
    cut = cut_of(network_at(space(), smallest(space())), DIGITS)
    shape = search(cut, BUDGET, FEW).shape
    engine = FixedEngine(shape, BUDGET.bytes_per_cycle)
    big = cut_of(network_at(space(), smallest(space())), Task(channels=1, size=(512, 512), classes=10, input_bits=8))
    assert engine.cycles(big) == inf
    assert engine.refusal(big).startswith("conv1: its rows take ")
