"""Random small networks as onnxruntime quantizes them: zero points anywhere, Q/DQ pairs or operators on codes."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

from benchmarks.static_quantization import FloatNet


class _Samples(CalibrationDataReader):  # type: ignore[misc]
    """Six samples around a mean."""

    def __init__(self, shape: tuple[int, ...], mean: float, seed: int) -> None:
        rng = np.random.default_rng(seed)
        self._rows = iter([{"x": rng.normal(mean, 1, (1, *shape)).astype(np.float32)} for _ in range(6)])

    def get_next(self) -> dict[str, np.ndarray] | None:
        """The next of them."""
        return next(self._rows, None)


def random_static(path: Path, seed: int) -> Path:
    """Write the quantized network of ``seed`` to ``path``: convolutions, pools, sums, joined maps, gates, products."""
    rng, source = random.Random(seed), path.with_name(f"float{seed}.onnx")
    net = _network(rng, seed)
    net.save(source)
    quantize_static(
        source,
        path,
        _Samples(net.shape, rng.choice([0, 0.5, 3]), seed),
        quant_format=rng.choice([QuantFormat.QDQ, QuantFormat.QOperator]),
        per_channel=rng.random() < 0.7,
        activation_type=rng.choice([QuantType.QUInt8, QuantType.QInt8]),
        weight_type=QuantType.QInt8,
    )
    return path


def _network(rng: random.Random, seed: int) -> FloatNet:
    net = FloatNet(rng.choice([1, 3, 5]), rng.choice([8, 9, 12]), rng.choice([8, 10, 12]), seed=seed)
    net.conv(rng.choice([5, 8, 13]), rng.choice([1, 3, 5]), rng.choice([1, 1, 2]))
    _bend(net, rng)
    for _ in range(rng.randint(1, 4)):
        _append(
            net,
            rng,
            rng.choice(["conv", "conv", "depthwise", "max", "mean", "sum", "join", "join", "dense", "gate", "product"]),
        )
    if rng.random() < 0.8:
        net.classify(rng.choice([4, 10]))
    else:
        net.conv(4, 1)
    return net


def _bend(net: FloatNet, rng: random.Random) -> None:
    kind = rng.choice(["Relu", "Relu", "LeakyRelu", "Clip", "SiLU", ""])
    if kind == "SiLU":
        net.add("Mul", net.x, net.add("Sigmoid"))
    elif kind == "Clip":
        net.add("Clip", net.x, net.const(np.float32(0)), net.const(np.float32(rng.choice([1, 6]))))
    elif kind:
        net.add(kind, **({"alpha": 0.1} if kind == "LeakyRelu" else {}))


def _append(net: FloatNet, rng: random.Random, kind: str) -> None:
    start, before = net.x, net.channels
    if kind == "max":
        padded = {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1] * 4}
        net.add("MaxPool", **(padded if rng.random() < 0.5 else {"kernel_shape": [2, 2]}))
        return
    if kind == "mean":
        net.add("AveragePool", kernel_shape=[2, 2], strides=[rng.choice([1, 2])] * 2)
        return
    if kind == "gate":
        net.add("GlobalAveragePool")
        net.conv(rng.choice([3, 8]), 1)
        net.add("Relu")
        net.conv(before, 1)
        net.add("Mul", start, net.add(rng.choice(["Sigmoid", "HardSigmoid"])))
        return
    if kind == "depthwise":
        net.conv(before, 3, rng.choice([1, 2]), group=before)
    elif kind == "conv":
        net.conv(rng.choice([4, 7, 12, 16]), rng.choice([1, 3]), rng.choice([1, 1, 2]))
    else:
        net.conv(rng.choice([3, 5, 6, 10]), rng.choice([1, 3]))
    _bend(net, rng)
    if kind in ("sum", "product"):
        net.add("Add" if kind == "sum" else "Mul", net.conv(before, 3), start)
        _bend(net, rng)
    elif kind in ("join", "dense"):
        part, channels = net.x, net.channels
        net.x, net.channels = start, before
        if kind == "join":
            net.conv(rng.choice([4, 9]), 3)
            _bend(net, rng)
        net.add("Concat", part, net.x, axis=1)
        net.channels += channels
