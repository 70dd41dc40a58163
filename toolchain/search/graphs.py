"""The integer graph of a network's passes, with seeded weights: what the explorer of streaming designs plans for."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import floor, log2

import numpy as np

from toolchain.engine.layers import Cut, Pass, Sliding
from toolchain.ir.graph import Graph, Output
from toolchain.ir.ops.add import Add
from toolchain.ir.ops.node import Node
from toolchain.ir.ops.pools import GlobalSum
from toolchain.ir.ops.products import Depthwise, MatVec
from toolchain.ir.ops.requantizers import MulShift
from toolchain.ir.ops.window import Window
from toolchain.ir.types import Array, Encoding, InputType, QInt, Shape, Value
from toolchain.search.network import Network
from toolchain.search.passes import Task, cut_of

_FACTOR_BITS = 16
"""Bits of every requantizer's factors, whatever the weights' bits; they spread random sums over the codes."""


def graph_of(network: Network, task: Task) -> Graph:
    """The INTEGER graph of ``network``: its real shapes and bits; the weights, and so the answers, mean nothing."""
    return _Build(network, task, cut_of(network, task)).run()


@dataclass
class _Build:
    network: Network
    task: Task
    cut: Cut
    nodes: list[Node] = field(default_factory=list)
    values: dict[str, Value] = field(default_factory=dict)

    def run(self) -> Graph:
        self.rng = np.random.default_rng(0)
        first = Value("input", self.task.shape(self.network), QInt(self.task.input_bits, False))
        self.values["input"] = first
        for index, p in enumerate(self.cut.passes):
            self._pass(p, folded=self.cut.folded and index == 0)
        encoding = Encoding(InputType(first.qint.min, first.qint.max))
        outputs = (Output("answer", self.nodes[-1].output.name),)
        return Graph(name="network", input=first, nodes=tuple(self.nodes), outputs=outputs, encoding=encoding)

    def _pass(self, p: Pass, *, folded: bool) -> None:
        x = self.values[p.source]
        if p.conv is not None:
            x = self._convolution(p, x, folded=folded)
            if p.first is not None:
                x = self._quantized(x, p.weights // len(p.conv.weight))
        if p.window is not None:
            x = self._window(p.window, x)
        if p.merge is not None:
            x = self._quantized(self._add(Add, (x, self.values[p.merge.residual]), x.shape), 2, alike=True)
        self.values[p.result] = x

    def _convolution(self, p: Pass, x: Value, *, folded: bool) -> Value:
        assert p.conv is not None
        kernel, stride, pads = p.conv.kernel, p.conv.stride, p.conv.pads
        if folded:
            step = self.network.blocks.stem_stride
            kernel, stride, pads = (3, 3), (step, step), (1, 1, 1, 1)
        if kernel != (1, 1) or stride != (1, 1):
            shape = (*p.middle[:2], kernel[0] * kernel[1] * x.shape[2])
            x = self._add(Window, (x,), shape, kernel=kernel, stride=stride, pads=pads)
        weight, kind = self._weights((len(p.conv.weight), x.shape[2]), p.conv.weight)
        return self._add(MatVec, (x,), (*p.middle[:2], len(weight)), weight=weight, weight_type=kind)

    def _window(self, window: Sliding, x: Value) -> Value:
        height, width, channels = x.shape
        if window.weight is None:
            return self._quantized(self._add(GlobalSum, (x,), (1, 1, channels)), height * width, alike=True)
        k, stride = window.kernel, window.stride
        out = (-(-height // stride), -(-width // stride))
        facts = {"kernel": (k, k), "stride": (stride, stride), "pads": (k // 2,) * 4}
        taps = self._add(Window, (x,), (*out, k * k * channels), **facts)
        weight, kind = self._weights((k * k, channels), window.weight)
        return self._quantized(self._add(Depthwise, (taps,), (*out, channels), weight=weight, weight_type=kind), k * k)

    def _weights(self, shape: tuple[int, int], view: Array) -> tuple[Array, QInt]:
        most = int(view.flat[0])
        return self.rng.integers(-most, most + 1, shape, dtype=np.int64), QInt(most.bit_length() + 1, True)

    def _quantized(self, x: Value, terms: int, *, alike: bool = False) -> Value:
        """Codes of the activations' bits of sums of ``terms``; one factor for all channels where they are ``alike``."""
        kind, count = QInt(self.network.act_bits, False), 1 if alike else x.shape[2]
        scale = kind.max * terms**0.5 / max(x.qint.max, 1)
        shift = max(0, _FACTOR_BITS - 1 - floor(log2(scale)))
        top = scale * 2**shift
        mul = self.rng.integers(int(top / 2) + 1, int(top) + 2, count, dtype=np.int64)
        add = self.rng.integers(0, 1 << shift, count, dtype=np.int64)
        return self._add(MulShift, (x,), x.shape, mul=mul, add=add, shift=shift, low=kind.min, high=kind.max)

    def _add(self, op: type[Node], inputs: tuple[Value, ...], shape: Shape, **facts: object) -> Value:
        name = f"{op.__name__.lower()}{len(self.nodes)}"
        draft = op(  # type: ignore[call-arg]
            name=name,
            inputs=tuple(v.name for v in inputs),
            outputs=(Value(name, shape, QInt(62, True)),),
            **facts,  # type: ignore[arg-type]
        )
        self.nodes.append(draft.ranged(*inputs))
        return self.nodes[-1].output
