"""Functions of one number keep every code: tables, thresholds that rise and fall, products, and what ties are."""

from __future__ import annotations

from decimal import Decimal, localcontext
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from tests.lowering.test_lower import assert_equal_codes
from tests.model_graphs import ModelBuilder
from toolchain.errors import UserError
from toolchain.ir.curves import FUNCTIONS, Decimals, Floats, Fractions
from toolchain.ir.ops.maps import Crop, Permute, Reshape, Slice, SpaceToDepth, Upsample
from toolchain.ir.ops.model import Affine, Clamp, Curve, Quantize, RealAdd, RealMul
from toolchain.ir.ops.multiply import Multiply
from toolchain.ir.ops.node import Node
from toolchain.ir.ops.requantizers import Lookup, Threshold
from toolchain.ir.types import Quantizer
from toolchain.lowering.pipeline import to_integer

PARAMETERS = {"Elu": (1.0, 0.0), "Celu": (1.5, 0.0), "Selu": (1.6732632, 1.050701), "Swish": (1.702, 0.0)}


def curve(b: ModelBuilder, x: str, kind: str) -> str:
    """A function with its usual parameters."""
    alpha, beta = PARAMETERS.get(kind, (0.0, 0.0))
    return b.add(Curve, (x,), b.shapes[x], kind=kind, alpha=alpha, beta=beta)


def layer(seed: int, *, bias: bool = True) -> tuple[ModelBuilder, str]:
    """Sums of 13 bits or so, of values of some units."""
    b = ModelBuilder((4, 4, 3), seed)
    x = b.quant("x", 6, True, scale=0.03)
    return b, b.conv(x, 3, 3, bias=bias)


@pytest.mark.parametrize("kind", FUNCTIONS)
def test_every_code_behind_a_function_of_sums(kind: str) -> None:
    """Wide sums with a bias a channel: thresholds, of both signs where the function turns, equal float64."""
    for bits, signed in ((2, True), (5, True), (4, False)):
        b, x = layer(bits)
        x = b.quant(curve(b, x, kind), bits, signed, scale=0.11)
        b.conv(x, 2)

        graph = assert_equal_codes(b.graph())
        assert any(isinstance(node, Threshold) for node in graph.nodes)


MOVES: dict[type[Node], tuple[tuple[int, int, int], dict[str, Any]]] = {
    Reshape: ((1, 1, 12), {}),
    Slice: ((2, 2, 2), {"start": 1}),
    Crop: ((2, 1, 3), {"start": (0, 1), "steps": (1, 1)}),
    SpaceToDepth: ((1, 1, 12), {"block": (2, 2)}),
    Permute: ((2, 2, 3), {"order": (2, 0, 1)}),
    Upsample: ((4, 2, 3), {"factors": (2, 1)}),
}


@pytest.mark.parametrize("kind", MOVES)
def test_codes_are_made_of_a_function_before_its_numbers_are_moved(kind: type[Node]) -> None:
    shape, facts = MOVES[kind]
    for twice in (False, True):
        b, x = layer(4)
        x = b.add(kind, (b.relu(curve(b, x, "Swish")),), shape, **facts)
        if twice:
            x = b.flatten(x)
        b.conv(b.quant(x, 4, False, scale=0.11), 2)
        kinds = [type(node) for node in assert_equal_codes(b.graph()).nodes]
        made = next(i for i, found in enumerate(kinds) if found in (Threshold, Lookup))
        assert kinds[made + 1] is kind and (kinds[made + 2] is Reshape) == twice


def test_a_function_split_in_two_has_a_quantizer_for_each_part() -> None:
    b, x = layer(4)
    y = curve(b, x, "Tanh")
    parts = [b.add(Slice, (y,), (2, 2, count), start=start) for start, count in ((0, 2), (2, 1))]
    codes = [b.quant(part, 4, True, scale) for part, scale in zip(parts, (0.11, 0.23), strict=True)]
    b.sum(*(b.quant(b.conv(part, 2), 4, True, 0.5) for part in codes))
    assert_equal_codes(b.graph())


def test_a_moved_function_is_not_changed_and_has_one_scale() -> None:
    b, x = layer(4)
    y = b.flatten(curve(b, x, "Swish"))
    b.add(Quantize, (y,), b.shapes[y], quantizer=Quantizer((0.1, *[0.2] * 11), 0, 0, 15), tensor=y)
    with pytest.raises(UserError, match="a Swish whose numbers are moved in front of a quantizer with several scales"):
        to_integer(b.graph())

    b, x = layer(4)
    b.quant(b.relu(b.flatten(curve(b, x, "Swish"))), 4, False, scale=0.11)
    with pytest.raises(UserError, match="a Swish whose result is not quantized"):
        to_integer(b.graph())


@pytest.mark.parametrize("kind", FUNCTIONS)
def test_every_code_behind_a_function_of_codes(kind: str) -> None:
    """Of 8 bits it is a table."""
    b, x = layer(1)
    x = b.quant(curve(b, b.quant(x, 8, True), kind), 8, True, scale=0.013)
    b.conv(x, 2)

    graph = assert_equal_codes(b.graph())
    assert [type(node) for node in graph.nodes].count(Lookup) == 1


@pytest.mark.parametrize("kind", FUNCTIONS)
def test_a_function_is_bounded_by_its_slope_and_size(kind: str) -> None:
    """Which the proof for cells and the bound of float32's error rest on."""
    function, numbers = FUNCTIONS[kind], PARAMETERS.get(kind, (0.0, 0.0))
    x = np.linspace(-30, 30, 200_001)
    y = function.floats(x, *numbers)
    slope, size = function.slope(*numbers), function.size(*numbers)

    assert (np.abs(np.diff(y)) <= slope * np.diff(x) * (1 + 1e-9) + 1e-14).all()
    assert (np.abs(y) <= slope * np.abs(x) + size).all()


@pytest.mark.parametrize("kind", FUNCTIONS)
def test_all_kinds_of_numbers_give_one_value(kind: str) -> None:
    """Float64, decimals and, where they can, fractions."""
    function, numbers = FUNCTIONS[kind], PARAMETERS.get(kind, (0.0, 0.0))
    for x in (-40.5, -3.25, -0.75, -0.0009765625, 0.0, 0.5, 2.875, 33.0):
        plain = float(function.formula(Floats(), np.array([x]), *numbers)[0])
        with localcontext() as context:
            context.prec = 60
            m = Decimals()
            fine = function.formula(m, Decimal(x), *(m.number(n) for n in numbers))
        assert plain == pytest.approx(float(fine), rel=1e-13, abs=1e-15)
        if function.rational:
            assert float(function.formula(Fractions(), Fraction(x), Fraction(0), Fraction(0))) == pytest.approx(plain)


@pytest.mark.parametrize(
    ("kind", "scale", "code"),
    [("Sigmoid", 1.0, 0), ("Sigmoid", 1 / 9, 5), ("Sigmoid", 1 / 7, 4), ("Sigmoid", 1 / 5, 2), ("Tanh", 0.1, 0)],
)
def test_a_tie_of_a_function_rounds_to_even_and_what_is_none_to_the_nearest(kind: str, scale: float, code: int) -> None:
    """sigmoid(0) = 1/2 is half a step of 1; of 1/9, 1/7 and 1/5, which float64 rounds, it is near a half."""
    b = ModelBuilder((1, 1, 1), 0)
    x = b.quant(curve(b, b.quant("x", 4, True, scale=0.25), kind), 6, True, scale=scale)
    graph = to_integer(b.graph())
    (node,) = [n for n in graph.nodes if n.output.name == x]
    exact = Fraction(1, 2) / Fraction(scale) if kind == "Sigmoid" else Fraction(0)

    assert int(node.evaluate(np.zeros((1, 1, 1, 1), dtype=np.int64))[0, 0, 0, 0]) == round(exact) == code
    assert (exact % 1 == Fraction(1, 2)) == (scale == 1)


def test_ties_on_every_integer_are_exact() -> None:
    """|x| in steps of twice the input's: every second integer lies in the middle between two codes."""
    b = ModelBuilder((2, 2, 1), 0)
    x = b.quant(curve(b, b.quant("x", 8, True, scale=0.25), "Abs"), 8, True, scale=0.5)
    graph = to_integer(b.graph())
    (node,) = [n for n in graph.nodes if n.output.name == x]
    codes = np.arange(-128, 128)

    found = node.evaluate(codes.reshape(-1, 1, 1, 1)).ravel()
    np.testing.assert_array_equal(found, [round(Fraction(abs(int(q)), 2)) for q in codes])


def test_functions_and_lines_in_a_row_are_one_function() -> None:
    """BatchNorm, GELU, negative factor, clamp, tanh, then a quantizer: one unit behind the sums."""
    b, x = layer(3)
    x = curve(b, b.batchnorm(x), "Gelu")
    x = b.add(Affine, (x,), b.shapes[x], scale=np.array([-0.7, 1.1, 0.3]), shift=np.array([0.1]))
    x = b.add(Clamp, (x,), b.shapes[x], low=-1.0, high=1.5)
    x = b.quant(curve(b, x, "Tanh"), 4, True)
    b.conv(x, 2)

    graph = assert_equal_codes(b.graph())
    assert [type(node).__name__ for node in graph.nodes] == ["Window", "MatVec", "Threshold", "MatVec"]


@pytest.mark.parametrize("bits", [0, 5])
def test_a_value_times_its_own_sigmoid_is_a_function_of_it(bits: int) -> None:
    """SiLU as exporters write it, of sums and of codes, and x + tanh(x)."""
    b, x = layer(4)
    x = b.quant(x, bits, True, scale=0.13) if bits else x
    y = b.add(RealMul, (x, curve(b, x, "Sigmoid")), b.shapes[x])
    y = b.quant(y, 4, True, scale=0.17)
    z = b.quant(b.add(RealAdd, (curve(b, x, "Tanh"), x), b.shapes[x]), 4, True)
    b.conv(b.add(RealAdd, (y, z), b.shapes[y]), 2)

    graph = assert_equal_codes(b.graph())
    assert not any(isinstance(node, Multiply) for node in graph.nodes)


def test_hard_swish_of_lines_is_a_function() -> None:
    """x * clip(x + 3, 0, 6) / 6, of operations that are lines one by one."""
    b, x = layer(5)
    inner = b.add(Affine, (x,), b.shapes[x], scale=np.ones(1), shift=np.array([3.0]))
    inner = b.add(Clamp, (inner,), b.shapes[x], low=0.0, high=6.0)
    y = b.add(
        Affine, (b.add(RealMul, (x, inner), b.shapes[x]),), b.shapes[x], scale=np.array([1 / 8]), shift=np.zeros(1)
    )
    b.conv(b.quant(y, 4, True), 2)

    assert_equal_codes(b.graph())


@pytest.mark.parametrize("zero", [0, 3])
def test_the_product_of_two_codes(zero: int) -> None:
    """Of two maps, and of a map and one position; a zero point is added in front, sums that are not quantized too."""
    b = ModelBuilder((4, 4, 3), 6)
    x = b.quant("x", 5, True, scale=0.05, zero_point=zero)
    y = b.quant(b.conv(x, 3, 3, pad=0 if zero else 1), 4, True, zero_point=zero)
    shape = b.shapes[y]
    one = b.quant(curve(b, b.conv(b.pool(y, "average", shape[0], 1), 3, bias=True), "Sigmoid"), 5, False)
    y = b.quant(b.add(RealMul, (y, one), shape), 5, True)
    z = b.add(RealMul, (y, b.conv(y, 3, bias=True)), shape)
    b.conv(b.quant(z, 4, True), 2)

    graph = assert_equal_codes(b.graph())
    assert [node.once for node in graph.nodes if isinstance(node, Multiply)] == [True, False]


def test_a_function_that_is_not_quantized_is_refused() -> None:
    """At the output, in front of a convolution, and in a sum with something else."""
    for end in range(3):
        b, x = layer(7)
        y = curve(b, x, "Swish")
        if end == 1:
            b.conv(y, 2)
        elif end == 2:
            b.add(RealAdd, (y, b.conv(b.quant(x, 4, True), 3)), b.shapes[y])

        with pytest.raises(UserError, match="^a Swish whose result is not quantized"):
            to_integer(b.graph())


def test_too_many_comparators_are_refused() -> None:
    """16 bits of a sigmoid of wide sums."""
    b, x = layer(8)
    b.quant(curve(b, x, "Sigmoid"), 16, False, scale=2.0**-16)

    with pytest.raises(UserError, match="^16 bits of a function of 1[0-9] bits take [0-9]+ comparators a channel"):
        to_integer(b.graph())


def test_a_function_that_stays_on_a_tie_is_refused() -> None:
    """ELU of wide sums that end in -1, the middle between -2 and -3 steps of 0.4."""
    b, x = layer(9)
    x = b.add(Affine, (x,), b.shapes[x], scale=np.array([4096.0]), shift=np.zeros(1))
    wide = b.add(RealAdd, (x, b.conv(b.quant("x", 6, True, scale=0.03), 3, 3)), b.shapes[x])
    b.quant(curve(b, wide, "Elu"), 4, True, scale=0.4)

    with pytest.raises(
        UserError, match="^a function that lies next to ties, or changes its code, at too many integers"
    ):
        to_integer(b.graph())
