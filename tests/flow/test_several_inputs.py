"""Networks of several inputs: their frames are joined by the host and parted in the accelerator."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from qonnx.core.modelwrapper import ModelWrapper
from qonnx.core.onnx_exec import execute_onnx
from qonnx.transformation.infer_shapes import InferShapes

from tests.onnx_models import Array, Net
from toolchain.deploy.driver import BoardError, Encoder
from toolchain.deploy.package import deploy
from toolchain.deploy.trial import try_driver
from toolchain.errors import UserError
from toolchain.flow.build import Build
from toolchain.flow.images import read_samples
from toolchain.flow.options import Check, Search
from toolchain.flow.stages import export, lower
from toolchain.frontend.execute import execute_qonnx
from toolchain.frontend.read import read_qonnx

Shapes = dict[str, tuple[int | str, ...]]


def save(net: Net, path: Path, output: str, inputs: Shapes, kind: int = TensorProto.FLOAT) -> Path:
    """The network with ``inputs`` in place of its one."""
    model = onnx.load(net.save(path, output))
    del model.graph.input[:]
    model.graph.input.extend([helper.make_tensor_value_info(name, kind, shape) for name, shape in inputs.items()])
    onnx.save(model, path)
    return path


def branch(net: Net, name: str, scale: float) -> str:
    """A quantizer of 8 bits and a convolution of 4 channels with its own."""
    x = net.conv(net.quant(name, 8, scale), net.weight(4, 3, 3, 3), pads=[1] * 4)
    return net.quant(net.add("Relu", x), 4, 0.2, signed=0)


def stereo(path: Path, opset: int = 13) -> Path:
    """Two pictures of one size, each quantized with a scale of its own, compared and averaged."""
    net = Net((1, 1), opset=opset)
    x = net.add("Concat", branch(net, "left", 1 / 64), branch(net, "right", 1 / 50), axis=1)
    x = net.quant(net.add("Flatten", net.add("GlobalAveragePool", x)), 8, 0.03)
    return save(net, path, net.linear(x, 8, 4), {"left": (1, 3, 6, 6), "right": (1, 3, 6, 6)})


def steering(path: Path) -> Path:
    """A picture and a vector of numbers that are never negative: codes of unlike signs."""
    net = Net((1, 1))
    x = net.quant(net.add("Flatten", net.add("GlobalAveragePool", branch(net, "view", 1 / 64))), 8, 0.03)
    y = net.linear(net.quant("speed", 8, 0.3, signed=0), 5, 6)
    y = net.quant(net.add("Relu", y), 8, 1 / 16)
    x = net.add("Concat", x, y, axis=1)
    return save(net, path, net.linear(x, 10, 4), {"view": (1, 3, 5, 4), "speed": (1, 5)})


NETWORKS = {"stereo": stereo, "steering": steering}


def frames(path: Path, count: int) -> dict[str, Array]:
    """Real numbers for every input, some beyond what its quantizer holds."""
    joined, rng = read_qonnx(path).joined, np.random.default_rng(3)
    assert joined is not None
    return {name: rng.normal(0, 2, (count, *shape)).astype(np.float32) for name, shape in joined.shapes.items()}


@pytest.mark.needs_gxx
@pytest.mark.parametrize("name", NETWORKS)
def test_arrays_of_every_input_give_an_exact_build_whose_driver_takes_them_by_name(name: str, tmp_path: Path) -> None:
    path = NETWORKS[name](tmp_path / f"{name}.onnx")
    given = frames(path, 4)
    np.savez(tmp_path / "frames.npz", **given)
    check = Check(images=tmp_path / "frames.npz", qonnx_images=4)
    report = export(path, tmp_path / "build", Search(architecture="streaming", time_limit=5.0), check)
    assert (report.verification.images, report.verification.csim_mismatches) == (4, 0)
    deploy(Build(tmp_path / "build"), check)
    assert all(trial.wrong_codes == 0 for trial in try_driver(Build(tmp_path / "build")))
    encoder = Encoder(json.loads((tmp_path / "build/deploy/board/network.json").read_text())["input"])
    samples = np.load(tmp_path / "build/deploy/board/samples.npz")
    joined = encoder.joined(given)
    np.testing.assert_array_equal(encoder.codes(joined), encoder.codes(samples["images"]))
    with pytest.raises(BoardError, match="arrays of left; the network takes arrays of "):
        encoder.joined({"left": given[next(iter(given))]})
    with pytest.raises(BoardError, match=r"^images of shape \(0, .*\); the network takes \(frames, "):
        encoder.codes(encoder.joined(frames(path, 0)))


@pytest.mark.parametrize("opset", [11, 13])
@pytest.mark.parametrize("name", NETWORKS)
def test_joined_frames_give_the_outputs_of_the_file_as_it_is(name: str, opset: int, tmp_path: Path) -> None:
    path = stereo(tmp_path / "net.onnx", opset) if name == "stereo" else steering(tmp_path / "net.onnx")
    given, joined = frames(path, 3), read_qonnx(path).joined
    assert joined is not None
    model = ModelWrapper(str(path)).transform(InferShapes())
    own = [
        execute_onnx(model, {key: array[i : i + 1] for key, array in given.items()})[model.graph.output[0].name]
        for i in range(3)
    ]
    (found,) = execute_qonnx(path, joined.join(given)).values()
    np.testing.assert_allclose(found, np.concatenate(own), rtol=1e-6)  # orders of float32 sums


def test_codes_of_two_inputs_are_joined_as_codes(tmp_path: Path) -> None:
    net = Net((1, 1))
    a, b = (
        net.add("DequantizeLinear", name, net.const(s), net.const(3, np.uint8)) for name, s in (("a", 0.5), ("b", 0.3))
    )
    x = net.quant(net.add("Concat", a, b, axis=1), 8, 0.1)
    path = save(net, tmp_path / "net.onnx", net.linear(x, 7, 4), {"a": (1, 4), "b": (1, 3)}, TensorProto.UINT8)
    found = read_qonnx(path)
    assert (found.integer, found.graph.input.shape) == (True, (1, 1, 7))


def refused(tmp_path: Path, shapes: Shapes, kind: int = TensorProto.FLOAT) -> str:
    net = Net((1, 1))
    x = net.add("Concat", net.quant("a"), net.quant("b"), axis=1)
    with pytest.raises(UserError) as caught:
        read_qonnx(save(net, tmp_path / "net.onnx", x, shapes, kind))
    return str(caught.value)


def test_inputs_that_cannot_be_joined_are_refused_by_name(tmp_path: Path) -> None:
    assert "the inputs 'a', 'b' are of other numbers of frames" in refused(tmp_path, {"a": (1, 3), "b": (2, 3)})
    assert "nothing reads the input 'c'" in refused(tmp_path, {"a": (1, 3), "b": (1, 3), "c": (1, 3)})
    assert "input 'b' has the shape (1, 0)" in refused(tmp_path, {"a": (1, 3), "b": (1, "n")})


def test_arrays_that_do_not_fit_the_inputs_are_refused_by_name(tmp_path: Path) -> None:
    path = steering(tmp_path / "net.onnx")
    given, joined = frames(path, 2), read_qonnx(path).joined
    for wrong, text in (
        ({"view": given["view"]}, "arrays of the inputs 'view', the network has 'speed', 'view'"),
        (given | {"speed": given["speed"][:1]}, "give as many frames of every input"),
        (
            given | {"speed": given["view"]},
            r"the array of 'speed' has the shape \(2, 3, 5, 4\), the network takes \(N, 5\)",
        ),
        (given | {"speed": given["speed"].astype(np.int8)}, "integers for one input and real numbers for another"),
    ):
        with pytest.raises(UserError, match=text):
            read_samples(wrong, joined)
    with pytest.raises(UserError, match="arrays by name, and the network has one input"):
        read_samples(given, None)
    (tmp_path / "x.npz").write_bytes(b"PK")
    with pytest.raises(UserError, match="is no .npz file of numbers"):
        read_samples(tmp_path / "x.npz", joined)


@pytest.mark.parametrize("name", NETWORKS)
def test_a_file_without_frames_holds_no_images(name: str, tmp_path: Path) -> None:
    path = NETWORKS[name](tmp_path / "net.onnx")
    build = lower(path, tmp_path / "build")
    np.savez(tmp_path / "empty.npz", **frames(path, 0))
    with pytest.raises(UserError, match=r"^no images \[empty\.npz\]$"):
        build.images(Check(images=tmp_path / "empty.npz"))
