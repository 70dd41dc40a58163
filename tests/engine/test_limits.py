"""What the engine's number formats cannot hold is refused with the pass and the bits, not packed."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest

from tests.engine.networks import residual_blocks
from tests.engine.test_csim import engine_for
from tests.graphs import Builder
from toolchain.engine.cut import cut, refusals
from toolchain.engine.layout import SIZE_BITS, layout, table_entry
from toolchain.engine.shape import TABLE_BEATS
from toolchain.errors import UserError
from toolchain.ir.graph import Graph
from toolchain.ir.ops.requantizers import MulShift


def changed(graph: Graph, index: int, **facts) -> Graph:
    """``graph`` with other numbers in its MulShift number ``index``."""
    chosen = [n for n in graph.nodes if isinstance(n, MulShift)][index]
    return graph.with_nodes(replace(n, **facts) if n is chosen else n for n in graph.nodes)


def network() -> Graph:
    b = Builder((8, 8, 8), 4)
    x = b.mulshift(b.conv(b.input, 8), 4)
    return b.graph(b.mulshift(b.conv(x, 8), 4))


def refused(graph: Graph) -> UserError:
    """The refusal of the cut, which is the one that is listed."""
    with pytest.raises(UserError) as caught:
        cut(graph)
    assert refusals(graph) == [(caught.value.where, caught.value.what)]
    return caught.value


def test_numerators_beyond_64_bits_name_the_requantizer() -> None:
    error = refused(changed(network(), 1, mul=np.array([1 << 52]), shift=60, base=np.array([2])))
    assert error.where == "MulShift 'onnx_mulshift5'"
    assert error.what == "the engine cannot run it: its products have 66 bits, 60 are added at once"


def test_factors_raised_to_another_requantizers_shift_name_its_pass() -> None:
    """All have the engine's shift: one of 56 makes a factor of 17 bits one of 57."""
    wide = changed(network(), 1, mul=np.array([1 << 46]), add=np.array([0]), shift=56)
    error = refused(changed(wide, 0, mul=np.array([1 << 16]), shift=16))
    assert error.where == "onnx_window3"
    assert error.what.startswith("the engine cannot run it: factors of ")


def test_a_sum_of_branches_with_wide_factors_names_its_pass() -> None:
    graph = residual_blocks()
    sums = [i for i, n in enumerate(n for n in graph.nodes if isinstance(n, MulShift)) if "add" in n.inputs[0]]
    error = refused(changed(graph, sums[0], mul=np.array([1 << 33]), shift=35))
    assert re.search(r"its sum or product of branches takes factors of 3\d bits, 32 are stored$", error.what)
    assert error.hint == "give both branches one scale"


def test_a_sum_of_branches_with_a_wide_offset_names_the_offset() -> None:
    """One of 50 bits is raised to the shift of the other sum, whose own factors have 2 bits."""
    b = Builder((4, 4, 8), 4)
    x = b.mulshift(b.conv(b.input, 8), 4)
    for add, shift in ((1 << 48, 9), (0, 24)):
        x = b.mulshift(b.add(x, b.mulshift(b.conv(x, 8), 4), (1, 1)), 4, per_channel=False)
        b.nodes[-1] = replace(b.nodes[-1], mul=np.array([1]), add=np.array([add]), shift=shift, base=np.array([0]))
    error = refused(b.graph(b.mulshift(b.conv(x, 8), 4)))
    assert error.what.endswith("its sum or product of branches takes an offset of 65 bits, 62 are added at once")


def test_a_number_too_large_for_the_pass_table_names_its_pass_and_field() -> None:
    graph = residual_blocks()
    shape = engine_for([cut(graph)])
    widest = (1 << SIZE_BITS) - 1

    assert table_entry({"convolve": {"rows": widest}}, shape, "conv").any()
    with pytest.raises(UserError) as caught:
        table_entry({"convolve": {"rows": widest + 1}}, shape, "conv")
    assert str(caught.value) == (
        "the engine cannot run it: convolve.rows is 65536, the pass table holds 16 bits [conv]"
    )


@pytest.mark.parametrize("lanes", [4, 8, 16])
def test_the_pass_table_holds_every_field_apart(lanes: int) -> None:
    """With all bits set in one field, no other has a bit."""
    shape = engine_for([cut(residual_blocks())], lanes=lanes)
    seen = np.zeros((TABLE_BEATS, 2), dtype=np.uint64)
    for place in layout(shape):
        entry = table_entry({place.member: {place.name: -1 if place.type.signed else place.type.max}}, shape, "")
        assert sum(int(half).bit_count() for half in entry.flat) == place.type.bits
        assert not (entry & seen).any()
        seen |= entry
