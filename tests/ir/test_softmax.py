"""A share is as near to the real one as its definition says, and no code behind it is another."""

from __future__ import annotations

from decimal import Decimal, localcontext

import numpy as np
import pytest

from tests.graphs import Builder, random_input
from tests.model_graphs import ModelBuilder
from toolchain.ir.evaluate import evaluate
from toolchain.ir.ops.model import RealSoftmax
from toolchain.ir.ops.norm import FRACTION
from toolchain.lowering.pipeline import to_integer


def shares(row: list[int], scale: float) -> list[Decimal]:
    """The softmax of integers that are worth ``scale``."""
    powers = [(Decimal(scale) * (v - max(row))).exp() for v in row]
    return [p / sum(powers) for p in powers]


def extreme(x: np.ndarray, low: int, high: int) -> np.ndarray:
    """``x`` with positions all alike, one above all others, two alike above them, and half above."""
    x[0, 0], x[0, 1], x[0, 2], x[0, 3] = high, low, low, low
    x[0, 1, ..., 0], x[0, 2, ..., :2], x[0, 3, ..., ::2] = high, high, high
    return x


@pytest.mark.parametrize(
    ("channels", "bits", "signed", "scale"),
    [
        (2, 8, True, 0.05),
        (16, 8, False, 0.1),
        (17, 4, True, 1.3),
        (64, 8, True, 1e-3),
        (100, 6, True, 0.4),
        (3, 12, True, 0.01),
    ],
)
def test_the_error_is_at_most_a_unit_of_the_last_place(channels: int, bits: int, signed: bool, scale: float) -> None:
    b = Builder((4, 3, channels), bits, signed=signed, seed=channels)
    graph = b.graph(b.softmax(b.input, scale))
    kind = graph.input.qint
    x = extreme(random_input(graph, 4), kind.min, kind.max)
    found = evaluate(graph, x)[graph.output]
    assert found.min() >= 0 and found.max() <= 1 << FRACTION
    with localcontext() as context:
        context.prec = 40
        for row, ours in zip(x.reshape(-1, channels).tolist(), found.reshape(-1, channels).tolist(), strict=True):
            expected = shares(row, scale)
            apart = [abs(Decimal(y) - z * (1 << FRACTION)) for y, z in zip(ours, expected, strict=True)]
            assert max(apart) <= 1


def test_codes_behind_a_softmax_are_those_of_exact_numbers() -> None:
    """Of two heads, at random and extreme positions."""
    scale, step = 0.0625, float(np.float32(0.03))
    b = ModelBuilder((6, 8, 16), 3)
    x = b.add(RealSoftmax, (b.quant("x", 8, True, scale=scale),), (6, 8, 16), heads=2)
    b.quant(x, 5, False, scale=step)
    graph = to_integer(b.graph())
    codes = extreme(random_input(graph, 20), -128, 127)
    found = evaluate(graph, codes)[graph.output].reshape(-1, 8)
    with localcontext() as context:
        context.prec = 50
        for row, ours in zip(codes.reshape(-1, 8).tolist(), found.tolist(), strict=True):
            assert ours == [min(int((z / Decimal(step)).to_integral_value()), 31) for z in shares(row, scale)]
