"""Bits of layers and lanes of units in one program: it equals all bits tried one after the other."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from itertools import product

import numpy as np
import pytest

from tests.graphs import Builder, random_input
from toolchain.dse import bits as bits_module
from toolchain.dse.bits import Chosen, Layered, coded, in_bits, nearest, with_bits
from toolchain.dse.expand import expand
from toolchain.dse.solve import Infeasible, Solution, solve
from toolchain.errors import UserError
from toolchain.ir.evaluate import evaluate
from toolchain.ir.graph import Graph
from toolchain.ir.ops.products import MatVec
from toolchain.ir.ops.requantizers import MulShift, Threshold
from toolchain.ir.types import Array
from toolchain.ir.verify import Level, verify
from toolchain.passes.pipeline import hardware_form
from toolchain.resources import Resources

WIDTHS = {"dense": (2, 4, 8), "conv": (2, 4, 8), "residual": (4, 8)}


def dense() -> Graph:
    b = Builder((1, 1, 24), 4)
    x = b.threshold(b.matvec(b.input, 16, 8), 3)
    x = b.mulshift(b.matvec(x, 12, 8), 4)
    return b.graph(b.matvec(x, 4, 8), "dense")


def conv() -> Graph:
    b = Builder((6, 6, 3), 8)
    x = b.mulshift(b.conv(b.input, 4, bits=8), 8)
    x = b.threshold(b.matvec(x, 8, 8), 2, per_channel=False)
    return b.graph(b.matvec(b.global_sum(x), 5, 8), "conv")


def residual() -> Graph:
    b = Builder((4, 4, 3), 8)
    x = b.threshold(b.conv(b.input, 4, bits=8), 4)
    main = b.mulshift(b.conv(x, 4, bits=8), 4, signed=True)
    x = b.threshold(b.add(main, x, (1, 2)), 4)
    return b.graph(b.matvec(b.global_sum(x), 5, 8), "residual")


GRAPHS = {"dense": dense(), "conv": conv(), "residual": residual()}


def table_of(name: str, seed: int = 0) -> dict[str, dict[int, float]]:
    """Losses of the layers that fall with the bits by about a quarter each."""
    rng = np.random.default_rng(seed)
    names = [node.name for node in hardware_form(GRAPHS[name]).nodes if isinstance(node, MatVec)]
    return {n: {b: 0.0 if b == 8 else float(rng.uniform(0.5, 1.5)) * 4.0**-b for b in WIDTHS[name]} for n in names}


@cache
def layered(name: str) -> tuple[Graph, Layered, Resources]:
    """The network, its choices, and what a design of 8 bits takes that is four times as slow as the fastest."""
    graph = hardware_form(GRAPHS[name])
    problem, roomy = expand(graph), Resources(10**6, 10**6, 10**4, 10**4)
    slow = solve(problem, roomy, target_cycles=4 * solve(problem, roomy).cycles)
    return graph, with_bits(graph, table_of(name), WIDTHS[name]), slow.resources


def vectors(name: str) -> Iterator[dict[str, int]]:
    """All bits of the layers."""
    table = table_of(name)
    for vector in product(WIDTHS[name], repeat=len(table)):
        yield dict(zip(table, vector, strict=True))


@cache
def every(name: str) -> list[tuple[float, int]]:
    """Loss and cycles of all bits, each by a program of its own; bits that do not fit left out."""
    graph, found, budget = layered(name)
    rows = []
    for bits in vectors(name):
        try:
            rows.append((found.loss(bits), solve(expand(in_bits(graph, bits)), budget).cycles))
        except Infeasible:
            continue
    return rows


@pytest.mark.parametrize("name", GRAPHS)
def test_no_bits_within_the_loss_are_faster_than_the_program_s(name: str) -> None:
    """Every vector of bits has its own program; the least of their cycles is the joint one's, at every limit."""
    graph, found, budget = layered(name)
    least, most = found.ends()
    reached = []
    for share in (0.0, 0.05, 0.4, 1.0):
        limit = least + share * (most - least)
        chosen = found.solve(budget, limit)
        fastest = min(cycles for loss, cycles in every(name) if loss <= limit)
        assert (chosen.solution.cycles, chosen.gap, chosen.solution.status) == (fastest, 0.0, "optimal")
        assert chosen.loss <= limit and chosen.loss == found.loss(chosen.bits)
        assert solve(expand(in_bits(graph, chosen.bits)), budget).cycles == fastest
        reached.append(fastest)
    assert reached == sorted(reached, reverse=True)
    assert name != "dense" or reached[-1] < reached[0], "else the limits compare equal numbers"


def test_the_bits_of_least_memory_are_those_of_every_vector() -> None:
    _, found, _ = layered("residual")
    limit = found.ends()[1] / 3

    def memory(bits: dict[str, int]) -> int:
        return sum(found.sizes[name] * width for name, width in bits.items())

    smallest = found.smallest(limit)
    assert memory(smallest) == min(memory(b) for b in vectors("residual") if found.loss(b) <= limit)
    assert found.loss(smallest) <= limit


def test_without_time_bits_and_lanes_come_in_turn_with_the_bound_of_both(monkeypatch: pytest.MonkeyPatch) -> None:
    _, found, budget = layered("conv")
    limit = found.ends()[1] / 10
    best, turn = found.solve(budget, limit), found.in_turn(budget, limit)
    own = found.limited(limit)

    def no_time(problem: object, *args: object, **settings: object) -> Solution:
        if problem == own:
            raise Infeasible("nothing in time", cycles=None, fitting=None, over=Resources())
        return solve(problem, *args, **settings)  # type: ignore[arg-type]

    monkeypatch.setattr(bits_module, "solve", no_time)
    late: Chosen = found.solve(budget, limit)
    assert (late.bits, late.solution.cycles) == (turn.bits, turn.solution.cycles)
    assert late.bound <= best.solution.cycles <= late.solution.cycles and late.loss <= limit


@pytest.mark.parametrize("name", GRAPHS)
@pytest.mark.parametrize("bits", [2, 4, 6, 8])
def test_a_graph_in_fewer_bits_has_its_formats(name: str, bits: int) -> None:
    """Of 8 bits it is the graph itself; of fewer it verifies and has narrower sums."""
    graph = GRAPHS[name]
    other = in_bits(graph, {node.name: bits for node in graph.nodes if isinstance(node, MatVec)})
    verify(other, Level.INTEGER)
    products = [n for n in other.nodes if isinstance(n, MatVec)]
    assert all(n.weight_type.bits == bits for n in products)
    if bits == 8:
        assert all(a is b for a, b in zip(graph.nodes, other.nodes, strict=True))
        return
    before = graph.values()
    assert all(n.output.qint.bits < before[n.output.name].qint.bits for n in products[:-1])
    assert products[-1].output.qint == before[graph.output].qint, "the host reads sums of the type that it knows"


def value_of(graph: Graph, name: str, x: Array) -> Array:
    return evaluate(replace(graph, outputs=(replace(graph.outputs[0], value=name),)), x)[name]


@pytest.mark.parametrize("name", GRAPHS)
@pytest.mark.parametrize("bits", [2, 4, 6])
def test_requantizers_take_up_the_steps_of_coarser_weights(name: str, bits: int) -> None:
    """Thresholds of the sums times their steps are exact; factors, which keep their length, but for their rounding."""
    graph = GRAPHS[name]
    followed = {node.inputs[0]: node for node in graph.nodes}
    for node in graph.nodes:
        after = followed.get(node.outputs[0].name)
        if not isinstance(node, MatVec) or not isinstance(after, Threshold | MulShift):
            continue
        other = in_bits(graph, {node.name: bits})
        x = random_input(graph, images=4)
        found = value_of(other, after.output.name, x)
        alike = len(after.thresholds if isinstance(after, Threshold) else after.mul) == 1
        codes = value_of(other, node.output.name, x)
        sums = codes * coded(node.weight, bits, alike=alike)[1][:, 0]
        if isinstance(after, Threshold):
            assert after.step.ndim == 1
            count = (sums[..., None] >= after.thresholds).sum(axis=-1)
            assert (found == after.start + after.step * count).all()
        else:
            exact = np.clip(np.rint((sums * after.mul + after.add) / 2.0**after.shift), after.low, after.high)
            rescaled = next(n for n in other.nodes if n.name == after.name)
            assert isinstance(rescaled, MulShift)
            assert np.abs(found - exact).max() <= 1 + np.abs(codes).max() / 2.0 ** (rescaled.shift + 1)
            assert int(rescaled.mul.max()).bit_length() <= int(after.mul.max()).bit_length()


def test_nearest_codes_times_steps_are_the_nearest_weights() -> None:
    rows = np.random.default_rng(0).integers(-127, 128, (5, 9))
    codes, step = coded(rows, 3)
    assert (codes * step == nearest(rows, 3)).all() and set(np.abs(codes).max(axis=1)) == {3}


def test_losses_out_of_reach_and_tables_with_holes_are_refused() -> None:
    graph, found, budget = layered("dense")
    table = {name: {**row, 8: 0.1} for name, row in found.table.items()}
    with pytest.raises(UserError, match="no bits lose as little as 0.01"):
        with_bits(graph, table, (2, 4, 8)).solve(budget, 0.01)
    first = next(iter(table))
    del table[first][4]
    with pytest.raises(UserError, match=f"no loss of 4 bits for it .*{first}"):
        with_bits(graph, table, (2, 4, 8))
