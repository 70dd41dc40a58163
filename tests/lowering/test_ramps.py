"""A ReLU that is added without a quantizer of its own: exact sums, or the reason why not."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tests.lowering.test_lower import assert_equal_codes
from tests.model_graphs import ModelBuilder
from toolchain.errors import UserError
from toolchain.ir.ops.model import RealConv
from toolchain.ir.ops.requantizers import MulShift
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


@pytest.mark.parametrize("biases", [(-50.0, 0.1, 7.0), (-50.0, -40.0, -30.0)])
def test_channels_whose_relu_never_opens_or_always_is_open(biases: tuple[float, ...]) -> None:
    """The factor of the ReLU's line is 0 where it gives 0 for every input."""
    b = block(2, bits=6)
    conv = b.nodes[1]
    assert isinstance(conv, RealConv)
    b.nodes[1] = replace(conv, bias=np.array(biases))
    graph = assert_equal_codes(b.graph(), count=20)
    (ramp,) = (node for node in graph.nodes if node.name.endswith("_relu"))
    assert isinstance(ramp, MulShift)
    factors = np.broadcast_to(ramp.mul, 3).tolist()
    assert [factor == 0 for factor in factors] == [bias < -20 for bias in biases]


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
