"""Padded channels compute the same, are refused where they would not, and are chosen where lanes gain by them."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest

from tests.graphs import Builder, conv_net, grouped_net, residual_net, unet
from tests.passes.test_recode_signs import binary_net
from tests.passes.test_to_hardware import random_plan
from toolchain.boards import load_board
from toolchain.dse.expand import expand
from toolchain.dse.explore import explore
from toolchain.errors import UserError
from toolchain.hls_templates.generate import generate
from toolchain.ir.encode import answers, encode, predictions, random_inputs
from toolchain.ir.evaluate import evaluate
from toolchain.ir.graph import Graph
from toolchain.ir.types import Decoding
from toolchain.ir.verify import Level, verify
from toolchain.passes.pad_channels import channel_groups, pad_channels
from toolchain.passes.pipeline import hardware_form, to_hardware
from toolchain.simulate.compare import compare
from toolchain.simulate.csim import build
from toolchain.simulate.cycles import steady_interval
from toolchain.simulate.drive import drive_units
from toolchain.units.lanes import divisors, padded_count
from toolchain.units.totals import graph_cycles

BOARD = load_board("zu3eg")


def decoded(graph: Graph) -> Graph:
    """``graph`` whose outputs are worth something each, so that the host finds the class."""
    count = graph.value(graph.output).shape[2]
    scale = tuple(Fraction(1, c + 1) for c in range(count))
    output = replace(graph.answer, decoding=Decoding(scale, (Fraction(1, 3),)))
    return replace(graph, outputs=(output,))


def dense(features: int, hidden: int = 33, classes: int = 7) -> Graph:
    """Two dense layers on features."""
    b = Builder((1, 1, features), 4, signed=True)
    x = b.threshold(b.matvec(b.input, hidden), 2)
    return decoded(b.graph(b.matvec(x, classes), f"dense{features}"))


def joined() -> Graph:
    """Concatenations of 5, 7 and 5 channels with a window, a filter, a pool and a flatten behind them."""
    b = Builder((6, 6, 7), 4, signed=True)
    left = b.threshold(b.matvec(b.input, 5), 3)
    right = b.mulshift(b.conv(b.input, 7), 3)
    x = b.concat(left, b.input, right)
    x = b.mulshift(b.depthwise(b.window(x), 9), 4)
    x = b.pool(b.window(x, (2, 2), stride=(2, 2), pads=(0, 0, 0, 0)), 4)
    x = b.concat(x, b.threshold(b.matvec(x, 5), 3))
    return decoded(b.graph(b.matvec(b.reshape(x), 11), "joined"))


AWKWARD = [
    dense(13),
    joined(),
    decoded(conv_net(size=6, channels=7)),
    decoded(residual_net(size=6, channels=5)),
    decoded(unet(size=4, channels=9)),
    decoded(grouped_net(groups=2, width=5, size=6)),
    decoded(binary_net()),
]


@pytest.mark.parametrize("graph", AWKWARD, ids=lambda g: g.name)
@pytest.mark.parametrize("seed", range(3))
def test_a_padded_graph_answers_the_same_codes_and_keeps_the_rules(graph: Graph, seed: int) -> None:
    plan = random_plan(graph, seed, padded=True)
    hardware = to_hardware(graph, plan)
    images = random_inputs(graph.encoding, (3, *graph.input.shape), seed)
    found, right = (evaluate(g, encode(g, images))[g.output] for g in (hardware, graph))

    verify(hardware, Level.HARDWARE)
    np.testing.assert_array_equal(answers(hardware.answer, found), right)
    np.testing.assert_array_equal(predictions(hardware.answer, found), predictions(graph.answer, right))
    assert to_hardware(hardware, plan) is hardware


@pytest.mark.parametrize("graph", AWKWARD, ids=lambda g: g.name)
def test_what_padded_channels_carry_changes_no_answer_and_no_type(graph: Graph) -> None:
    """With every group padded that can be, also other numbers than zeros in the input's added channels."""
    groups = channel_groups(graph)
    counts = {name: count + 3 for name, count in groups.counts.items() if name not in groups.fixed}
    padded = verify(pad_channels(graph, counts), Level.INTEGER)
    codes = encode(padded, random_inputs(graph.encoding, (2, *graph.input.shape)))
    noisy = codes.copy()
    noisy[..., noisy.shape[3] - padded.padded_input :] = graph.input.qint.max

    expected = evaluate(graph, encode(graph, random_inputs(graph.encoding, (2, *graph.input.shape))))[graph.output]
    for x in (codes, noisy):
        np.testing.assert_array_equal(answers(padded.answer, evaluate(padded, x)[padded.output]), expected)
    kinds = {name: value.qint for name, value in graph.values().items()}
    assert {name: value.qint for name, value in padded.values().items()} == kinds


@pytest.mark.needs_gxx
def test_the_padded_accelerator_equals_the_network_in_the_cycles_of_its_model() -> None:
    """Every unit alone, whole frames, and the host's own code; the cycle simulator keeps the model's pace."""
    b = Builder((5, 4, 7), 4, signed=True)
    x = b.threshold(b.conv(b.input, 5, bits=2), 2)
    graph = decoded(b.graph(b.matvec(b.reshape(x), 11), "maps"))
    hardware = to_hardware(graph, random_plan(graph, 3, padded=True))
    assert hardware.padded_input and hardware.answer.padded
    csim = build(hardware, generate(hardware, BOARD, 250.0))
    images = random_inputs(graph.encoding, (5, *graph.input.shape))

    codes = encode(hardware, images)
    np.testing.assert_array_equal(csim.encode(images), codes)
    assert drive_units(csim).mismatches == 0
    assert compare(csim, codes).mismatches == 0
    right = evaluate(graph, encode(graph, images))[graph.output]
    np.testing.assert_array_equal(answers(hardware.answer, csim.run(codes)), right)
    assert steady_interval(hardware) == graph_cycles(hardware)


def test_an_awkward_count_is_as_fast_as_the_next_multiple_of_eight() -> None:
    """A prime number of features, and hidden channels and classes that are primes too."""
    plans = [explore(dense(*sizes), BOARD) for sizes in ((113, 61, 7), (120, 64, 8))]
    cycles = [plan.solver.cycles for plan in plans if plan.solver]

    assert [plan.solver.status for plan in plans if plan.solver] == ["optimal", "optimal"]
    assert cycles[0] <= cycles[1]
    assert plans[0].padded["x"] == 120 and plans[1].padded == {}
    assert graph_cycles(to_hardware(dense(113, 61, 7), plans[0])) == cycles[0]


def test_only_counts_that_few_lanes_divide_have_padded_options() -> None:
    options = [o for d in expand(hardware_form(decoded(residual_net(channels=8)))).decisions for o in d.options]
    assert all(not option.padded for option in options)
    assert [padded_count(n) for n in (1, 3, 8, 10, 12, 20, 32, 57, 108, 118)] == [1, 3, 8, 10, 12, 24, 32, 60, 112, 120]


@pytest.mark.parametrize("count", range(1, 131))
def test_padding_costs_at_most_a_quarter_more_turns_than_the_next_multiple_of_eight(count: int) -> None:
    full = -(-count // 8) * 8
    padded = padded_count(count)
    assert count <= padded <= full
    for lanes in range(1, full + 1):
        turns = [n // max(d for d in divisors(n) if d <= lanes) for n in (padded, full)]
        assert 4 * turns[0] <= 5 * turns[1]


@pytest.mark.parametrize(
    ("padded", "message"),
    [
        ({"y": 8}, "padded value 'y'"),
        ({"x": 12}, "'x' has 13 channels, more than 12 [plan.json]"),
        ({"slice2_out": 8}, "the channels of 'slice2_out' cannot be padded [plan.json]; leave it out"),
        ({"matvec0_out": 8}, "the channels of 'matvec0_out' cannot be padded"),
    ],
)
def test_padding_that_would_change_the_network_is_refused(padded: dict[str, int], message: str) -> None:
    b = Builder((1, 1, 13), 4)
    x = b.threshold(b.matvec(b.input, 6), 2)
    graph = b.graph(b.argmax(b.matvec(b.slice(x, 0, 3), 5)))

    with pytest.raises(UserError) as error:
        pad_channels(graph, padded, where="plan.json")
    assert message in str(error.value)


def test_codes_without_a_zero_are_not_padded() -> None:
    graph = dense(13)
    given = replace(graph.encoding.input, low=1, high=7)
    assert "x" in channel_groups(replace(graph, encoding=replace(graph.encoding, input=given))).fixed
