"""Bits a layer on the engine: what they cost and what they lose."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import pairwise, product
from pathlib import Path

import pytest

from tests.engine.networks import residual_blocks
from tests.engine.test_search import TINY
from tests.graphs import Builder
from toolchain.engine.candidates import Budget
from toolchain.engine.cut import cut
from toolchain.engine.layers import Cut, narrowed
from toolchain.engine.precision import _Program, _rounded, engine_widths, parts_for, search_bits, weight_noise
from toolchain.engine.search import search
from toolchain.errors import UserError
from toolchain.flow.sensitivity import read_sensitivity
from toolchain.resources import Resources

BUDGET = Budget(Resources(40_000, 80_000, 360, 400), 4.0)
CHOICES = replace(TINY, lanes=(8,), tile_depths=(512,))
WIDTHS = (4, 6, 8)


def mixed_network() -> Cut:
    """Three convolutions of 8-bit weights."""
    net = Builder((8, 8, 8), 8)
    x = net.mulshift(net.matvec(net.input, 16, 8), 8)
    x = net.mulshift(net.matvec(net.window(x), 16, 8), 8)
    return cut(net.graph(net.matvec(x, 8, 8)))


def test_wider_weights_take_parts_and_as_many_times_the_cycles() -> None:
    assert [parts_for(bits, 4) for bits in (3, 4, 6, 8)] == [1, 1, 2, 3]
    assert parts_for(8, 5) == parts_for(8, 6) == 2
    network = mixed_network()
    engine = search(_rounded(network, 4), BUDGET, CHOICES)
    options = _Program(network, engine, BUDGET, weight_noise(network, WIDTHS), WIDTHS).options[1]

    assert [options[bits].fold for bits in WIDTHS] == [n * options[4].fold for n in (1, 2, 3)]


@pytest.mark.parametrize("rate", [4.0, 0.25], ids=["fast memory", "slow memory"])
def test_the_fastest_bits_within_a_loss_are_those_of_trying_all(rate: float) -> None:
    """Also where memory is so slow that what a pass loads for the next one decides."""
    network, budget = mixed_network(), replace(BUDGET, bytes_per_cycle=rate)
    losses = weight_noise(network, WIDTHS)
    program = _Program(network, search(_rounded(network, 4), budget, CHOICES), budget, losses, WIDTHS)
    tried = [program.mixed(each) for each in product(WIDTHS, repeat=len(network.passes))]
    for limit in program.limits():
        found = program.solve(limit)
        assert found is not None and found.loss <= limit * (1 + 1e-9)
        assert found.cycles == pytest.approx(min(m.cycles for m in tried if m.loss <= limit))


def test_a_front_trades_frame_time_for_loss() -> None:
    network = mixed_network()
    front = search_bits(network, BUDGET, weight_noise(network, WIDTHS), WIDTHS, choices=CHOICES)

    assert len(front) > 1
    assert all(a.cycles <= b.cycles and a.loss > b.loss for a, b in pairwise(front))
    assert front[-1].loss < 1e-4 and set(front[-1].bits.values()) == {8}
    (within,) = search_bits(network, BUDGET, weight_noise(network, WIDTHS), WIDTHS, choices=CHOICES, loss=front[0].loss)
    assert within.cycles == front[0].cycles


def test_fewer_bits_lose_more_and_the_bits_at_hand_next_to_nothing() -> None:
    """The least number of eight bits is out of reach of symmetric weights."""
    for losses in weight_noise(mixed_network(), (2, 3, 4, 6, 8)).values():
        assert losses[2] > losses[3] > losses[4] > losses[6] > 1e-4 > losses[8]


def test_an_engine_narrower_than_some_layers_is_tried() -> None:
    net = Builder((8, 8, 8), 8)
    x = net.mulshift(net.matvec(net.input, 16, 8), 8)
    network = cut(net.graph(net.matvec(net.mulshift(net.matvec(x, 16), 8), 16)))

    assert engine_widths(network) == [8, 4]
    assert [p.conv.parts for p in narrowed(network, 4).passes if p.conv is not None] == [3, 1, 1]
    assert engine_widths(cut(residual_blocks())) == [4]


def test_what_is_no_table_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "table.json"
    for loss in (-1.0, float("nan"), float("inf")):
        path.write_text(json.dumps({"a": {"4": loss}}))
        with pytest.raises(
            UserError, match=f"^a sensitivity table whose loss of 'a' in 4 bits is {loss} .*; losses are "
        ):
            read_sensitivity(path)
    path.write_text("[1]")
    with pytest.raises(UserError, match="no sensitivity table"):
        read_sensitivity(path)
    path.write_text(json.dumps({"onnx_matvec0": {"4": 0.5}}))
    with pytest.raises(UserError, match="^the sensitivity table has no loss of 6, 8 bits for it"):
        search_bits(mixed_network(), BUDGET, read_sensitivity(path), WIDTHS)
