"""A normalized number is as near to the real one as its definition says, and no code behind it is another."""

from __future__ import annotations

from decimal import Decimal, localcontext
from fractions import Fraction
from math import isqrt

import numpy as np
import pytest

from tests.conformance import FRAMES
from tests.graphs import Builder, random_input
from tests.model_graphs import ModelBuilder
from toolchain.ir.evaluate import evaluate
from toolchain.ir.ops.model import Affine, RealNorm
from toolchain.ir.ops.norm import FRACTION, ROOT_FRACTION, Norm
from toolchain.ir.types import Array
from toolchain.lowering.pipeline import to_integer

PLACES = 1 << 80


def real(values: list[int], epsilon: Fraction, *, centred: bool) -> list[Fraction]:
    """(n * x - S) / sqrt(V + epsilon) to 80 bits; 0 where V is."""
    n, total = len(values), sum(values) if centred else 0
    spread = n * sum(v * v for v in values) - total * total
    if spread == 0:
        return [Fraction(0)] * n
    root = isqrt(int((spread + epsilon) * PLACES * PLACES))
    return [Fraction((n * v - total) * PLACES, root) for v in values]


def extreme(shape: tuple[int, int, int], low: int, high: int) -> Array:
    """Positions all alike, all but one, half and half, and with neighbours."""
    x = np.full((1, *shape), low, dtype=np.int64)
    rows = x.reshape(-1, shape[2])
    rows[1, 0], rows[2, ::2], rows[3] = high, high, high
    rows[4, -1], rows[5, 0] = min(low + 1, high), high - 1
    rows[6], rows[7, 1:], rows[7, 0] = 0, 0, 1 if high else -1
    return x


@pytest.mark.parametrize("centred", [True, False])
@pytest.mark.parametrize(
    ("channels", "bits", "signed", "epsilon"),
    [
        (2, 8, True, 0.0),
        (3, 1, False, 1e-6),
        (16, 8, True, 0.1),
        (64, 8, False, 3.7),
        (48, 4, True, 1e-12),
        (7, 12, True, 9e4),
    ],
)
def test_the_error_is_at_most_a_unit_of_the_last_place(
    channels: int, bits: int, signed: bool, epsilon: float, centred: bool
) -> None:
    b = Builder((2, 5, channels), bits, signed=signed, seed=channels)
    graph = b.graph(b.norm(b.input, epsilon, centred=centred))
    (node,) = graph.nodes
    assert isinstance(node, Norm)
    kind = graph.input.qint
    x = np.concatenate([random_input(graph, 40), extreme(graph.input.shape, kind.min, kind.max)])
    found = evaluate(graph, x)[graph.output]
    low, high = node.output_range(graph.input.shape, (kind.min, kind.max))
    assert low <= found.min() and found.max() <= high
    given = Fraction(node.epsilon, 1 << 2 * ROOT_FRACTION)
    for values, normalized in zip(x.reshape(-1, channels).tolist(), found.reshape(-1, channels).tolist(), strict=True):
        expected = real(values, given, centred=centred)
        apart = [abs(Fraction(y, 1 << FRACTION) - z) for y, z in zip(normalized, expected, strict=True)]
        assert max(apart) <= Fraction(1, 1 << FRACTION)


@pytest.mark.parametrize("centred", [True, False])
def test_codes_behind_a_norm_are_those_of_exact_numbers(centred: bool) -> None:
    """Of fifty thousand codes of random and extreme positions, with factors and biases of either sign."""
    channels = 16
    b = ModelBuilder((4, 16, channels), 3)
    rng = np.random.default_rng(5)
    scale, shift = rng.normal(0, 1, (2, channels)).astype(np.float32).astype(np.float64)
    step, fine, epsilon = 0.23, 0.11, float(np.float32(1e-5))
    x = b.quant("x", 6, True, scale=fine)
    x = b.add(RealNorm, (x,), b.shapes[x], epsilon=epsilon, centred=centred)
    x = b.add(Affine, (x,), b.shapes[x], scale=scale, shift=shift)
    b.quant(x, 4, True, scale=step)
    graph = to_integer(b.graph())
    codes = np.concatenate([random_input(graph, FRAMES * 16), extreme(graph.input.shape, -32, 31)])
    found = evaluate(graph, codes)[graph.output].reshape(-1, channels)
    with localcontext() as context:
        context.prec = 50
        for row, ours in zip(codes.reshape(-1, channels).tolist(), found.tolist(), strict=True):
            values = [Decimal(v) * Decimal(fine) for v in row]
            mean = sum(values) / channels if centred else Decimal(0)
            root = (sum((v - mean) ** 2 for v in values) / channels + Decimal(epsilon)).sqrt()
            for c, v in enumerate(values):
                y = ((v - mean) / root * Decimal(scale[c]) + Decimal(shift[c])) / Decimal(step)
                assert ours[c] == min(max(int(y.to_integral_value()), -8), 7)
