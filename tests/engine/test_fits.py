"""A network on an engine that was built for another: what just fits is taken, a word or a bit less is named."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, replace

import numpy as np
import pytest

from tests.engine.networks import (
    curved_maps,
    gated_maps,
    inverted_residuals,
    joined_maps,
    leaky_maps,
    odd_kernels,
    residual_blocks,
    twice_read,
)
from tests.engine.test_csim import engine_for
from tests.golden_files import assert_golden
from toolchain.engine.cut import cut
from toolchain.engine.layers import Cut, signed_bits
from toolchain.engine.shape import Shape
from toolchain.engine.tables import pack, program, unpack
from toolchain.errors import UserError
from toolchain.ir.graph import Graph

CUT = cut(inverted_residuals())
SHAPE = engine_for([CUT])


def refused(found: Cut, shape: Shape) -> str:
    with pytest.raises(UserError) as caught:
        program(found, shape, {})
    return str(caught.value)


@pytest.mark.parametrize(
    ("network", "memory", "words", "message"),
    [
        (inverted_residuals, "row_words", 36, "its rows take 576 bytes, the row buffer holds 560 [onnx_matvec13]"),
        (
            inverted_residuals, "tile_depth", 6,
            "a weight tile takes 384 bytes, the weight memory holds 320 [onnx_matvec13]",
        ),
        (inverted_residuals, "line_words", 32, "a row takes 128 bytes, the line buffer holds 124 [onnx_window0]"),
        (joined_maps, "line_words", 48, "a row takes 192 bytes, the line buffer holds 188 [onnx_window3]"),
        (inverted_residuals, "channel_words", 4, "its channels take 16 bytes, the engine holds 12 [onnx_window0]"),
        (joined_maps, "channel_words", 8, "its channels take 32 bytes, the engine holds 28 [onnx_window8]"),
    ],
)  # fmt: skip
def test_the_memory_that_is_short_is_named(network: Callable[[], Graph], memory: str, words: int, message: str) -> None:
    """Rows, weights, lines and channels, in front of a convolution's window unit and where a pass has none."""
    found = cut(network())
    shape = engine_for([found])
    assert len(program(found, replace(shape, **{memory: words}), {}).schedules) == len(found.passes)
    assert refused(found, replace(shape, **{memory: words - 1})) == message


@pytest.mark.parametrize(
    "width",
    [
        "act_bits", "weight_bits", "stored_bits", "filter_bits", "sum_bits", "window_sum_bits", "shift", "merge_shift",
        "merge_bits", "merge_add_bits", "kernel",
    ],
)  # fmt: skip
def test_a_format_that_is_too_narrow_is_named(width: str) -> None:
    bits = getattr(CUT.formats, width)
    assert getattr(SHAPE, width) == bits
    assert refused(CUT, replace(SHAPE, **{width: bits - 1})) == (
        f"the network does not fit the engine: {width.replace('_', ' ')} {bits}, the engine has {bits - 1}; build one "
        "for this network"
    )


@pytest.mark.parametrize(
    ("network", "unit"),
    [
        (inverted_residuals, "filters"),
        (residual_blocks, "pools"),
        (joined_maps, "repeats"),
        (leaky_maps, "bends"),
        (curved_maps, "curves"),
        (gated_maps, "products"),
    ],
)
def test_a_unit_that_the_engine_lacks_is_missed_by_networks_that_need_it(
    network: Callable[[], Graph], unit: str
) -> None:
    found = cut(network())
    assert refused(found, replace(engine_for([found]), **{unit: False})) == (
        "the network does not fit the engine: the engine was built for other layers; build one for this network"
    )


def test_formats_of_networks_are_golden() -> None:
    """The widths of every number of an engine, and its features."""
    networks = (
        inverted_residuals, residual_blocks, joined_maps, leaky_maps, curved_maps, gated_maps, odd_kernels, twice_read
    )  # fmt: skip
    found = {network.__name__: asdict(cut(network()).formats) for network in networks}
    lines = [f"{name}: {', '.join(f'{k} {int(v)}' for k, v in facts.items() if v)}\n" for name, facts in found.items()]
    assert_golden("engine/formats.txt", "".join(lines))


def test_a_signed_number_has_a_bit_more_than_its_magnitude_but_for_a_power_of_two_below_zero() -> None:
    given = ([], [0], [1], [-1], [2], [-2], [-3], [127], [128], [-128], [-129], [-4, 9])
    assert [signed_bits(values) for values in given] == [2, 2, 2, 2, 3, 2, 3, 8, 9, 8, 9, 5]


@pytest.mark.parametrize(("width", "what"), [("mul_bits", "factor"), ("add_bits", "offset")])
def test_a_requantizer_that_is_too_wide_is_named(width: str, what: str) -> None:
    bits = getattr(SHAPE, width)
    assert refused(CUT, replace(SHAPE, **{width: bits - 1})) == (
        f"a requantizer's {what} takes {bits} bits, the engine has {bits - 1}"
    )


def test_maps_on_the_chip_have_banks_of_their_own_that_hold_them() -> None:
    p = next(p for p in CUT.passes if p.merge is not None)
    assert p.merge is not None
    words = max(s.positions * s.words_out for s in program(CUT, SHAPE, {}).schedules if s.p.result == p.result)
    roomy = replace(SHAPE, bank_words=words, small_words=words)
    program(CUT, roomy, {p.result: 0})
    program(CUT, roomy, {p.result: 1})
    with pytest.raises(ValueError, match=f"^the map '{p.result}' does not fit a bank$"):
        program(CUT, replace(roomy, bank_words=words - 1), {p.result: 0})
    with pytest.raises(ValueError, match=f"^the map '{p.result}' does not fit a bank$"):
        program(CUT, replace(roomy, small_words=words - 1), {p.result: 1})
    for other in (p.source, p.merge.residual):
        with pytest.raises(ValueError, match=f"^two maps of '{p.name}' share a bank$"):
            program(CUT, replace(SHAPE, bank_words=10**6), {p.result: 0, other: 0})
    with pytest.raises(ValueError, match="^an answer lies in a bank$"):
        program(CUT, roomy, {CUT.answers[0]: 1})


def test_a_beat_holds_128_bits_of_codes() -> None:
    codes = np.arange(16)[None]
    assert np.array_equal(unpack(pack(codes, 8), 8, 16), codes)
    with pytest.raises(ValueError, match="^17 codes of 8 bits do not fit a beat$"):
        pack(np.arange(17)[None], 8)
