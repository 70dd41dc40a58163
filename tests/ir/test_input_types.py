"""Types of the input: how they are written, what the host makes of numbers, what it refuses."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from qonnx.core.datatype import DataType

from tests.graphs import Builder
from toolchain.errors import UserError
from toolchain.ir.encode import encode, host_rule, host_values, random_codes, random_inputs, worth
from toolchain.ir.graph import Graph
from toolchain.ir.input_types import datatype, input_text, noted_input, parse_input, quantizer_of
from toolchain.ir.quantize import quantize
from toolchain.ir.types import Encoding, InputType, QInt, Quantizer

EIGHTH = Fraction(1, 8)
WRITTEN = {
    "int8:0.05": InputType(-128, 127, (Fraction(1, 20),), rounds=True),
    "INT8:0.05:-3": InputType(-128, 127, (Fraction(1, 20),), (Fraction(3, 20),), rounds=True),
    "uint12:1/4096": InputType(0, 4095, (Fraction(1, 4096),), rounds=True),
    "int4:1/8, 1/4": InputType(-8, 7, (EIGHTH, 2 * EIGHTH), rounds=True),
    "uint8:1/8,1/4:128": InputType(0, 255, (EIGHTH, 2 * EIGHTH), (Fraction(-16), Fraction(-32)), rounds=True),
    "fixed<16,6>": InputType(-(1 << 15), (1 << 15) - 1, (Fraction(1, 1024),), rounds=True),
    "fixed< 4, -2 >": InputType(-8, 7, (Fraction(1, 64),), rounds=True),
    "bipolar": InputType(-1, 1, bipolar=True, rounds=True),
    "bipolar:1/8": InputType(-1, 1, (EIGHTH,), bipolar=True, rounds=True),
    "ternary": InputType(-1, 1, rounds=True),
    "binary": InputType(0, 1, rounds=True),
}


def taking(given: InputType | Encoding, channels: int = 2) -> Graph:
    """A graph with the input ``given``."""
    encoding = given if isinstance(given, Encoding) else Encoding(given)
    kind = (encoding.quantizer or encoding.input).type
    b = Builder((1, 1, channels), kind.bits, signed=kind.signed)
    return replace(b.graph(b.threshold(b.input)), encoding=encoding)


@pytest.mark.parametrize("text", WRITTEN)
def test_a_type_is_what_is_written(text: str) -> None:
    """Name, scales and zero point are exact; the text of a type reads back to it."""
    given = parse_input(text)
    assert given == WRITTEN[text]
    assert parse_input(input_text(Encoding(given))) == given


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("int8:0", "'int8:0' is no input type"),
        ("int8:-0.5", "'int8:-0.5' is no input type"),
        ("int8:1/0", "'int8:1/0' is no input type"),
        ("int8:nan", "'int8:nan' is no input type"),
        ("int8:1e39", "'int8:1e39' is no input type"),
        ("int8:1/1e39", "'int8:1/1e39' is no input type"),
        ("int8:1e-38", "'int8:1e-38' is no input type"),
        ("int8:1e99999999", "'int8:1e99999999' is no input type"),
        ("int8:1e-99999999", "'int8:1e-99999999' is no input type"),
        ("int8:0.1,", "'int8:0.1,' is no input type"),
        ("int8:0.05:0.5", "'int8:0.05:0.5' is no input type"),
        ("int8:0.05:1:2", "'int8:0.05:1:2' is no input type"),
        ("float32", "'float32' is no input type"),
        ("int0", "'int0' is no input type"),
        ("", "'' is no input type"),
        ("scaledint<8>", "'scaledint<8>' is no input type"),
        ("int25", "an input of type int25; float32 holds integers of at most 24 bits"),
        ("fixed<8,2>:0.5", "'fixed<8,2>:0.5': fixed<8,2> has its own scale; write fixed<8,2> alone, or int8:SCALE"),
        ("bipolar:1:1", "'bipolar:1:1': a zero point of bipolar; -1 and +1 have none"),
    ],
)
def test_what_is_no_type_is_refused(text: str, message: str) -> None:
    with pytest.raises(UserError) as error:
        parse_input(text)
    assert str(error.value).startswith(message)


NOTED = [
    "BIPOLAR",
    "BINARY",
    "TERNARY",
    "INT1",
    "INT2",
    "UINT1",
    "UINT8",
    "UINT12",
    "INT24",
    "FIXED<16,6>",
    "FIXED<8,-3>",
]


@pytest.mark.parametrize("name", NOTED)
def test_noted_types_hold_what_qonnx_says(name: str) -> None:
    """Least and largest value, and which values around them QONNX allows."""
    theirs, ours = DataType[name], noted_input(name)
    assert ours is not None
    (step,) = ours.scale
    assert (ours.low * step, ours.high * step) == (theirs.min(), theirs.max())
    taken = [v for v in range(ours.low - 1, ours.low + 4) if ours.low <= v <= ours.high and (v or not ours.bipolar)]
    assert taken == [v for v in range(ours.low - 1, ours.low + 4) if theirs.allowed(float(v * step))]


def test_floats_and_scaled_integers_tell_no_numbers() -> None:
    assert [datatype(name) for name in ("FLOAT32", "FLOAT<4,3>", "SCALEDINT<8>", "")] == [None] * 4
    assert noted_input("INT32") is None


def test_reals_become_codes_as_a_quant_node_makes_them() -> None:
    """A stated type rounds halves to even and clamps exactly as a Quant node of that scale and zero point does."""
    given = parse_input("int6:0.05,0.7:-3")
    rng = np.random.default_rng(0)
    x = rng.normal(0, 1, (500, 1, 1, 2)).astype(np.float32)
    x[:64, ..., 0] = np.float32(0.05) * (np.arange(-32, 32).reshape(-1, 1, 1) + 3.5).astype(np.float32)
    graph = taking(given)
    codes = encode(graph, x)

    assert (codes == quantize(quantizer_of(given), x)).all()
    assert (codes.min(), codes.max()) == (-32, 31)
    np.testing.assert_array_equal(encode(graph, codes), codes)  # integers are the codes
    np.testing.assert_array_equal(host_values(graph, x), host_values(graph, codes))  # what the network is given
    assert (encode(graph, worth(given, codes)) == codes).all()


@pytest.mark.parametrize(
    "text", ["int8:0.05", "uint12:1/4096", "int24:1/8", "uint16:0.003:77", "fixed<16,6>", "ternary"]
)
def test_the_value_of_every_code_is_encoded_as_it(text: str) -> None:
    """Also float32 rounding of scales and values that are no dyadic numbers."""
    given = parse_input(text)
    codes = np.linspace(given.low, given.high, 5000).astype(np.int64).reshape(-1, 1, 1, 2)
    for rounds in (True, False):
        np.testing.assert_array_equal(encode(taking(replace(given, rounds=rounds)), worth(given, codes)), codes)


@pytest.mark.parametrize("text", ["int8:0.05:-3", "uint8:0.1:77", "int16:0.003:9001", "int8:1/3,0.7:-11"])
def test_the_zero_point_is_worth_zero(text: str) -> None:
    """In float64, -3 * 0.05 + 0.15 is -2.8e-17, whose sign a bipolar quantizer would take."""
    given = parse_input(text)
    zeros = np.full((1, 1, 1, 2), int(given.zeros[0]))
    assert (worth(given, zeros) == 0).all()
    codes = np.arange(given.low, given.low + 200).reshape(-1, 1, 1, 2)
    exact = [float(int(q) * given.scale[i % len(given.scale)] + given.offset[i % len(given.offset)]) for i, q in
             zip(np.tile([0, 1], 100), codes.reshape(-1), strict=True)]  # fmt: skip
    np.testing.assert_array_equal(worth(given, codes).reshape(-1), np.float32(exact))
    scale = tuple(s + Fraction(1, 3**60) for s in given.scale)  # beyond 64 bits
    huge = replace(given, scale=scale, offset=tuple(-given.zeros[0] * s for s in scale))
    np.testing.assert_array_equal(worth(huge, codes), worth(given, codes))


REFUSED = {
    "a half of an INT4": (noted_input("INT4"), np.float32([0.5, 1]), "float images that are no integers"),
    "a large INT4": (noted_input("INT4"), np.array([8, 1]), "images reach 1..8, the input takes -8..7"),
    "a large float INT4": (noted_input("INT4"), np.float32([-9, 1]), "images reach -9..1, the input takes -8..7"),
    "0 as BIPOLAR": (noted_input("BIPOLAR"), np.array([0, 1]), "images hold 0, the input takes -1 and"),
    "0.0 as BIPOLAR": (noted_input("BIPOLAR"), np.float32([0, 1]), "images hold 0, the input takes -1 and"),
    "finer than FIXED": (noted_input("FIXED<8,4>"), np.float32([1 / 32, 1]), "float images that are no integers"),
    "integers beyond": (parse_input("int8:0.05"), np.array([128, 1]), "images reach 1..128, the input takes -128..127"),
    "no number": (parse_input("int8:0.05"), np.float32([np.nan, 1]), "the images hold NaN or infinity"),
    "text": (parse_input("int8:0.05"), np.array(["a", "b"]), "images of type <U1"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_other_numbers_are_refused(case: str) -> None:
    """A noted type takes its values only; a stated one rounds real values, but not integers."""
    given, numbers, message = REFUSED[case]
    assert given is not None
    with pytest.raises(UserError, match=f"^{message}"):
        encode(taking(given), np.asarray(numbers).reshape(1, 1, 1, 2))


def test_a_signed_bit_takes_the_sign() -> None:
    x = np.float32([-0.0, 0.0, -1e-45, 3, -7, 1]).reshape(-1, 1, 1, 2)
    codes = encode(taking(parse_input("bipolar:1/8")), x)
    np.testing.assert_array_equal(codes.reshape(-1), [1, 1, -1, 1, -1, 1])
    sent = replace(taking(parse_input("bipolar:1/8")).encoding, signs_as_bits=True)
    graph = replace(taking(InputType(0, 1)), encoding=sent)
    np.testing.assert_array_equal(encode(graph, x), (codes + 1) // 2)


@pytest.mark.parametrize("name", ["BIPOLAR", "INT3", "UINT4", "UINT12"])
def test_random_inputs_are_all_values_of_the_type(name: str) -> None:
    """Both ends are reached; codes for the testbench are those that the host can send."""
    given = noted_input(name)
    assert given is not None
    drawn = random_inputs(Encoding(given), (40_000, 1, 1, 2))
    values = set(np.unique(drawn).tolist())
    assert values == set(range(given.low, given.high + 1)) - ({0} if given.bipolar else set())
    assert set(np.unique(random_codes(taking(given), 40_000)).tolist()) == values


def test_an_input_with_a_quantizer_is_quantized_from_the_worth_of_its_integers() -> None:
    """INT12 noted beside an input that the network quantizes to four bits."""
    quantizer = Quantizer((3.0,), 0, -8, 7)
    graph = taking(Encoding(noted_input("INT12"), quantizer))
    integers = np.arange(-2048, 2048).reshape(-1, 1, 1, 2)
    expected = np.clip(np.rint(integers / 3), -8, 7)
    np.testing.assert_array_equal(encode(graph, integers), expected)
    assert host_rule(graph.encoding).high == 7
    assert QInt.holding(graph.encoding.low, graph.encoding.high) == QInt(4, True)
