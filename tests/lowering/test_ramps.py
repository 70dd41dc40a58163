"""A ReLU that is added without a quantizer of its own: exact sums, or the reason why not."""

from __future__ import annotations

import pytest

from tests.lowering.test_lower import assert_equal_codes
from tests.model_graphs import ModelBuilder
from toolchain.errors import UserError
from toolchain.lowering.pipeline import to_integer


def block(seed: int, *, relu: bool = True, bits: int = 4, other: bool = True) -> ModelBuilder:
    """conv, ReLU, quantizer, conv, and the sum of that and of the ReLU's real value, in both orders of operands."""
    b = ModelBuilder((4, 4, 2), seed)
    a = b.relu(b.conv(b.quant("x", 4, True, scale=0.11), 3, bias=True))
    main = b.conv(b.quant(a, 4, False), 3, bias=True) if other else b.quant(a, 4, False)
    total = b.sum(*((main, a) if seed % 2 else (a, main)))
    total = b.relu(total) if relu else total
    b.conv(b.quant(total, bits, not relu), 2)
    return b


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("relu", [False, True])
def test_every_code_of_a_sum_with_a_relu_that_is_not_quantized(seed: int, relu: bool) -> None:
    """Scales and offsets a channel, knees inside and outside the range, with and without a ReLU behind the sum."""
    assert_equal_codes(block(seed, relu=relu, bits=3 + seed % 4).graph(), count=20)


def test_the_other_branch_may_be_the_quantized_relu_itself() -> None:
    assert_equal_codes(block(3, other=False).graph(), count=20)


def test_a_sum_with_a_relu_that_is_not_quantized_either_is_refused() -> None:
    """At the output, in front of a convolution, of two ReLUs, and in front of one sign."""
    for end in range(4):
        b = ModelBuilder((4, 4, 2), end)
        a = b.relu(b.conv(b.quant("x", 4, True, scale=0.11), 3, bias=True))
        main = b.conv(b.quant(a, 4, False), 3, bias=True)
        total = b.sum(b.relu(main) if end == 2 else main, a)
        if end == 1:
            b.conv(total, 2)
        elif end == 3:
            b.bipolar(total)

        with pytest.raises(UserError, match="^a ReLU whose result is not quantized"):
            to_integer(b.graph())
