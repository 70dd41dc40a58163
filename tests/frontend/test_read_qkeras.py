"""A file that qonnx 0.4.0 made of a network of QKeras 0.9.0 (TensorFlow 2.15.1, tf2onnx 1.16.1), seeded, not trained.

Convolutions of 4-bit weights with biases, quantized_relu, a pool, a batch normalization, a dense layer and a Softmax;
pictures (N, 12, 12, 1), which tf2onnx reshapes instead of transposing. The converter leaves out the QActivation in
front of the first layer. ``data/qkeras.npz`` holds pictures and the probabilities that Keras gave.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from toolchain.flow.coverage import check
from toolchain.flow.inputs import chosen_encoding
from toolchain.frontend.agreement import compare
from toolchain.frontend.execute import execute_qonnx
from toolchain.frontend.read import read_qonnx
from toolchain.ir.input_types import parse_input
from toolchain.lowering.pipeline import to_integer

DATA = Path(__file__).parent / "data"
INPUT = parse_input("int8:1/128")


def test_a_network_of_qkeras_is_exact_and_gives_what_keras_gave() -> None:
    path = DATA / "qkeras.onnx"
    assert check(path, INPUT).supported
    with np.load(DATA / "qkeras.npz") as stored:
        x = np.clip(np.rint(stored["x"] * 128), -127, 127).astype(np.float32) / 128  # as the QActivation rounded
        (found,) = execute_qonnx(path, x).values()
        np.testing.assert_allclose(found, stored["y"], rtol=0, atol=1e-6)  # Softmax in float32
    model = read_qonnx(path)
    agreement = compare(model, to_integer(model.graph, chosen_encoding(model, INPUT)[0]), model.layout.to_ir(x))
    assert (agreement.codes, agreement.mismatches) == (7488, 0)
