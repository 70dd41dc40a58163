"""Random QONNX files of what is rare: sums of unlike scales, groups, many bits, Q/DQ of all types, names that meet."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
from onnx import TensorProto

from tests.random_qonnx import RandomNet

TYPES: dict[int, tuple[Any, int, int]] = {
    TensorProto.INT8: (np.int8, -128, 127),
    TensorProto.UINT8: (np.uint8, 0, 255),
    TensorProto.INT4: (ml_dtypes.int4, -8, 7),
    TensorProto.UINT4: (ml_dtypes.uint4, 0, 15),
    TensorProto.INT16: (np.int16, -(1 << 15), (1 << 15) - 1),
    TensorProto.UINT16: (np.uint16, 0, (1 << 16) - 1),
}
"""numpy's type, the least and the largest code of those that QuantizeLinear writes."""
OLD = (TensorProto.INT8, TensorProto.UINT8)
TENSORS = ("x_out", "x_0", "x_fork", "x_codes", "q", "q_align", "q_sum_out", "t:Div", "conv:scale", "int")
NODES = ("", "q", "conv", "x_0", "Quant_1", "x_fork")


class WideNet(RandomNet):
    """Appends the same layers as RandomNet, and those that this file is for."""

    def __init__(self, seed: int) -> None:
        super().__init__(seed)
        self.net.opset = self.pick(13, 17, 21, 25)
        if self.chance(0.3):
            self.shape = (8, *self.shape[1:])
            self.net.shape = (self.net.shape[0], *self.shape)

    def quant(self) -> None:
        """A quantizer of few bits, of many, or as two nodes."""
        kind = self.pick("few", "few", "few", "many", "two nodes", "two nodes")
        if kind == "few":
            super().quant()
        elif kind == "many":
            self.many_bits()
        else:
            self.two_nodes()

    def many_bits(self) -> None:
        """9 to 16 bits; a scale that leaves codes inside the range."""
        bits, signed = int(self.rng.integers(9, 17)), self.pick(0, 1)
        scale = self.scale(0.02, 0.5, self.shape[0] if self.chance(0.2) else None) * np.float32(2.0 ** (8 - bits))
        self.x = self.net.quant(self.x, bits, scale, signed=signed, narrow=self.pick(0, 0, 1))

    def two_nodes(self) -> None:
        """QuantizeLinear and DequantizeLinear, their type by zero point or output_dtype, perhaps a Clip between."""
        net = self.net
        kind = self.pick(*OLD, *OLD, *(TYPES if net.opset >= 21 else OLD))
        dtype, low, high = TYPES[kind]
        bits = (high - low).bit_length()
        scale = net.const(self.scale(0.02, 0.5) * np.float32(2.0 ** (8 - bits)))
        point = int(np.clip(self.rng.integers(-4, 12), low, high)) if self.chance(0.4) else 0
        given = [net.const(point, dtype)] if point or net.opset < 21 or self.chance(0.5) else []
        if not given and net.opset < 21:
            kind = TensorProto.UINT8
        attributes = {} if given or kind == TensorProto.UINT8 else {"output_dtype": kind}
        codes = net.add("QuantizeLinear", self.x, scale, *given, **attributes)
        if bits == 8 and self.chance(0.3):
            few = int(self.rng.integers(1, 8))
            ends = (-(1 << few - 1), (1 << few - 1) - 1) if low else (0, (1 << few) - 1)
            codes = net.add("Clip", codes, *(net.const(end, dtype) for end in ends))
        if bits == 8 and self.chance(0.25):
            codes = self.moved(codes)
        self.x = net.add("DequantizeLinear", codes, scale, *given)

    def moved(self, codes: str) -> str:
        """Codes that are only moved, or the largest of some."""
        if len(self.shape) < 3 or self.chance(0.4):
            return self.net.add("Identity", codes)
        kernel = [self.pick(1, min(size, 2)) for size in self.shape[1:]]
        return self.net.add("MaxPool", codes, kernel_shape=kernel, pads=[0, 0, kernel[0] - 1, kernel[1] - 1])

    def integer_input(self) -> None:
        """The network's input as integers, and what DequantizeLinear says that they are worth."""
        self.net.input = self.pick(*OLD)
        zero = self.net.const(self.pick(0, 5), TYPES[self.net.input][0])
        self.x = self.net.add("DequantizeLinear", self.x, self.net.const(self.scale(0.005, 0.05)), zero)

    def codes_out(self) -> None:
        """Codes as the network's output."""
        self.net.output = self.pick(*OLD)
        zero = self.net.const(self.pick(0, 3), TYPES[self.net.output][0])
        self.x = self.net.add("QuantizeLinear", self.x, self.net.const(self.scale(0.02, 0.5)), zero)

    def sums(self) -> None:
        """Two or three terms of scales of their own, added and quantized, or not, behind; most are not in front."""
        start, shape = self.x, self.shape
        terms = []
        for _ in range(self.pick(2, 2, 3)):
            self.x = start
            if not terms or self.chance(0.8):
                self.x = self.net.conv(self.x, self.weight(shape[0], shape[0], 1, 1))
            if self.chance(0.4):
                self.x = self.net.batch_norm(self.x, shape[0])
            if self.chance(0.25):
                self.quant()
            elif self.chance(0.1):
                self.x = self.net.add("Relu", self.x)
            terms.append(self.x)
        self.x = terms[0]
        for term in terms[1:]:
            self.x = self.net.add("Add", *self.pick((self.x, term), (term, self.x)))
        if self.chance(0.5):
            self.x = self.net.add("Relu", self.x)
        if self.chance(0.75):  # few codes: the search for the smallest integers looks at every step
            bits, signed = self.pick(2, 3, 3, 4), self.pick(0, 1)
            self.x = self.net.quant(self.x, bits, self.scale(0.05, 0.5), signed=signed)
        elif self.chance(0.4):
            self.quant()

    def several(self) -> None:
        """Two or three quantizers of one tensor, then joined or added."""
        start, channels = self.x, self.shape[0]
        parts = []
        for _ in range(self.pick(2, 2, 3)):
            self.x = start
            self.quant()
            parts.append(self.x)
        if self.chance(0.4):
            self.x = self.net.add("Concat", *parts, axis=1)
            self.shape = (channels * len(parts), *self.shape[1:])
            return
        self.x = parts[0]
        for part in parts[1:]:
            self.x = self.net.add("Add", self.x, part)

    def groups(self) -> None:
        """A convolution of more than one group, depthwise or not, that keeps the map."""
        channels = self.shape[0]
        groups = self.pick(*[g for g in range(1, channels + 1) if channels % g == 0])
        outputs = groups * self.pick(1, 2)
        weight = self.weight(outputs, channels // groups, 1, self.pick(1, 3))
        width = self.net.constants[self.net.nodes[-1].input[0]].shape[-1]
        self.x = self.net.conv(self.x, weight, group=groups, pads=[0, width // 2, 0, width // 2])
        self.shape = (outputs, *self.shape[1:])

    def rename(self) -> None:
        """Let names of nodes repeat or be empty, and tensors be called like what stages invent."""
        names = {}
        for node in self.net.nodes:
            if self.chance(0.5):
                node.name = self.pick(*NODES)
            if self.chance(0.2) and node.output[0] != self.x:
                free = [name for name in TENSORS if name not in names.values()]
                names |= {node.output[0]: self.pick(*free)} if free else {}
        for node in self.net.nodes:
            for tensors in (node.input, node.output):
                for i, name in enumerate(tensors):
                    tensors[i] = names.get(name, name)


def random_wide(path: Path, seed: int) -> Path:
    """The random network of ``seed``, written to ``path``."""
    net = WideNet(seed)
    layers = [net.sums, net.sums, net.sums, net.several, net.groups, net.conv, net.pool, net.joined, net.residual]
    if net.chance(0.1):
        net.integer_input()
    if net.chance(0.9):
        net.quant()
    for _ in range(net.pick(1, 2, 2, 3)):
        net.pick(*layers)()
        for _ in range(net.pick(0, 0, 1)):
            net.elementwise()
        if net.chance(0.8):
            net.quant()
    net.x = net.finish()
    if net.chance(0.15):
        net.codes_out()
    if net.chance(0.4):
        net.rename()
    return net.net.save(path, net.x, *heads(net, seed))


def heads(net: WideNet, seed: int) -> list[str]:
    """In a third of the networks one to three tensors more that are put out; drawn apart, so that layers stay."""
    rng = np.random.default_rng((seed, 1))
    depend = {"x"}
    for node in net.net.nodes:
        if depend.intersection(node.input):
            depend.update(node.output)
    inner = sorted(depend - {"x", net.x})
    if not inner or rng.random() > 1 / 3:
        return []
    return [str(name) for name in rng.choice(inner, min(len(inner), int(rng.integers(1, 4))), replace=False)]
