"""The channel selection: its optimum is brute force's, with any cost of the counts."""

from __future__ import annotations

from dataclasses import replace
from importlib.util import find_spec
from itertools import chain, combinations, pairwise, product
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from toolchain.config.pruning import QcqpConfig
from toolchain.config.run import QuantConfig, parse_config
from toolchain.errors import UserError
from toolchain.train.budgets import shrink
from toolchain.train.data import load
from toolchain.train.methods.base import Context
from toolchain.train.methods.layer_bits import LayerBits, layer_bits
from toolchain.train.methods.qcqp import Qcqp, channel_program, importance, unit_costs
from toolchain.train.models import build, layers_of
from toolchain.train.selection.counts import best_channels, most, solve_counts
from toolchain.train.selection.highs import solve_highs
from toolchain.train.selection.positions import choose_positions
from toolchain.train.selection.program import ChannelProgram, Kept, Limit, Weights
from toolchain.train.selection.solve import solve
from toolchain.train.shrink import Layer, structure_of
from toolchain.train.statistics import macs, named_weighted_layers, parameters
from toolchain.train.structure import Branch, apply_edits, from_json, to_json

KINDS: tuple[Literal["folded", "weights"], ...] = ("folded", "weights")
SIZES = {"input": 2, "a": 4, "b": 4, "c": 4, "out": 3}
SKIP = {"input": 2, "a": 5, "b": 6, "out": 3}


def _program(seed: int, share: float, *, skip: bool, each: bool = False) -> ChannelProgram:
    """A chain of three hidden groups, or two whose second layer is added onto its own input's group."""
    rng = np.random.default_rng(seed)
    sizes = SKIP if skip else SIZES
    path = ["input", "a", "b", "a", "out"] if skip else ["input", "a", "b", "c", "out"]
    layers = [
        Weights(f"{i}", reads, writes, rng.random((sizes[writes], sizes[reads])) ** 3)
        for i, (reads, writes) in enumerate(pairwise(path))
    ]
    costs = {layer.name: lambda n, m, k=i + 1: k * n * m + (n % 2) for i, layer in enumerate(layers)}
    free = [name for name in sizes if name not in ("input", "out")]
    whole = [costs[layer.name](sizes[layer.reads or ""], sizes[layer.writes]) for layer in layers]
    bound = int(share * (max(whole) if each else sum(whole)))
    return ChannelProgram(layers, sizes, free, [Limit("macs", costs, bound, each)])


def _brute_force(program: ChannelProgram) -> float:
    def subsets(size: int) -> list[list[int]]:
        most = range(min(program.least, size), size + 1)
        counts = [n for n in most if n == size or n % program.multiple == 0]
        return [list(s) for s in chain.from_iterable(combinations(range(size), n) for n in counts)]

    best = -1.0
    gone: dict[str, list[list[int]]] = {name: [[]] for name in program.optional}
    for choice in product(*(subsets(program.sizes[name]) + gone.get(name, []) for name in program.free)):
        kept: Kept = dict(zip(program.free, choice, strict=True))
        if program.fits({name: len(indices) for name, indices in kept.items()}):
            best = max(best, program.objective(kept))
    return best


@pytest.mark.parametrize(("seed", "share", "skip", "each"),
                         [(0, 0.5, False, False), (1, 0.3, True, False), (2, 0.4, True, True)])  # fmt: skip
@pytest.mark.parametrize("solver", ["highs", "cpsat"])
def test_the_optimum_is_brute_forces_and_the_budget_is_met(
    seed: int, share: float, skip: bool, each: bool, solver: Literal["highs", "cpsat"]
) -> None:
    if solver == "cpsat" and find_spec("ortools") is None:  # not imported here: it would bring a HiGHS of its own
        pytest.skip("OR-tools is not installed")
    program = _program(seed, share, skip=skip, each=each)
    choice = solve(program, 60.0, solver)
    assert choice.objective == pytest.approx(_brute_force(program), rel=1e-9)
    counts = {name: len(kept) for name, kept in choice.kept.items()}
    assert choice.gap < 1e-6 and program.fits(counts)
    for name in program.free:
        room = program.fits(counts | {name: counts[name] + 1})
        assert counts[name] == program.sizes[name] or not room, "the budget is used within one channel"


@pytest.mark.parametrize("seed", range(3))
def test_the_linear_program_alone_proves_brute_forces_optimum(seed: int) -> None:
    """Also of a group that one layer of fixed inputs writes and one of fixed outputs reads."""
    program = _program(seed, 0.4, skip=True)
    kept, bound = solve_highs(program, 0.0, 60.0)
    assert program.objective(kept) == pytest.approx(bound, rel=1e-6) == pytest.approx(_brute_force(program), rel=1e-6)


@pytest.mark.parametrize("solver", ["highs", "cpsat"])
def test_no_group_falls_below_its_floor_and_the_optimum_above_it_is_brute_forces(
    solver: Literal["highs", "cpsat"],
) -> None:
    if solver == "cpsat" and find_spec("ortools") is None:
        pytest.skip("OR-tools is not installed")
    free = _program(4, 0.45, skip=False)
    assert min(len(kept) for kept in solve(free, 60.0).kept.values()) == 1
    program = replace(free, least=2)
    choice = solve(program, 60.0, solver)
    assert min(len(kept) for kept in choice.kept.values()) == 2
    assert choice.objective == pytest.approx(_brute_force(program), rel=1e-9) and choice.gap < 1e-6


@pytest.mark.parametrize("solver", ["highs", "cpsat"])
def test_a_branch_beside_a_skip_goes_whole_where_that_is_brute_forces_optimum(
    solver: Literal["highs", "cpsat"],
) -> None:
    if solver == "cpsat" and find_spec("ortools") is None:
        pytest.skip("OR-tools is not installed")
    kept_whole = replace(_program(0, 0.2, skip=True), least=2)
    program = replace(kept_whole, optional=frozenset({"b"}))
    choice = solve(program, 60.0, solver)
    assert choice.kept["b"] == [] and program.fits({name: len(kept) for name, kept in choice.kept.items()})
    assert choice.objective == pytest.approx(_brute_force(program), rel=1e-9) and choice.gap < 1e-6
    with pytest.raises(UserError, match="cannot be met"):
        solve(kept_whole, 60.0, solver)


@pytest.mark.parametrize("shortcut", [False, True])
def test_without_its_branch_a_block_is_the_one_whose_branch_is_zero(shortcut: bool) -> None:
    config = parse_config(
        {"name": "t", "model": {"name": "resnet8", "width": 0.5}, "train": {"float": True}}, where="t"
    )
    model, block = build(config, (1, 8, 8), 10).eval(), "stage2_1" if shortcut else "stage1_1"
    with torch.no_grad():
        model.get_submodule(f"{block}.bn2").weight.zero_()
    x = torch.rand(4, 1, 8, 8)
    expected, before = model(x), structure_of(model, (1, 8, 8))
    (edit,) = from_json(to_json([Branch(block)]))
    edit.apply(model, layers_of(config))
    assert torch.equal(model(x), expected)
    gone = {layer.name for layer in before.layers} - {layer.name for layer in structure_of(model, (1, 8, 8)).layers}
    assert gone == {f"{block}.conv1", f"{block}.conv2"}


def test_a_network_gives_up_branches_for_a_budget_only_where_its_table_says_so() -> None:
    """The same network, budget and time; what is left is within the budget and rebuilt from its edits."""
    config = parse_config({"name": "t", "model": {"name": "resnet8", "width": 0.5}}, where="t")
    data = load("digits")
    left = {}
    for blocks in (False, True):
        torch.manual_seed(0)
        model = build(config, data.shape, 10)
        whole = macs(model.eval(), data.shape)
        table = QcqpConfig(macs=0.3, blocks=blocks, seconds=1.0)
        edits = Qcqp(table).restructure(model, Context(config, data, None, layers_of(config), Path()))
        again = build(config, data.shape, 10)
        apply_edits(again, edits, layers_of(config))
        again.load_state_dict(model.state_dict())
        assert macs(again.eval(), data.shape) <= 0.3 * whole
        left[blocks] = [edit.layer for edit in edits if isinstance(edit, Branch)]
    assert left[False] == [] and left[True]


@pytest.mark.parametrize("solver", ["highs", "cpsat"])
def test_groups_keep_a_multiple_or_all_and_the_optimum_of_these_is_brute_forces(
    solver: Literal["highs", "cpsat"],
) -> None:
    if solver == "cpsat" and find_spec("ortools") is None:
        pytest.skip("OR-tools is not installed")
    free = _program(3, 0.5, skip=True)
    assert any(len(kept) % 2 for name, kept in solve(free, 60.0).kept.items() if len(kept) < free.sizes[name])
    program = replace(free, multiple=2)
    choice = solve(program, 60.0, solver)
    for kept in (choice.kept, program.greedy()):
        assert all(len(kept[name]) % 2 == 0 or len(kept[name]) == program.sizes[name] for name in program.free)
        assert program.fits({name: len(indices) for name, indices in kept.items()})
    assert choice.objective == pytest.approx(_brute_force(program), rel=1e-9) and choice.gap < 1e-6


@pytest.mark.parametrize(("seed", "skip", "each"), [(0, False, False), (1, True, False), (2, True, True)])
def test_the_program_over_counts_bounds_every_selection_and_its_counts_meet_the_limits(
    seed: int, skip: bool, each: bool
) -> None:
    program = _program(seed, 0.4, skip=skip, each=each)
    counts, bound = solve_counts(program, 30.0)
    assert counts is not None and program.fits(counts) and bound >= _brute_force(program) - 1e-9
    start = program.greedy()
    picked = best_channels(program, counts, start)
    assert {name: len(kept) for name, kept in picked.items()} == counts
    assert program.objective(picked) <= bound + 1e-9


def test_what_counts_can_hold_is_the_largest_sum_of_any_choice_or_more_and_exact_for_whole_layers() -> None:
    importance = np.random.default_rng(0).random((4, 3))
    table = most(Weights("a", "x", "y", importance))
    for m, n in product(range(1, 4), range(1, 5)):
        sums = [importance[np.ix_(j, i)].sum() for j in combinations(range(4), n) for i in combinations(range(3), m)]
        assert table[m, n] >= max(sums) - 1e-12
        if m == 3 or n == 4:
            assert table[m, n] == pytest.approx(max(sums))


@pytest.mark.parametrize("seed", range(4))
def test_greedy_meets_the_budget_leaves_no_room_for_a_channel_and_is_never_better(seed: int) -> None:
    program = _program(seed, 0.4, skip=bool(seed % 2))
    kept = program.greedy()
    counts = {name: len(indices) for name, indices in kept.items()}
    assert program.fits(counts)
    for name in program.free:
        assert counts[name] == program.sizes[name] or not program.fits(counts | {name: counts[name] + 1})
    assert program.objective(kept) <= solve(program, 20.0).objective + 1e-9


def test_a_budget_that_cannot_be_met_names_the_layer_that_holds_it() -> None:
    with pytest.raises(UserError) as caught:
        solve(_program(0, 0.01, skip=False), 1.0)
    assert str(caught.value) == (
        "a budget of 1 macs cannot be met: one channel a layer still takes 22, most of it in '3' (13); raise the budget"
    )


@pytest.mark.parametrize(
    ("budget", "spent"),
    [
        ({"macs": 0.3}, "macs"),
        ({"params": 0.4}, "params"),
        ({"memory": 0.4}, "memory"),
        ({"cycles": 1500, "lanes": {"conv2": [2, 2]}}, "cycles"),
        ({"lut": 495}, "lut"),
        ({"dsp": 16, "turns": {"conv2": [9, 1]}, "products_per_dsp": {"conv2": 1}}, "dsp"),
    ],
)
def test_a_network_is_selected_within_any_budget(budget: dict[str, Any], spent: str) -> None:
    """The kept counts meet the budget, and every kept channel has weights in and out: no inactive weight."""
    network = build(parse_config({"name": "t", "model": {"name": "cnn", "width": 0.4}}, where="test"), (1, 8, 8), 10)
    structure = structure_of(network, (1, 8, 8))
    program = channel_program(network, structure, QcqpConfig(seconds=20.0, least=1, **budget), _bits(network))
    kept = solve(program, 20.0).kept
    counts = {name: len(indices) for name, indices in kept.items()}
    assert program.fits(counts) and sum(counts.values()) < 6 + 13 and all(counts.values())
    if spent == "cycles":
        assert counts["conv2"] % 2 == 0 or counts["conv2"] == 13, "a lane that is paid for is used"
    if spent == "macs":
        shrink(network, structure, kept)
        assert macs(network.eval(), (1, 8, 8)) <= 0.3 * structure.macs(structure.counts)


def test_cycles_of_full_lanes_are_the_exact_product() -> None:
    layer = Layer("conv", "a", "b", area=9, positions=16, bias=False)
    cost = unit_costs(layer, "cycles", QcqpConfig(cycles=1, lanes={"conv": (4, 2)}), LayerBits(4, 4, 4))
    assert cost(8, 6) == 16 * 9 * (8 // 4) * (6 // 2) and cost(7, 5) == cost(8, 6)


def test_with_fixed_turns_the_cycles_stay_and_the_slices_are_the_product_of_the_channels() -> None:
    layer = Layer("conv", "a", "b", area=9, positions=16, bias=False)
    config = QcqpConfig(cycles=1, turns={"conv": (9, 2)}, products_per_dsp={"conv": 1})
    slices, steps = (unit_costs(layer, kind, config, LayerBits(4, 4, 4)) for kind in ("dsp", "cycles"))
    assert [slices(n, m) for n, m in ((8, 6), (4, 6), (8, 4))] == [8 * 3, 4 * 3, 8 * 2]
    assert steps(8, 6) == steps(4, 2) == 16 * 9 * 2


def test_block_rams_of_the_weights_fall_with_the_channels() -> None:
    layer = Layer("conv", "a", "b", area=9, positions=16, bias=False)
    cost = unit_costs(layer, "bram18", QcqpConfig(bram18=1), LayerBits(4, 4, 4))
    assert 0 < cost(128, 128) < cost(256, 128) < cost(256, 256)


def test_the_positions_kept_are_brute_forces_and_every_filter_keeps_one() -> None:
    """Two layers of two filters, four positions each, of different cost."""
    rng = np.random.default_rng(0)
    values, costs = {name: rng.random((2, 4)) for name in "ab"}, {"a": 2, "b": 5}

    def total(masks: dict[str, NDArray[np.bool_]]) -> float:
        return sum(float(values[name][mask].sum()) for name, mask in masks.items())

    def masks(filters: int) -> list[NDArray[np.bool_]]:
        rows = [row for row in product([False, True], repeat=4) if any(row)]
        return [np.array(choice) for choice in product(rows, repeat=filters)]

    best_b = [(5 * int(b.sum()), float(values["b"][b].sum())) for b in masks(2)]
    best = max(
        float(values["a"][a].sum()) + max((gain for cost, gain in best_b if 2 * int(a.sum()) + cost <= 30), default=-99)
        for a in masks(2)
    )
    kept = choose_positions(values, costs, 30, 10.0)
    assert total(kept) == pytest.approx(best, rel=1e-6) and all(mask.any(1).all() for mask in kept.values())
    assert total(choose_positions(values, costs, 30, 0.0)) <= best + 1e-6


def test_positions_meet_the_budget_of_weights_and_share_it_with_the_channels() -> None:
    """The channels alone are more than the budget, and each position is zero for all inputs of its filter."""
    config = parse_config({"name": "t", "model": {"name": "cnn"}}, where="test")
    network, data = build(config, (1, 8, 8), 10), load("digits")
    table = {"params": 0.4, "granularity": "position", "gamma": 0.8, "seconds": 2.0}
    whole = parameters(network)
    Qcqp(QcqpConfig(**table)).restructure(network, Context(config, data, None, layers_of(config), Path()))
    conv = network.get_submodule("conv2")
    alive = sum(int((layer.weight != 0).sum()) for layer in named_weighted_layers(network).values()) + 10
    assert alive <= 0.4 * whole < parameters(network) <= 0.5 * whole
    used = (conv.weight != 0).any(1)
    assert used.flatten(1).any(1).all() and not used.all()
    assert torch.equal(conv.weight != 0, used[:, None].expand_as(conv.weight))
    with pytest.raises(ValueError, match="takes params alone"):
        QcqpConfig(macs=0.5, granularity="position")


@pytest.mark.parametrize("quantized", [True, False])
def test_every_layer_counts_with_its_own_bits(quantized: bool) -> None:
    """Of the run file, whether the network has quantizers yet or not; the first layer reads the pixels' five."""
    table = {
        "name": "t",
        "model": {"name": "cnn"},
        "train": {"float": not quantized},
        "quant": {"first_weight_bits": 8, "layers": {"conv2": {"weight_bits": 2}, "act1": {"act_bits": 3}}},
    }
    config = parse_config(table, where="test")
    network = build(config, (1, 8, 8), 10)
    bits = layer_bits(network, config.quant, 5)
    assert bits == {"conv1": LayerBits(8, 5, 3), "conv2": LayerBits(2, 3, 4), "fc": LayerBits(4, 4, 4)}
    structure = structure_of(network, (1, 8, 8))
    program = channel_program(network, structure, QcqpConfig(memory=0.5), bits)
    memory = [8 * 9 * 16 + 3 * 64 * 16, 2 * 9 * 16 * 32 + 4 * 16 * 32, 4 * 128 * 10 + 4 * 10]
    costs = program.limits[0].costs
    assert [costs["conv1"](1, 16), costs["conv2"](16, 32), costs["fc"](32, 10)] == memory


def test_an_operand_of_a_sum_has_the_bits_of_its_quantizer() -> None:
    config = parse_config({"name": "t", "model": {"name": "resnet8"}, "quant": {"residual_bits": 7}}, where="test")
    bits = layer_bits(build(config, (3, 32, 32), 10), config.quant, 8)
    assert bits["stage2_1.conv1"] == LayerBits(4, 4, 4)
    assert bits["stage2_1.conv2"] == bits["stage2_1.shortcut.conv"] == LayerBits(4, 4, 7)


def test_lanes_of_an_unknown_layer_are_refused() -> None:
    network = build(parse_config({"name": "t"}, where="test"), (1, 8, 8), 10)
    with pytest.raises(UserError, match="unknown layer in lanes 'conv3'; did you mean 'conv2'"):
        config = QcqpConfig(cycles=10, lanes={"conv3": (1, 1)})
        channel_program(network, structure_of(network, (1, 8, 8)), config, _bits(network))


def _bits(model: nn.Module) -> dict[str, LayerBits]:
    return layer_bits(model, QuantConfig(), 4)


def _trained_lenet() -> nn.Module:
    """LeNet-5 whose batch norms have seen images."""
    torch.manual_seed(0)
    model = build(parse_config({"name": "t", "model": {"name": "lenet5"}}, where="test"), (1, 28, 28), 10).train()
    model(torch.rand(16, 1, 28, 28))
    return model.eval()


def test_the_objective_counts_convolutions_and_only_their_channels_go() -> None:
    """Fully connected layers take of the budget, so that few channels of convolutions can be all that is left over."""
    model = _trained_lenet()
    bits = _bits(model)
    structure = structure_of(model, (1, 28, 28))
    program = channel_program(model, structure, QcqpConfig(macs=0.5), bits)
    importances = {layer.name: layer.importance.sum() for layer in program.layers}
    assert set(program.free) == {"conv1", "conv2"}
    assert {name for name, total in importances.items() if total} == {"conv1", "conv2"}
    whole = channel_program(model, structure, QcqpConfig(macs=0.5, scope="all"), bits)
    assert len(whole.free) == 4 and all(layer.importance.sum() > 0 for layer in whole.layers)
    with pytest.raises(UserError, match='or set qcqp.scope = "all"'):
        channel_program(model, structure, QcqpConfig(macs=0.05, least=1), bits).check()


def test_folded_importance_does_not_depend_on_the_arbitrary_scale_of_a_filter_in_front_of_a_batch_norm() -> None:
    """A filter four times as large, whose batch norm has seen it so, is the same network."""
    model = _trained_lenet()
    structure = structure_of(model, (1, 28, 28))
    layer = next(x for x in structure.layers if x.name == "conv2")
    before = {kind: importance(model, structure, layer, QcqpConfig(macs=0.5, importance=kind)) for kind in KINDS}
    with torch.no_grad():
        norm = model.get_submodule("bn2")
        norm.eps = 0.0  # type: ignore[assignment]
        before["folded"] = importance(model, structure, layer, QcqpConfig(macs=0.5))
        model.get_submodule("conv2").weight[3].mul_(4)  # type: ignore[index,union-attr]
        norm.running_var[3].mul_(16)  # type: ignore[index,operator]
    after = {kind: importance(model, structure, layer, QcqpConfig(macs=0.5, importance=kind)) for kind in KINDS}
    assert np.allclose(after["folded"], before["folded"], rtol=1e-5)
    assert not np.allclose(after["weights"], before["weights"], rtol=0.1)


@pytest.mark.parametrize("share", [0.4, 0.6])
def test_the_optimum_is_worth_more_than_the_greedy_selection_by_the_same_importance(share: float) -> None:
    model = _trained_lenet()
    program = channel_program(model, structure_of(model, (1, 28, 28)), QcqpConfig(macs=share), _bits(model))
    best, greedy = (solve(program, 60.0, solver) for solver in ("highs", "greedy"))
    assert best.objective >= greedy.objective and best.gap < 1e-3 and greedy.kept == program.greedy()
