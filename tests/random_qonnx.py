"""Random small QONNX files: every operation the reader knows, any bits and scales, sensible or not."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tests.onnx_models import Net
from tests.verdicts import lowered
from toolchain.errors import UserError
from toolchain.frontend.agreement import Agreement, compare
from toolchain.frontend.read import ModelFile
from toolchain.ir.encode import random_inputs
from toolchain.ir.graph import Graph

ROUNDINGS = ("ROUND", "ROUND", "ROUND", "FLOOR", "CEIL", "HALF_EVEN")


class RandomNet:
    """Appends random layers to a QONNX graph; ``shape`` is (C, H, W) of the tensor ``x``, or (F,) once flattened."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.shape: tuple[int, ...] = (self.pick(1, 2, 3, 4, 6), self.pick(1, 4, 5, 7), self.pick(3, 4, 6))
        self.net = Net((self.pick(1, "N"), *self.shape), seed=seed, opset=self.pick(13, 13, 17))
        self.x = "x"

    def pick(self, *choices):
        """One of ``choices``."""
        return choices[int(self.rng.integers(len(choices)))]

    def chance(self, probability: float) -> bool:
        """True with this probability."""
        return bool(self.rng.random() < probability)

    def scale(self, low: float, high: float, channels: int | None = None) -> np.ndarray:
        """A power of two or any float32, one or one a channel."""
        shape = () if channels is None else (channels, *[1] * (len(self.shape) - 1))
        values = np.exp(self.rng.uniform(np.log(low), np.log(high), shape))
        return np.float32(2.0 ** np.rint(np.log2(values)) if self.chance(0.5) else values)

    def quant(self) -> None:
        """A quantizer of any kind."""
        if self.chance(0.05):
            self.x = self.net.add("BipolarQuant", self.x, self.net.const(self.scale(0.1, 1)), domain=self.net.domain)
            return
        bits, signed = self.pick(1, 2, 3, 4, 5, 6, 8, 8), self.pick(0, 1)
        zero = float(self.rng.integers(0, 4)) if self.chance(0.1) else 0.0
        zero = 0.0 if bits == 1 and signed else zero
        channels = self.shape[0] if self.chance(0.15) else None
        narrow = self.pick(0, 0, 1) if bits > 1 else 0
        scale = self.scale(0.01, 0.5, channels)
        rounding = self.pick(*ROUNDINGS)
        self.x = self.net.quant(self.x, bits, scale, zero, signed=signed, narrow=narrow, rounding_mode=rounding)

    def weight(self, *shape: int) -> str:
        """A quantized weight."""
        values = self.net.const(self.rng.normal(0, 0.4, shape))
        size = (shape[0],) + (1,) * (len(shape) - 1) if self.chance(0.5) else ()
        scale = np.float32(np.exp(self.rng.uniform(-4, -1, size)))
        if self.chance(0.5):
            scale = np.float32(2.0 ** np.rint(np.log2(scale)))
        return self.net.quant(values, self.pick(1, 2, 3, 4, 6, 8), scale, narrow=0)

    def conv(self) -> None:
        """A dense, grouped or depthwise convolution."""
        channels, h, w = self.shape
        groups = self.pick(1, 1, *[g for g in (2, 3, channels) if channels % g == 0])
        outputs = groups * self.pick(1, 2, 3)
        kernel = (self.pick(1, min(h, 2), min(h, 3)), self.pick(1, 2, min(w, 3)))
        stride, dilation = [self.pick(1, 1, 2), self.pick(1, 1, 2)], [1, self.pick(1, 1, 2)]
        spans = [(k - 1) * d + 1 for k, d in zip(kernel, dilation, strict=True)]
        if spans[1] > w:
            dilation, spans = [1, 1], list(kernel)
        pads = [int(self.rng.integers(0, s)) if self.chance(0.5) else 0 for s in (*spans, *spans)]
        weight = self.weight(outputs, channels // groups, *kernel)
        bias = self.net.const(self.rng.normal(0, 1, self.pick((outputs,), (), (1,)))) if self.chance(0.5) else ""
        attributes = {"group": groups, "strides": stride, "dilations": dilation, "pads": pads}
        self.x = self.net.conv(self.x, weight, bias=bias, **attributes)
        sizes = [(n + pads[i] + pads[i + 2] - spans[i]) // stride[i] + 1 for i, n in enumerate((h, w))]
        self.shape = (outputs, *(max(size, 1) for size in sizes))  # a window beyond the map is refused anyway

    def pool(self) -> None:
        """A maximum, an average or the global average."""
        channels, h, w = self.shape
        if self.chance(0.3):
            self.x, self.shape = self.net.add("GlobalAveragePool", self.x), (channels, 1, 1)
            return
        kernel = [self.pick(1, min(h, 2)), self.pick(1, min(w, 2), min(w, 3))]
        stride = [self.pick(1, 2), self.pick(1, 2)]
        op, attributes = self.pick(("MaxPool", {}), ("AveragePool", {"count_include_pad": 1}))
        pads = [0] * 4
        if op == "AveragePool" and self.chance(0.5):
            pads = [int(self.rng.integers(0, k)) for k in (*kernel, *kernel)]
            attributes = {"count_include_pad": self.pick(0, 0, 1)}
        self.x = self.net.add(op, self.x, kernel_shape=kernel, strides=stride, pads=pads, **attributes)
        sizes = [n + pads[i] + pads[i + 2] for i, n in enumerate((h, w))]
        self.shape = (channels, *((n - k) // s + 1 for n, k, s in zip(sizes, kernel, stride, strict=True)))

    def elementwise(self) -> None:
        """An activation, a normalization or a constant."""
        net, channels = self.net, self.shape[0]
        kind = self.pick("relu", "leaky", "prelu", "clip", "bn", "bn", "constant", "none")
        if kind == "relu":
            self.x = net.add("Relu", self.x)
        elif kind == "leaky":
            self.x = net.add("LeakyRelu", self.x, alpha=float(self.rng.choice([0.0, 0.1, 0.125, 1.5])))
        elif kind == "prelu":
            slope = self.rng.uniform(0, 1, (channels, *[1] * (len(self.shape) - 1)))
            self.x = net.add("PRelu", self.x, net.const(slope))
        elif kind == "clip":
            self.x = net.add("Clip", self.x, net.const(self.pick(0.0, -1.0)), net.const(self.rng.uniform(0.1, 6)))
        elif kind == "bn":
            self.x = net.batch_norm(self.x, channels)
        elif kind == "constant":
            value = self.rng.uniform(-2, 2, self.pick((), (channels, *[1] * (len(self.shape) - 1))))
            self.x = net.add(self.pick("Add", "Sub", "Mul", "Div"), self.x, net.const(value))

    def residual(self) -> None:
        """A branch with its own quantizer, or the tensor itself, added."""
        start, shape = self.x, self.shape
        self.net_branch(shape)
        self.x = self.net.add("Add", *self.pick((start, self.x), (self.x, start)))

    def joined(self) -> None:
        """Branches with scales of their own, or parts of the tensor, some of them changed, joined in any order."""
        start, shape = self.x, self.shape
        parts = [(start, shape)]
        if self.chance(0.5) and shape[0] > 1:
            cut = int(self.rng.integers(1, shape[0]))
            parts = [
                (self.channels(start, *ends), (ends[1] - ends[0], *shape[1:])) for ends in ((0, cut), (cut, shape[0]))
            ]
        for x, size in parts[: self.pick(1, 2)]:
            self.x, self.shape = x, size
            self.pointwise(self.pick(1, 2, 3))
            if self.chance(0.7):
                self.quant()
            if self.chance(0.5):
                self.elementwise()
            parts.append((self.x, self.shape))
        self.rng.shuffle(parts)
        self.x = self.net.add("Concat", *(x for x, _ in parts), axis=self.pick(1, -3))
        self.shape = (sum(size[0] for _, size in parts), *shape[1:])

    def channels(self, x: str, start: int, end: int) -> str:
        """Some channels of ``x``."""
        return self.net.add("Slice", x, *(self.net.const([n], np.int64) for n in (start, end, 1)))

    def pointwise(self, outputs: int) -> None:
        """A convolution of single pixels."""
        self.x = self.net.conv(self.x, self.weight(outputs, self.shape[0], 1, 1))
        self.shape = (outputs, *self.shape[1:])

    def enlarged(self) -> None:
        """A map with more positions: its own repeated, or channels made into positions."""
        channels, h, w = self.shape
        if self.chance(0.5):
            up, right = self.pick(1, 2, 3), self.pick(1, 2)
            self.x = self.net.add("Resize", self.x, "", self.net.const([1, 1, up, right]), mode="nearest")
            self.shape = (channels, h * up, w * right)
            return
        if channels % 4:
            self.pointwise(4 * self.pick(1, 2))
            if self.chance(0.3):
                self.quant()
        self.x = self.net.add("DepthToSpace", self.x, blocksize=2, mode=self.pick("DCR", "CRD"))
        self.shape = (self.shape[0] // 4, 2 * h, 2 * w)

    def net_branch(self, shape: tuple[int, ...]) -> None:
        """A pointwise convolution that keeps ``shape``, quantized."""
        if self.chance(0.8):
            self.x = self.net.conv(self.x, self.weight(shape[0], shape[0], 1, 1))
        self.quant()

    def finish(self) -> str:
        """Perhaps a flatten and a linear layer; the output."""
        if self.chance(0.7):
            size = int(np.prod(self.shape))
            self.x = self.net.add("Flatten", self.x)
            self.shape = (size,)
            if self.chance(0.9):
                bias = self.net.const(self.rng.normal(0, 1, 3))
                self.x = self.net.add("Gemm", self.x, self.weight(3, size), bias, transB=1)
        return self.x


def random_qonnx(path: Path, seed: int, *, maps: bool = True, quantized: float = 0.9) -> Path:
    """The random network of ``seed``, written to ``path``; with ``maps`` some are joined, parted and enlarged.

    The input has a quantizer with the chance ``quantized``.
    """
    net = RandomNet(seed)
    layers = [net.conv, net.conv, net.pool, net.residual, *([net.joined, net.enlarged] if maps else [])]
    if net.chance(quantized):
        net.quant()
    for _ in range(net.pick(1, 2, 3)):
        net.pick(*layers)()
        for _ in range(net.pick(0, 1, 1, 2)):
            net.elementwise()
        if net.chance(0.9):
            net.quant()
    return net.net.save(path, net.finish())


def exact_or_refused(path: Path, seed: int, images: int = 4) -> Agreement | None:
    """How the integer network agrees with the file, None where it is refused; anything else is raised."""
    found = lowered(path)
    return None if isinstance(found, UserError) else agreement(*found, seed, images)


def agreement(model: ModelFile, integer: Graph, seed: int, images: int = 4) -> Agreement:
    """How the ``integer`` network agrees with its file on random numbers."""
    rng = np.random.default_rng(seed)
    x: np.ndarray = rng.normal(0, 1, (images, *integer.input.shape)).astype(np.float32)
    if integer.encoding is not None and integer.encoding.quantizer is None:
        x = random_inputs(integer.encoding, x.shape)
    return compare(model, integer, x)
