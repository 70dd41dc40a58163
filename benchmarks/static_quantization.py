"""Float networks through onnxruntime's static quantization, every format and type, and through this project.

    python -m benchmarks static_quantization [--only NAME ...] [--images N]

Eight small networks, seeded, are quantized as Q/DQ and as QOperator, a scale a channel, with uint8 or int8 activations
and int8 weights. A row a file: codes of the integer network that differ from onnxruntime's run of the unmodified file
without graph optimizations (all of them at float32's ties, else the run fails), values of the whole network's output
that differ from it, those that the C simulations of both architectures get wrong, or why the engine does not run it,
and values that onnxruntime itself changes with its default optimizations.
"""

from __future__ import annotations

import argparse
import tempfile
import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

from benchmarks.common import print_rows, timed
from benchmarks.recorder import Row
from benchmarks.schemas import STATIC_QUANTIZATION
from toolchain.engine.cut import refusals
from toolchain.flow.options import Check, Search
from toolchain.flow.stages import export
from toolchain.frontend.agreement import compare
from toolchain.frontend.read import read_qonnx
from toolchain.ir.encode import decode, encode
from toolchain.ir.evaluate import evaluate
from toolchain.lowering.pipeline import to_integer

FORMATS = {"QDQ": QuantFormat.QDQ, "QOperator": QuantFormat.QOperator}
TYPES = {"U8S8": QuantType.QUInt8, "S8S8": QuantType.QInt8}
COLUMNS = {
    "network": "network",
    "format": "format",
    "types": "types",
    "codes": "codes",
    "ties": "at ties",
    "outputs": "outputs",
    "outputs_apart": "apart",
    "csim_mismatches": "C-sim",
    "engine_mismatches": "engine",
    "engine_refused": "refused",
    "ort_default_apart": "by ORT's defaults",
    "fps": "fps",
    "seconds": "s",
}


class FloatNet:
    """A float ONNX graph under construction: ``x`` is the tensor made last, of ``channels``."""

    def __init__(self, *shape: int, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.shape, self.x, self.channels = shape, "x", shape[0]
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[TensorProto] = []

    def const(self, array: np.ndarray | np.floating) -> str:
        """An initializer."""
        name = f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(array), name))
        return name

    def add(self, op: str, *inputs: str, **attributes: Any) -> str:
        """A node."""
        name = f"t{len(self.nodes)}"
        self.nodes.append(
            helper.make_node(op, list(inputs) or [self.x], [name], f"{op}_{len(self.nodes)}", **attributes)
        )
        self.x = name
        return name

    def weight(self, *shape: int) -> str:
        """He's initialization."""
        spread = np.sqrt(2 / np.prod(shape[1:]))
        return self.const(self.rng.normal(0, spread, shape).astype(np.float32))

    def conv(self, channels: int, kernel: int = 3, stride: int = 1, group: int = 1) -> str:
        """A convolution with a bias."""
        axes = len(self.shape) - 1
        weight = self.weight(channels, self.channels // group, *[kernel] * axes)
        bias = self.const(self.rng.normal(0, 0.1, channels).astype(np.float32))
        facts = {"kernel_shape": [kernel] * axes, "strides": [stride] * axes, "pads": [kernel // 2] * (2 * axes)}
        self.channels = channels
        return self.add("Conv", self.x, weight, bias, group=group, **facts)

    def classify(self, classes: int = 10) -> str:
        """The mean, and a linear layer."""
        self.add("Flatten", self.add("GlobalAveragePool"))
        bias = self.const(self.rng.normal(0, 0.1, classes).astype(np.float32))
        return self.add("Gemm", self.x, self.weight(classes, self.channels), bias, transB=1)

    def save(self, path: Path) -> None:
        """Write the graph, whose output is ``x``."""
        graph = helper.make_graph(
            self.nodes,
            "float",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, (1, *self.shape))],
            [helper.make_tensor_value_info(self.x, TensorProto.FLOAT, None)],
            self.constants,
        )
        onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), path)


def plain() -> FloatNet:
    """Convolutions, maxima, two linear layers."""
    net = FloatNet(1, 16, 16, seed=1)
    for channels in (8, 12):
        net.add("Relu", net.conv(channels))
        net.add("MaxPool", kernel_shape=[2, 2], strides=[2, 2])
    net.add("Flatten")
    for outputs, inputs in ((24, 192), (10, 24)):
        bias = net.const(net.rng.normal(0, 0.1, outputs).astype(np.float32))
        net.add("Gemm", net.x, net.weight(outputs, inputs), bias, transB=1)
        if outputs == 24:
            net.add("Relu")
    return net


def residual() -> FloatNet:
    """Blocks whose input is added, one of them behind a convolution."""
    net = FloatNet(3, 16, 16, seed=2)
    net.add("Relu", net.conv(8))
    for channels, stride in ((8, 1), (16, 2)):
        start, before = net.x, net.channels
        net.add("Relu", net.conv(channels, 3, stride))
        body = net.conv(channels)
        if stride > 1:
            net.x, net.channels = start, before
            start = net.conv(channels, 1, stride)
        net.add("Relu", net.add("Add", body, start))
    net.classify()
    return net


def mobile() -> FloatNet:
    """Inverted residuals: pointwise, by channel, pointwise; clipped at 6."""
    net = FloatNet(3, 16, 16, seed=3)

    def relu6() -> None:
        net.add("Clip", net.x, net.const(np.float32(0)), net.const(np.float32(6)))

    net.conv(8, 3, 2)
    relu6()
    for channels, stride in ((8, 1), (12, 2)):
        start = net.x
        net.conv(4 * net.channels, 1)
        relu6()
        net.conv(net.channels, 3, stride, group=net.channels)
        relu6()
        net.conv(channels, 1)
        if stride == 1:
            net.add("Add", net.x, start)
    net.classify()
    return net


def gated() -> FloatNet:
    """MobileNetV3's blocks: hard swish, squeeze and excite by hard sigmoids behind a filter by channel."""
    net = FloatNet(3, 16, 16, seed=9)

    def hard_swish(x: str) -> str:
        return net.add("Mul", x, net.add("HardSigmoid", x, alpha=1 / 6))

    hard_swish(net.conv(8, 3, 2))
    for channels, stride in ((8, 1), (12, 2)):
        start = net.x
        hard_swish(net.conv(4 * net.channels, 1))
        excited = hard_swish(net.conv(net.channels, 3, stride, group=net.channels))
        inner = net.channels
        net.add("GlobalAveragePool")
        net.add("Relu", net.conv(8, 1))
        net.conv(inner, 1)
        net.add("Mul", excited, net.add("HardSigmoid", net.x, alpha=1 / 6))
        net.conv(channels, 1)
        if stride == 1:
            net.add("Add", net.x, start)
    net.classify()
    return net


def branches() -> FloatNet:
    """Branches of several kernels and a mean, joined."""
    net = FloatNet(3, 12, 12, seed=4)
    net.add("Relu", net.conv(8))
    for _ in range(2):
        start, before, parts = net.x, net.channels, []
        for kernel in (1, 3, 5):
            net.x, net.channels = start, before
            parts.append(net.add("Relu", net.conv(4, kernel)))
        net.x, net.channels = start, before
        parts.append(net.add("AveragePool", start, kernel_shape=[3, 3], pads=[1] * 4, count_include_pad=1))
        net.channels = 12 + before
        net.add("Concat", *parts, axis=1)
    net.classify()
    return net


def dense() -> FloatNet:
    """Dense blocks, whose layers read all maps before them, a transition and maxima of joined maps."""
    net = FloatNet(3, 16, 16, seed=7)
    net.add("Relu", net.conv(6))
    for _ in range(2):
        for _ in range(3):
            start, before = net.x, net.channels
            new = net.add("Relu", net.conv(5))
            net.channels = before + 5
            net.add("Concat", start, new, axis=1)
        net.add("MaxPool", kernel_shape=[3, 3], strides=[2, 2], pads=[1] * 4)
        net.add("Relu", net.conv(net.channels // 2, 1))
        net.add("AveragePool", kernel_shape=[2, 2], strides=[2, 2])
    net.classify()
    return net


def detector() -> FloatNet:
    """A detector with SiLU: cross-stage blocks with a sum of branches, a coarse map joined with a finer one."""
    net = FloatNet(3, 16, 16, seed=8)

    def silu(channels: int, kernel: int = 3, stride: int = 1) -> str:
        return net.add("Mul", net.conv(channels, kernel, stride), net.add("Sigmoid"))

    def block(channels: int) -> str:
        """Half of the channels through two more convolutions, whose result is added, and joined with the others."""
        start, before = net.x, net.channels
        side = silu(channels // 2, 1)
        net.x, net.channels = start, before
        inner = silu(channels // 2, 1)
        silu(channels // 2, 1)
        net.add("Concat", net.add("Add", inner, silu(channels // 2)), side, axis=1)
        net.channels = channels
        return silu(channels, 1)

    silu(8)
    silu(12, 3, 2)
    fine = block(12)
    silu(16, 3, 2)
    sizes = net.const(np.array([1, 1, 2, 2], dtype=np.float32))
    up = net.add("Resize", net.x, "", sizes, mode="nearest", nearest_mode="floor",
                 coordinate_transformation_mode="asymmetric")  # fmt: skip
    net.add("Concat", up, fine, axis=1)
    net.channels += 12
    block(12)
    net.conv(18, 1)
    return net


def segmenter() -> FloatNet:
    """A U-net: down, up by nearest neighbours, joined with what was left above; a map of classes."""
    net = FloatNet(3, 16, 16, seed=5)
    top = net.add("Relu", net.conv(6))
    net.add("MaxPool", kernel_shape=[2, 2], strides=[2, 2])
    net.add("Relu", net.conv(12))
    sizes = net.const(np.array([1, 1, 2, 2], dtype=np.float32))
    up = net.add("Resize", net.x, "", sizes, mode="nearest", nearest_mode="floor",
                 coordinate_transformation_mode="asymmetric")  # fmt: skip
    net.add("Concat", top, up, axis=1)
    net.channels = 18
    net.add("Relu", net.conv(8))
    net.conv(4, 1)
    return net


def signals() -> FloatNet:
    """A network of signals: convolutions along one axis, leaky."""
    net = FloatNet(2, 64, seed=6)
    for channels in (8, 16):
        net.conv(channels, 5, 2)
        net.add("LeakyRelu", alpha=0.1)
    net.classify(4)
    return net


NETWORKS: dict[str, Callable[[], FloatNet]] = {
    made.__name__: made for made in (plain, residual, mobile, gated, branches, dense, detector, segmenter, signals)
}


class Calibration(CalibrationDataReader):  # type: ignore[misc]
    """Sixteen random inputs."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        rng = np.random.default_rng(0)
        self._rows = iter([{"x": rng.random((1, *shape), dtype=np.float32)} for _ in range(16)])

    def get_next(self) -> dict[str, np.ndarray] | None:
        """The next of them."""
        return next(self._rows, None)


def files(name: str, folder: Path) -> Iterator[tuple[str, str, Path]]:
    """The network ``name`` in every format and type."""
    net = NETWORKS[name]()
    net.save(folder / "float.onnx")
    for form, quant_format in FORMATS.items():
        for types, activation in TYPES.items():
            path = folder / f"{name}_{form}_{types}.onnx"
            quantize_static(folder / "float.onnx", path, Calibration(net.shape), quant_format=quant_format,
                            per_channel=True, activation_type=activation, weight_type=QuantType.QInt8)  # fmt: skip
            yield form, types, path


def outputs(path: Path, x: np.ndarray, level: onnxruntime.GraphOptimizationLevel) -> np.ndarray:
    """onnxruntime's run of the file, image by image."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = level
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return np.concatenate([session.run(None, {"x": row[None]})[0] for row in x])


def row_of(path: Path, images: int) -> Row:
    """Run one file and return its row."""
    model = read_qonnx(path)
    integer = to_integer(model.graph)
    values = np.random.default_rng(1).random((images, *model.layout.shape), dtype=np.float32)
    found = compare(model, integer, values)
    x = model.layout.from_ir(values)
    levels = onnxruntime.GraphOptimizationLevel
    theirs = outputs(path, x, levels.ORT_DISABLE_ALL)
    fused = outputs(path, x, levels.ORT_ENABLE_ALL)
    real = decode(integer.outputs[0], evaluate(integer, encode(integer, values))[integer.output])
    ours = model.output_layout(model.output).from_ir(real).reshape(theirs.shape)
    size = np.abs(theirs).max()
    with tempfile.TemporaryDirectory() as name:
        np.save(Path(name) / "x.npy", values)
        check = Check(images=Path(name) / "x.npy", qonnx_images=0, count=0)
        search = Search(time_limit=60, architecture="streaming")
        report, spent = timed(lambda: export(path, Path(name) / "build", search, check))
        refused, mismatches = "; ".join(f"{where}: {why}" for where, why in refusals(integer)), None
        if not refused:
            engine = export(path, Path(name) / "engine", replace(search, architecture="engine"), check)
            mismatches = engine.verification.csim_mismatches
    return {
        "operations": " ".join(sorted({node.op_type for node in onnx.load(path).graph.node} - {"Constant"})),
        "images": images,
        "codes": found.codes,
        "ties": found.mismatches,
        "furthest_from_a_tie_of_float32_error": round(found.worst, 3),
        "outputs": theirs.size,
        "outputs_apart": int((np.abs(ours - theirs) > 1e-6 * size).sum()),
        "csim_mismatches": report.verification.csim_mismatches,
        "engine_mismatches": mismatches,
        "engine_refused": refused,
        "ort_default_apart": int((np.abs(fused - theirs) > 1e-6 * size).sum()),
        "fps": round(report.estimate.fps),
        "seconds": round(spent.cpu, 1),
    }


def main() -> int:
    """Run the networks, write the rows; 1 where a C simulation is wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="*", default=list(NETWORKS), choices=list(NETWORKS))
    parser.add_argument("--images", type=int, default=64)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as name:
        for network in arguments.only:
            for form, types, path in files(network, Path(name)):
                rows.append({"network": network, "format": form, "types": types} | row_of(path, arguments.images))
                print(*(str(rows[-1][key]) for key in COLUMNS), sep=" | ", flush=True)
    STATIC_QUANTIZATION.record(*rows)
    print_rows("onnxruntime's static quantization", rows, COLUMNS)
    return int(any(row["csim_mismatches"] or row["engine_mismatches"] for row in rows))


if __name__ == "__main__":
    raise SystemExit(main())
