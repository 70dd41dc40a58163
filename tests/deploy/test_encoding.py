"""The driver makes the codes that the network was verified with, and refuses what that refuses."""

from __future__ import annotations

import json
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest

from tests.deploy.placed import facts_of
from tests.graphs import Builder
from tests.hardware import serial
from toolchain.deploy.driver import BoardError, Encoder
from toolchain.errors import UserError
from toolchain.frontend.layout import Layout
from toolchain.ir.encode import encode, host_values, random_inputs
from toolchain.ir.graph import Graph
from toolchain.ir.rounding import Rounding
from toolchain.ir.types import UNIT_PIXEL, Encoding, InputType, Quantizer, Standardization

SHAPE = (4, 5, 3)
EIGHTH = Fraction(1, 8)
SIGNED = InputType(-128, 127, (Fraction(1, 20),), (Fraction(3, 20),), rounds=True)
CHANNELS = (0.011, 0.3, 0.07)
CODES = InputType(-8, 7)
MEANS, THREE = Standardization((0.4,), (1.7,)), Standardization((0.4, -3.0, 0.1), (1.7, 0.02, 30.0))
ENCODINGS = {
    "pixels": Encoding(InputType(0, 255)),
    "few pixels": Encoding(InputType(0, 15)),
    "quantized pixels": Encoding(UNIT_PIXEL, Quantizer((1 / 255,), 0, 0, 255)),
    "pixels of 4 bits": Encoding(UNIT_PIXEL, Quantizer((0.07,), 0, 0, 15)),
    "signed codes of pixels": Encoding(UNIT_PIXEL, Quantizer((0.011,), -90, -128, 127)),
    "scales by channel": Encoding(UNIT_PIXEL, Quantizer(CHANNELS, -3, -128, 127)),
    "signs of pixels": Encoding(UNIT_PIXEL, Quantizer((1.0,), 0, -1, 1, bipolar=True), signs_as_bits=True),
    "bipolar": Encoding(InputType(-1, 1, bipolar=True)),
    "bipolar bits": Encoding(InputType(-1, 1, bipolar=True), signs_as_bits=True),
    "signed": Encoding(SIGNED),
    "channels of their own": Encoding(InputType(-8, 7, (EIGHTH, 2 * EIGHTH, EIGHTH), rounds=True)),
    "exact": Encoding(InputType(-8, 7, (EIGHTH,))),
    "fixed<16,6>": Encoding(InputType(-(1 << 15), (1 << 15) - 1, (Fraction(1, 1024),), rounds=True)),
    "standardized": Encoding(CODES, Quantizer((0.05,), 0, -128, 127), standard=MEANS, integers=False),
    "standardized channels": Encoding(CODES, Quantizer((0.05,), 2, -8, 7), standard=THREE, integers=False),
    "signed, quantized": Encoding(SIGNED, Quantizer((0.05,), 2, -64, 63), outside=True),
    **{mode.value: Encoding(SIGNED, Quantizer((0.33,), 1, -9, 9, rounding=mode)) for mode in Rounding},
}


def _graph(encoding: Encoding) -> Graph:
    kind = (encoding.quantizer or encoding.input).type
    b = Builder(SHAPE, kind.bits, signed=kind.signed)
    return replace(b.graph(b.threshold(b.input)), encoding=encoding)


def _encoder(encoding: Encoding, axes: str = "NHWC") -> Encoder:
    return Encoder(json.loads(json.dumps(facts_of(serial(_graph(encoding)), axes=axes)["input"])))


@pytest.mark.parametrize("name", ENCODINGS)
def test_integers_and_real_values_become_the_codes_of_the_ir(name: str) -> None:
    encoding = ENCODINGS[name]
    graph, encoder = _graph(encoding), _encoder(encoding)
    integers = random_inputs(encoding, (20, *SHAPE))
    values = host_values(graph, integers)
    noisy = (values + np.random.default_rng(1).normal(0, 0.2, values.shape)).astype(np.float32)
    given = [integers, integers.astype(np.int32), values]
    if encoding.quantizer is not None or encoding.input.rounds:
        given.append(noisy)
    for images in given:
        np.testing.assert_array_equal(encoder.codes(images), encode(graph, images), err_msg=str(images.dtype))


@pytest.mark.parametrize("axes", ["NCHW", "NHWC"])
def test_images_come_in_the_networks_axes_or_channels_last(axes: str) -> None:
    encoding = ENCODINGS["pixels of 4 bits"]
    graph, encoder, layout = _graph(encoding), _encoder(encoding, axes), Layout(axes, SHAPE)
    images = random_inputs(encoding, (6, *SHAPE))
    codes = encode(graph, images)
    own = layout.from_ir(images)
    for given in (own, images, own.reshape(6, -1)):
        np.testing.assert_array_equal(encoder.codes(given), codes)


@pytest.mark.parametrize(
    ("name", "images", "message"),
    [
        (
            "pixels",
            np.zeros((2, 3, 3), np.uint8),
            "images of shape (2, 3, 3); the network takes (frames, *(3, 4, 5) (CHW))",
        ),
        (
            "pixels",
            np.zeros((2, 3, 4, 5), "U1"),
            "images of type <U1; give integers of the input's type, or float32 values",
        ),
        ("pixels", np.full((2, 3, 4, 5), 256), "images reach 256..256; the input takes 0..255"),
        ("few pixels", np.full((2, 3, 4, 5), 16, np.uint8), "images reach 16..16; the input takes 0..15"),
        ("signed", np.full((1, 3, 4, 5), np.nan, np.float32), "the images hold NaN or infinity"),
        ("bipolar", np.zeros((1, 3, 4, 5), np.int8), "images hold 0; the input takes -1 and +1"),
        (
            "exact",
            np.full((1, 3, 4, 5), 0.06, np.float32),
            "real values that are no integers * [0.125] + [0.], and the network rounds none",
        ),
    ],
)
def test_what_the_network_cannot_read_is_refused_in_one_line(name: str, images: np.ndarray, message: str) -> None:
    """By the driver as by the toolchain."""
    with pytest.raises(BoardError) as error:
        _encoder(ENCODINGS[name], "NCHW").codes(images)
    assert str(error.value) == message
    if images.ndim == 4 and images.dtype.kind != "U":
        with pytest.raises(UserError):
            encode(_graph(ENCODINGS[name]), Layout("NCHW", SHAPE).to_ir(images))
