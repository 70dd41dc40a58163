"""The engine's C++ computes what the evaluator does, in the cycles and bytes that the model says."""

from __future__ import annotations

from dataclasses import asdict, replace

import numpy as np
import pytest

from tests.engine.networks import (
    conv,
    curved_maps,
    few_columns,
    gated_maps,
    inverted_residuals,
    joined_maps,
    leaky_maps,
    odd_kernels,
    one_column,
    reduced_joins,
    residual_blocks,
    selected_maps,
    twice_read,
    two_heads,
    unlike_joins,
    wide_pads,
    zero_points,
)
from tests.graphs import Builder
from toolchain.engine import csim, layout
from toolchain.engine.csim import EngineSim
from toolchain.engine.cut import cut
from toolchain.engine.drive import drive_passes
from toolchain.engine.layers import Cut, most_of, narrowed, parts_of
from toolchain.engine.maps import lifetimes
from toolchain.engine.schedule import row_words
from toolchain.engine.shape import Shape
from toolchain.engine.tables import Program, _pairs, program
from toolchain.errors import VerificationError
from toolchain.ir.evaluate import evaluate
from toolchain.ir.graph import Graph
from toolchain.ir.ops.requantizers import MulShift

pytestmark = pytest.mark.needs_gxx

GRAPHS = (
    inverted_residuals(),
    inverted_residuals(seed=1, size=17, kernel=5),
    residual_blocks(),
    residual_blocks(seed=1, size=21),
)


def engine_for(cuts: list[Cut], **facts: int) -> Shape:
    """An engine whose number formats and memories hold all ``cuts``."""
    formats = [asdict(each.formats) for each in cuts]
    widest = {name: max(each[name] for each in formats) for name in formats[0]}
    shape = Shape(**({"lanes": 4, "in_blocks": 4, "out_blocks": 2, "taps": 3, "bank_words": 1, "small_words": 1}
                     | widest | facts))  # type: ignore[arg-type]  # fmt: skip
    words = max(row_words(each.passes, shape) for each in cuts)
    return replace(shape, row_words=words, line_words=512)


def check(graph: Graph, found: Program, frames: int = 2) -> None:
    """Answers, cycles of every unit and beats of every port are the evaluator's and the model's."""
    kind = graph.input.qint
    codes = np.random.default_rng(3).integers(kind.min, kind.max + 1, (frames, *graph.input.shape))
    run = EngineSim(graph, found).run(codes)
    expected = evaluate(graph, codes)
    for output, answer in zip(graph.outputs, run.answers, strict=True):
        assert np.array_equal(answer, expected[output.value])
        assert answer.std() > 1  # it says something
    for i, (schedule, places) in enumerate(zip(found.schedules, found.places, strict=True)):
        cycles, beats = schedule.cycles(found.following(i)), schedule.beats(places, found.following(i))
        loads = schedule.loads(places)
        assert run.counts[i + 1].tolist() == [*cycles.values(), *beats.values(), *loads.values()], schedule.p.name


IDENTITY = residual_blocks(size=12, identity=True)


@pytest.mark.parametrize("graph", (*GRAPHS, IDENTITY))
def test_one_binary_runs_networks_of_two_kinds_with_all_maps_in_memory(graph: Graph) -> None:
    """Weight tiles, bypassed units, kernels of 1 to 5, strides, signed and unsigned codes: one shape, one library."""
    shape = engine_for([cut(each) for each in (*GRAPHS, IDENTITY)], tile_depth=96)

    check(graph, program(cut(graph), shape, {}))


def test_a_map_beside_its_own_convolution_tokens_and_a_sum_of_one_position_change_no_answer() -> None:
    """The map lies in memory, where two ports read it; frames follow each other with the same counters."""
    network = cut(twice_read())
    shape = engine_for([network], tile_depth=256)
    twice = [p.source for p in network.passes if p.merge is not None and p.merge.residual == p.source]
    assert twice and not {*twice} & {life.name for life in lifetimes(network, shape)}

    check(twice_read(), program(network, shape, {}), frames=8)


@pytest.mark.parametrize("tile_depth", [40, 512])
def test_functions_of_one_code_change_no_answer(tile_depth: int) -> None:
    """In tables that come in once a pass, however many tiles it has."""
    graph = curved_maps()
    network = cut(graph)
    found = program(network, engine_for([network], tile_depth=tile_depth), {})
    tables = [(p.first is not None and p.first.curve is not None, p.second is not None and p.second.curve is not None)
              for p in network.passes]  # fmt: skip

    assert {*tables} == {(False, False), (True, False), (True, True)}
    assert {s.tiles > 1 for s in found.schedules if s.p.first and s.p.first.curve} >= {tile_depth == 40}
    check(graph, found)


def test_maps_of_unlike_parts_are_added_and_multiplied() -> None:
    """A convolution puts the channels of one where the other has them, which may be joined or not."""
    network = cut(unlike_joins())
    moved = [p for p in network.passes if p.merge is not None and p.conv is not None]
    assert {(p.spread is not None, p.kept is not None) for p in moved} == {(True, True), (True, False), (False, True)}
    found = program(network, engine_for([network], tile_depth=256), {})

    check(unlike_joins(), found)
    assert drive_passes(EngineSim(unlike_joins(), found)).mismatches == 0


@pytest.mark.parametrize("banks", [{}, {"bank_words": 1024, "small_words": 64}], ids=["memory", "chip"])
def test_products_change_no_answer(banks: dict[str, int]) -> None:
    """Of a map and one position, in several tiles behind a convolution, and of two maps; every pass alone too."""
    graph = gated_maps()
    network = cut(graph)
    shape = engine_for([network], tile_depth=40, **banks)
    gates = [p.merge.residual for p in network.passes if p.merge is not None and p.merge.once]
    placement = {network.passes[0].result: 0, **dict.fromkeys(gates, 1)} if banks else {}
    found = program(network, shape, placement)
    products = [s for s in found.schedules if s.p.merge is not None and s.p.merge.zeros is not None]
    assert {(s.p.conv is not None, s.p.merge.once) for s in products} == {(False, True), (True, True), (True, False)}
    assert any(s.tiles > 1 for s in products if s.p.merge.once)

    check(graph, found)
    assert drive_passes(EngineSim(graph, found)).mismatches == 0


def test_a_table_of_narrow_codes_fills_half_a_beat() -> None:
    net = Builder((6, 6, 8), 4)
    codes = net.mulshift(net.matvec(net.window(net.input), 16), 4, signed=True)
    graph = net.graph(net.matvec(net.lookup(codes, 4, per_channel=False), 12))
    network = cut(graph)
    assert network.act_bits == 4

    check(graph, program(network, engine_for([network], tile_depth=256), {}))


def test_zero_points_that_are_no_half_of_the_range_change_no_answer() -> None:
    """Nor do the pads of a maximum, which lie below all codes."""
    network = cut(zero_points())
    assert [network.forms[p.stored].zero for p in network.passes][:3] == [101, 37, 131]
    assert sum(form.sign < 0 for form in network.forms.values()) >= 2
    shape = engine_for([network], tile_depth=256)

    check(zero_points(), program(network, shape, {}))


def test_rows_of_one_column_come_in_before_they_are_read() -> None:
    """On an engine that is through with a row in as many cycles as the next one takes to come in."""
    network = cut(one_column())
    shape = engine_for([network], lanes=16, in_blocks=1, out_blocks=1, tile_depth=384, entry_bits=64)

    check(one_column(), program(network, shape, {}))


def test_rows_of_pads_alone_wait_for_no_row() -> None:
    network = cut(wide_pads())
    shape = engine_for([network], tile_depth=64)

    check(wide_pads(), program(network, shape, {}))


def test_channels_that_fill_a_beat_ask_for_no_offset() -> None:
    """Half of the shift, which makes up for the offsets of all channels here, is more than the format holds."""
    shape = replace(engine_for([cut(two_heads())]), shift=10, add_bits=4, mul_shift=0)
    entries = _pairs(np.ones(3, np.int64), np.full(3, -512), 10, slice(0, 4), shape)
    assert entries.any() and not entries.reshape(4, -1)[3].any()


PLAIN, PACKED = {}, {"products_per_dsp": 2, "extra_outputs": 2}
SMALL = (GRAPHS[0], GRAPHS[2], joined_maps(size=8), two_heads())


@pytest.mark.parametrize(
    ("graph", "packed"),
    [
        (SMALL[0], PLAIN),
        (SMALL[1], PACKED),
        (SMALL[2], PLAIN),
        (SMALL[2], PACKED),
        (SMALL[3], PLAIN),
        (leaky_maps(), PLAIN),
        (curved_maps(), PLAIN),
        (gated_maps(), PLAIN),
    ],
)
def test_the_hardwares_own_types_change_no_answer(graph: Graph, packed: dict[str, int], monkeypatch) -> None:
    """What csim and csynth compile, in which a number that nothing set is not zero."""
    monkeypatch.setattr(csim, "OPTIONS", (*csim.OPTIONS, "-O0", "-DFPGAFLOW_HARDWARE"))
    network = cut(graph)
    cuts = [cut(each) for each in SMALL] if graph in SMALL else [network]

    check(graph, program(network, engine_for(cuts, tile_depth=96, **packed), {}), frames=1)


def test_rows_may_come_in_for_longer_than_columns_are_counted(monkeypatch) -> None:
    """Eight rows come in in 120 cycles, 8 of which compute; columns are counted to 16 here, else to 65,536."""
    monkeypatch.setattr(csim, "OPTIONS", (*csim.OPTIONS, "-O0", "-DFPGAFLOW_HARDWARE"))
    monkeypatch.setattr(layout, "SIZE_BITS", 4)
    graph = few_columns()
    network = cut(graph)
    shape = engine_for([network], out_blocks=1, tile_depth=61)  # of no other test: the layout of a table is kept

    check(graph, program(network, shape, {}), frames=1)


@pytest.mark.parametrize("graph", GRAPHS[::2])
def test_packed_products_and_maps_in_banks_change_no_answer(graph: Graph) -> None:
    """Two products a DSP slice, outputs in LUTs beside them and results on the chip."""
    facts = {"products_per_dsp": 2, "extra_outputs": 4, "tile_depth": 256, "bank_words": 2048, "small_words": 1024}
    shape = engine_for([cut(each) for each in GRAPHS], lanes=8, in_blocks=3, out_blocks=3, **facts)
    network = cut(graph)
    names = [p.result for p in network.passes[:-1]]
    placement = {name: bank for bank, name in enumerate(names[:3])}  # one after the other, each in its own

    check(graph, program(network, shape, placement))


@pytest.mark.parametrize("graph", GRAPHS[::3])
def test_a_position_of_a_single_word_waits_a_cycle_in_the_window_unit(graph: Graph) -> None:
    """What one iteration stores is not loaded by the next one: pools, filters and global sums of few channels."""
    network = cut(graph)
    shape = engine_for([network], lanes=16, in_blocks=1, out_blocks=1, tile_depth=384, entry_bits=64)
    found = program(network, shape, {})
    single = [s for s in found.schedules if s.words_of(s.tiles - 1) == 1 and s.p.window is not None]

    assert all(s.window_waits >= s.middle_positions for s in single) and single
    check(graph, found)


def test_a_word_that_is_loaded_too_soon_after_it_was_stored_stops_the_simulation(monkeypatch) -> None:
    """Of the distance that the pragmas promise."""
    graph = GRAPHS[0]
    network, right = cut(graph), csim.generate

    def planted(*arguments) -> dict[str, str]:
        files = right(*arguments)
        path = "include/fpgaflow/engine/window.hpp"
        assert files[path].count("words == 1 ? apart - 1 : 0") == 1
        return {**files, path: files[path].replace("words == 1 ? apart - 1 : 0", "words == 1 ? 0 : 0")}

    monkeypatch.setattr(csim, "generate", planted)
    shape = engine_for([network], lanes=16, in_blocks=1, out_blocks=1, tile_depth=384, entry_bits=64)
    with pytest.raises(VerificationError, match="a word is loaded too soon after it was stored: "):
        EngineSim(graph, program(network, shape, {})).run(np.zeros((1, *graph.input.shape), dtype=np.int64))


def test_factors_of_18_bits_without_a_sign_take_one_slice_and_change_no_answer() -> None:
    """Half of their range is taken off; the sum itself, shifted, makes up for it."""
    scales = residual_blocks()
    graph = scales.with_nodes(
        replace(n, mul=n.mul << 2, add=n.add << 2, shift=n.shift + 2) if isinstance(n, MulShift) else n
        for n in scales.nodes
    )
    network = cut(graph)
    shift = network.formats.shift
    factors = [int(n) << (shift - r.shift) for r in network.requants for n in (r.mul.min(), r.mul.max())]

    assert min(factors) >= 0 and max(factors).bit_length() == 18
    assert (network.formats.mul_bits, network.formats.mul_shift) == (18, 17)
    check(graph, program(network, engine_for([network], tile_depth=384), {}))


@pytest.mark.parametrize("facts", [{"tile_depth": 96}, {"tile_depth": 512, "lanes": 8, "bank_words": 2048}])
def test_joined_and_repeated_maps(facts: dict[str, int]) -> None:
    """Of channels that fill no beat, in tiles whose sources are read again; with other maps on the chip."""
    graph = joined_maps()
    network = cut(graph)
    shape = engine_for([network], **facts)
    inside = {life.name: 0 for life in lifetimes(network, shape)[:1]} if "bank_words" in facts else {}
    found = program(network, shape, inside)

    assert {p.repeat for p in network.passes} == {(1, 1), (2, 2), (4, 4)}
    assert {(s.reads > 1) for s in found.schedules if s.p.outside} >= {"bank_words" not in facts}
    check(graph, found)


@pytest.mark.parametrize("tile_depth", [256, 512])
def test_what_works_channel_by_channel_reads_joined_maps(tile_depth: int) -> None:
    """What lies between the parts is worked on too, and changes no answer."""
    network = cut(reduced_joins())
    found = program(network, engine_for([network], tile_depth=tile_depth), {})
    wide = [p for p in network.passes if p.kept is not None]

    assert {p.window.mode if p.window else None for p in wide} == {"largest", "sum_of", "filter", "global_sum", None}
    assert {p.slot is None for p in wide} == {False, True}
    assert all(len(p.kept) < p.out[2] for p in wide)
    check(reduced_joins(), found)


@pytest.mark.parametrize("facts", [{"tile_depth": 96}, {"tile_depth": 512, "lanes": 8, "bank_words": 2048}])
def test_parts_and_shuffles_of_channels(facts: dict[str, int]) -> None:
    """Convolutions read them where they lie, in memory and in a bank, and what else reads them has a copy."""
    graph = selected_maps()
    network = cut(graph)
    shape = engine_for([network], **facts)
    inside = {life.name: 0 for life in lifetimes(network, shape)[:1]} if "bank_words" in facts else {}
    copies = [p for p in network.passes if p.conv is not None and (p.conv.weight != 0).sum() == len(p.conv.weight)]

    assert len(copies) == 9  # what is added (two), filtered, requantized, joined (four) and put out
    assert not any(p.kept is not None and p.conv is not None for p in network.passes)
    check(graph, program(network, shape, inside))


def test_answers_of_joined_maps_are_put_out_without_the_gaps_between_their_parts() -> None:
    """As heads of boxes and classes are: as they are, quantized again, enlarged, pooled, and read by a layer too."""
    net = Builder((6, 6, 5), 8)
    x = conv(net, net.input, 12, 3)
    both = net.concat(conv(net, x, 9, 1), conv(net, x, 7, 3))
    again = net.mulshift(net.concat(x, conv(net, x, 3, 1)), 8)
    heads = (both, again, net.upsample(both), net.pool(net.window(again), 9))
    graph = net.graph(net.matvec(both, 6), heads=heads)
    network = cut(graph)

    assert [p.out[2] for p in network.read] == [6, 16, 15, 16, 15]
    assert all(p.kept is None and p.slot is None for p in network.read)
    check(graph, program(network, engine_for([network], tile_depth=512), {}))


@pytest.mark.parametrize("channels", [1, 5])
def test_pixels_in_blocks_are_windows_that_the_host_or_the_engine_lays_out(channels: int) -> None:
    """Of few channels the host does so: its windows are those of positions too."""
    net = Builder((8, 12, channels), 8)
    x = conv(net, net.space_to_depth(net.input), 12, 3)
    graph = net.graph(net.matvec(conv(net, net.space_to_depth(x), 10, 1), 6))
    network = cut(graph)

    assert network.folded == (channels == 1) and len(network.passes) == 3
    check(graph, program(network, engine_for([network], tile_depth=512), {}))


@pytest.mark.parametrize("tile_depth", [48, 512])
def test_kernels_that_are_no_squares_and_dilated_ones(tile_depth: int) -> None:
    """In several tiles, with rows read again, and in one."""
    graph = odd_kernels()
    network = cut(graph)
    found = program(network, engine_for([network], tile_depth=tile_depth, entry_bits=64), {})

    assert {s.tiles > 1 for s in found.schedules} >= {tile_depth == 48}
    check(graph, found)


def test_without_fusion_the_answers_are_the_same() -> None:
    """Every window and every sum of branches as a pass of its own."""
    graph = inverted_residuals()
    network = cut(graph, fuse=False)

    assert len(network.passes) > len(cut(graph).passes)
    check(graph, program(network, engine_for([cut(each) for each in GRAPHS], tile_depth=96, channel_words=64), {}))


@pytest.mark.parametrize(("bits", "parts"), [(2, 4), (3, 2)])
def test_weights_wider_than_the_engine_are_multiplied_in_parts(bits: int, parts: int) -> None:
    """Weights of four bits; with several products a slice and in LUTs."""
    graph = residual_blocks()
    network = narrowed(cut(graph), bits)
    facts = {"products_per_dsp": 2, "extra_outputs": 2, "tile_depth": 384}

    assert {p.conv.parts for p in network.passes if p.conv is not None} == {parts}
    check(graph, program(network, engine_for([network], **facts), {}))


@pytest.mark.parametrize(("parts", "bits"), [(1, 4), (2, 4), (3, 4), (2, 5), (2, 6), (3, 3)])
def test_parts_make_the_weights_again(parts: int, bits: int) -> None:
    most = most_of(parts, bits)
    weight = np.arange(-most, most + 1)
    found = parts_of(weight, parts, bits)
    scale = (1 << (bits - 1)) ** np.arange(parts)[::-1]

    assert np.array_equal((found * scale[:, None]).sum(axis=0), weight)
    assert np.abs(found).max() < 1 << (bits - 1)
