"""The fast executor gives the numbers of the QONNX executor, and that one gives qonnx's own on the file as it is."""

from __future__ import annotations

import os
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from qonnx.core.modelwrapper import ModelWrapper
from qonnx.core.onnx_exec import execute_onnx
from qonnx.util.cleanup import cleanup_model

from tests.onnx_models import NETS, Net, conv_bn_relu, flatten_linear
from toolchain.deploy import driver
from toolchain.errors import UserError
from toolchain.frontend import execute
from toolchain.frontend.execute import execute_qonnx, execute_reference
from toolchain.frontend.onnx_file import load_onnx
from toolchain.frontend.standard_onnx import NotStandard, folded_model


def inputs(path: Path, images: int) -> np.ndarray:
    """Random input data for ``path``."""
    return np.random.default_rng(1).normal(0, 1, (images, *load_onnx(path).shape[1:])).astype(np.float32)


def all_tensors(path: Path) -> list[str]:
    """Every float tensor that depends on the input."""
    file = load_onnx(path)
    nodes = folded_model(file, [file.output], standard=False, batch=1).graph.node
    indices = ("Shape", "Gather", "Unsqueeze", "Concat") if any(n.op_type == "Shape" for n in nodes) else ()
    return [n.output[0] for n in nodes if n.op_type not in indices]


@pytest.mark.parametrize("build", NETS, ids=lambda build: build.__name__)
def test_onnxruntime_gives_the_numbers_of_the_qonnx_executor(build: Callable[[Path], Path], tmp_path: Path) -> None:
    path = build(tmp_path / "net.onnx")
    taps = all_tensors(path)
    x = inputs(path, 6)
    fast, slow = execute_qonnx(path, x, taps), execute_reference(path, x, taps)
    assert list(fast) == list(slow)
    assert set(fast) == {*taps, load_onnx(path).output}
    for name in fast:
        np.testing.assert_array_equal(fast[name], slow[name], err_msg=name, strict=True)


@pytest.mark.parametrize("build", NETS, ids=lambda build: build.__name__)
def test_folding_keeps_what_qonnx_computes_on_the_whole_file(build: Callable[[Path], Path], tmp_path: Path) -> None:
    path = build(tmp_path / "net.onnx")
    x = inputs(path, 1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = execute_onnx(*_cleaned(path, x))
    (result,) = execute_reference(path, x).values()
    np.testing.assert_array_equal(result, next(iter(expected.values())))


def _cleaned(path: Path, x: np.ndarray) -> tuple[ModelWrapper, dict[str, np.ndarray]]:
    """The file after qonnx's own clean-up, with the attributes and bias shapes that qonnx insists on."""
    model = onnx.load(path)
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1
    constants = {c.name: c for c in model.graph.initializer}
    for node in model.graph.node:
        present = {attribute.name for attribute in node.attribute}
        for key, value in (("signed", 1), ("narrow", 0), ("rounding_mode", "ROUND")):
            if node.op_type == "Quant" and key not in present:
                node.attribute.append(onnx.helper.make_attribute(key, value))
        if node.op_type == "Quant":
            node.domain = "qonnx.custom_op.general"
        if node.op_type == "Conv" and len(node.input) == 3:
            bias = onnx.numpy_helper.to_array(constants[node.input[2]])
            full = np.broadcast_to(bias, 5).astype(np.float32)
            constants[node.input[2]].CopyFrom(onnx.numpy_helper.from_array(full, node.input[2]))
    cleaned = cleanup_model(ModelWrapper(model))
    return cleaned, {cleaned.graph.input[0].name: x}


@pytest.mark.parametrize("rounding", ["UP", "DOWN", "ROUND_TO_ZERO", "HALF_UP", "HALF_DOWN"])
def test_other_rounding_modes_run_in_the_qonnx_executor(rounding: str, tmp_path: Path) -> None:
    net = Net((1, 50))
    path = net.save(tmp_path / "net.onnx", net.quant("x", 8, 0.25, rounding_mode=rounding))
    file = load_onnx(path)
    with pytest.raises(NotStandard):
        folded_model(file, [file.output], standard=True, batch=None)
    x = np.arange(-25, 25, dtype=np.float32).reshape(1, 50) / 8
    steps: dict[str, Callable[[np.ndarray], np.ndarray]] = {
        "UP": lambda v: np.sign(v) * np.ceil(np.abs(v)),
        "DOWN": np.trunc,
        "ROUND_TO_ZERO": np.trunc,  # as Brevitas calls it, and the executor does not
        "HALF_UP": lambda v: np.sign(v) * np.floor(np.abs(v) + 0.5),
        "HALF_DOWN": lambda v: np.sign(v) * np.ceil(np.abs(v) - 0.5),
    }
    np.testing.assert_array_equal(execute_qonnx(path, x)["t0"], steps[rounding](x / 0.25) * 0.25)


def test_a_batch_is_the_images_one_by_one(tmp_path: Path) -> None:
    path = conv_bn_relu(tmp_path / "net.onnx")
    x = inputs(path, 7)
    together = execute_qonnx(path, x, batch=3)["t5"]
    apart = np.concatenate([execute_qonnx(path, x[i : i + 1])["t5"] for i in range(7)])
    np.testing.assert_array_equal(together, apart)


@pytest.mark.parametrize("target,allowzero", [([1, 18], 0), ([1, 18], 1), ([1, -1], 0), ([1, -1], 1)])
def test_a_hard_coded_batch_is_opened(
    target: list[int], allowzero: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    net = Net((1, 2, 3, 3), opset=14)
    x = net.add("Reshape", net.quant("x"), net.const(target, np.int64), allowzero=allowzero)
    path = net.save(tmp_path / "net.onnx", net.linear(x, 18, 4))
    calls: list[int] = []
    attempt = execute._attempt

    def counted(*arguments: Any) -> Any:
        results = attempt(*arguments)
        calls.append(len(results or ()))
        return results

    monkeypatch.setattr(execute, "_attempt", counted)
    assert execute_qonnx(path, inputs(path, 5), batch=2)[load_onnx(path).output].shape == (5, 4)
    assert calls == [3]


def test_a_graph_that_takes_no_batch_runs_image_by_image(tmp_path: Path) -> None:
    net = Net((1, 2, 3, 3))
    x = net.add("Add", net.quant("x"), net.const(np.zeros((1, 1, 1, 1))))
    x = net.add("Reshape", x, net.const([2, 9], np.int64))  # no batch axis is left
    path = net.save(tmp_path / "net.onnx", net.add("Reshape", x, net.const([1, 18], np.int64)))
    data = inputs(path, 4)
    apart = np.concatenate([execute_qonnx(path, data[i : i + 1])["t3"] for i in range(4)])
    np.testing.assert_array_equal(execute_qonnx(path, data)["t3"], apart)


@pytest.mark.parametrize("op", ["Conv", "MaxPool", "AveragePool"])
@pytest.mark.parametrize("mode", ["SAME_UPPER", "SAME_LOWER"])
def test_auto_pads_of_a_dilated_window_are_run_as_numbers(op: str, mode: str, tmp_path: Path) -> None:
    """onnxruntime refuses them or pads less; by ONNX 7 + 2 rows make 4 outputs, 6 + 1 columns 3."""
    pads = [1, 0, 1, 1] if mode == "SAME_UPPER" else [1, 1, 1, 0]
    found = []
    for name, how in (("auto", {"auto_pad": mode}), ("numbers", {"pads": pads})):
        net, facts = Net((1, 2, 7, 6), opset=19), {"strides": [2, 2], "dilations": [2, 2], **how}
        x = net.quant("x")
        x = (
            net.conv(x, net.weight(3, 2, 2, 2), **facts)
            if op == "Conv"
            else net.add(op, x, kernel_shape=[2, 2], **facts)
        )
        path = net.save(tmp_path / f"{name}.onnx", net.quant(x))
        found.append(execute_qonnx(path, inputs(path, 3), [x])[x])
    np.testing.assert_array_equal(found[0], found[1])
    assert found[0].shape[2:] == (4, 3)


def test_the_input_can_be_tapped(tmp_path: Path) -> None:
    path = flatten_linear(tmp_path / "net.onnx")
    x = inputs(path, 2)
    np.testing.assert_array_equal(execute_qonnx(path, x, ["x"])["x"], x)


def test_wrong_data_and_taps(tmp_path: Path) -> None:
    path = conv_bn_relu(tmp_path / "net.onnx")
    with pytest.raises(UserError) as caught:
        execute_qonnx(path, np.zeros((2, 3, 9, 9), dtype=np.float32))
    assert str(caught.value) == "input data of shape (2, 3, 9, 9) does not fit 'x' (N, 3, 8, 8) [net.onnx]"
    with pytest.raises(UserError, match="unknown tensor 't99'"):
        execute_qonnx(path, inputs(path, 1), ["t99"])


@pytest.mark.needs_data
def test_keyword_spotting_predictions_equal_the_published_ones() -> None:
    folder = Path(os.environ.get("FPGAFLOW_DATA", "absent"))
    data = folder / "kws" / "gscv2_mfcc_int8_1000.npz"
    if not data.is_file():
        pytest.skip("set FPGAFLOW_DATA to a folder with kws/gscv2_mfcc_int8_1000.npz")
    with np.load(data) as file:
        fields = {key: file[key] for key in file.files}
    x = fields["x"].reshape(1000, 1, 10, 49).astype(np.float32) * fields["input_scale"]
    (logits,) = execute_qonnx(folder / "models" / "kws_w3a3_mlperf_tiny_v0.7.onnx", x).values()
    # one sample has two classes with the same logit, hence not argmax
    np.testing.assert_array_equal(logits[np.arange(1000), fields["golden_pred"]], logits.max(axis=1))


@pytest.mark.parametrize(
    "code",
    [
        "import toolchain.frontend.execute",
        "import runpy, sys; runpy.run_path(sys.argv[2])['onnx_session'](sys.argv[1])",
    ],
    ids=["fpgaflow", "the driver on the board"],
)
def test_onnxruntime_tells_its_maker_of_no_model(code: str, tmp_path: Path) -> None:
    """Else its import numbers this machine in a file, outside of a CI."""
    path, home = tmp_path / "net.onnx", tmp_path / "home"
    plain = onnx.helper.make_node("Relu", ["x"], ["y"])
    ends = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, (1, 3, 8, 8)) for name in "xy"]
    graph = onnx.helper.make_graph([plain], "net", ends[:1], ends[1:])
    versions = {"opset_imports": [onnx.helper.make_opsetid("", 17)], "ir_version": 9}
    onnx.save(onnx.helper.make_model(graph, **versions), path)
    home.mkdir()
    usual = {name: value for name, value in os.environ.items() if name in ("PATH", "PYTHONPATH", "LD_LIBRARY_PATH")}
    known = usual | {"HOME": str(home), "TMPDIR": str(home)}
    command = [sys.executable, "-W", "ignore", "-c", code, str(path), str(Path(driver.__file__))]
    subprocess.run(command, check=True, env=known, cwd=Path(__file__).parents[2])
    assert not [*home.glob(".ses"), *home.glob(".cache/Microsoft")]
