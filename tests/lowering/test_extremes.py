"""The larger and the smaller of two values: codes that are right, on units that exist already."""

from __future__ import annotations

import pytest

from tests.lowering.test_lower import assert_equal_codes
from tests.model_graphs import ModelBuilder
from toolchain.errors import UserError
from toolchain.ir.ops.model import RealExtreme
from toolchain.lowering.pipeline import to_integer


def two(seed: int, zero: int = 0) -> tuple[ModelBuilder, str, str]:
    """Codes of unlike scales, the second with a zero point."""
    b = ModelBuilder((4, 5, 3), seed)
    x = b.quant("x", 6, True, scale=0.05)
    return b, b.quant(b.conv(x, 4), 4, True, scale=0.25), b.quant(b.conv(x, 4), 5, True, scale=0.125, zero_point=zero)


@pytest.mark.parametrize("kind", ["max", "min"])
@pytest.mark.parametrize("zero", [0, 3])
def test_in_front_of_a_convolution_it_is_an_integer_of_a_common_unit(kind: str, zero: int) -> None:
    b, x, y = two(1, zero)
    b.conv(b.add(RealExtreme, (x, y), b.shapes[x], kind=kind), 2)

    graph = assert_equal_codes(b.graph())
    assert [type(node).__name__ for node in graph.nodes][-4:] == ["Add", "MulShift", "Add", "MatVec"]


@pytest.mark.parametrize("kind", ["max", "min"])
def test_in_front_of_quantizers_it_is_that_of_codes(kind: str) -> None:
    """Of sums that a batch norm turns, of a ReLU that is not quantized, of codes that stay; two readers of one."""
    b, x, y = two(2)
    sums = b.batchnorm(b.conv(x, 4, 3, pad=1))
    found = b.add(RealExtreme, (sums, b.relu(y)), b.shapes[x], kind=kind)
    first = b.quant(found, 4, True, scale=0.25)
    second = b.quant(b.add(RealExtreme, (x, first), b.shapes[x], kind=kind), 4, True, scale=0.25)
    third = b.quant(found, 3, False)
    b.conv(b.sum(second, third), 2)

    graph = assert_equal_codes(b.graph())
    assert len([node for node in graph.nodes if "_codes" in node.name]) == 4  # both operands of the second are codes


def test_of_signs_it_is_their_and_or_their_or() -> None:
    b, x, y = two(3)
    x, y = b.bipolar(x), b.bipolar(y)
    both = b.bipolar(b.add(RealExtreme, (x, y), b.shapes[x], kind="min"))
    b.conv(b.sum(both, b.bipolar(b.add(RealExtreme, (x, y), b.shapes[x], kind="max"))), 2)

    assert_equal_codes(b.graph())


def test_of_values_that_share_no_unit_it_is_refused_unless_a_quantizer_reads_it() -> None:
    for quantized in (True, False):
        b, x, y = two(4)
        moved = b.affine(y, 1.0, 0.3)
        found = b.add(RealExtreme, (x, moved), b.shapes[x], kind="max")
        b.conv(b.quant(found, 4, True) if quantized else found, 2)
        if quantized:
            assert_equal_codes(b.graph())
        else:
            with pytest.raises(UserError, match="^the larger or smaller of values that share no unit"):
                to_integer(b.graph())
