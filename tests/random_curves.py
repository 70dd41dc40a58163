"""Random QONNX files of smooth functions and products: in front of quantizers, or anywhere, of codes and of sums."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.random_wide import WideNet

SINCE = {"Celu": 12, "HardSwish": 14, "Mish": 18, "Gelu": 20}
"""Opsets of functions that the first ones do not have."""
FUNCTIONS = (
    "Abs", "Celu", "Elu", "Erf", "Gelu", "HardSigmoid", "HardSwish", "Mish", "Neg", "Selu", "Sigmoid", "Softplus",
    "Softsign", "Tanh",
)  # fmt: skip


class CurveNet(WideNet):
    """Appends the same layers as WideNet, and those that this file is for."""

    def function(self, x: str) -> str:
        """A function of ``x``, as one node or as the nodes that exporters write."""
        known = [op for op in FUNCTIONS if SINCE.get(op, 1) <= self.net.opset]
        op = self.pick(*known, "SiLU", "x+3")
        if op == "SiLU":
            return self.net.add("Mul", *self.pick((x, self.net.add("Sigmoid", x)), (self.net.add("Sigmoid", x), x)))
        if op == "x+3":
            inner = self.net.add("Clip", self.net.add("Add", x, self.net.const(3.0)), *map(self.net.const, (0.0, 6.0)))
            return self.net.add("Div", self.net.add("Mul", x, inner), self.net.const(6.0))
        numbers: dict[str, Any] = {}
        if op in ("Celu", "Elu", "HardSigmoid") and self.chance(0.5):
            numbers["alpha"] = float(self.rng.uniform(0.1, 2))
        if op == "Gelu" and self.chance(0.5):
            numbers["approximate"] = "tanh"
        return self.net.add(op, x, **numbers)

    def curve(self) -> None:
        """A function, perhaps of another one or of what a batch norm gives, mostly quantized."""
        if self.chance(0.3):
            self.quant()
        elif self.chance(0.4):
            self.x = self.net.batch_norm(self.x, self.shape[0])
        self.x = self.function(self.x)
        if self.chance(0.2):
            self.elementwise()
        if self.chance(0.15):
            self.x = self.function(self.x)
        if self.chance(0.95):
            self.quant()

    def gate(self) -> None:
        """Squeeze and excite: a map times a function of its average."""
        start, shape = self.x, self.shape
        self.x = self.net.add("GlobalAveragePool", self.x)
        if self.chance(0.9):
            self.quant()
        self.x = self.net.conv(self.x, self.weight(shape[0], shape[0], 1, 1))
        self.x = self.function(self.x) if self.chance(0.8) else self.x
        if self.chance(0.9):
            self.quant()
        self.x = self.net.add("Mul", *self.pick((start, self.x), (self.x, start)))
        if self.chance(0.9):
            self.quant()

    def product(self) -> None:
        """Two branches multiplied, one of them perhaps not quantized."""
        start, shape = self.x, self.shape
        if self.chance(0.8):
            self.net_branch(shape)
        else:
            self.x = self.net.conv(self.x, self.weight(shape[0], shape[0], 1, 1))
        self.x = self.net.add("Mul", start, self.x)
        if self.chance(0.9):
            self.quant()

    def extreme(self) -> None:
        """The larger or the smaller of two branches, or of a branch and a number."""
        start, shape = self.x, self.shape
        if self.chance(0.8):
            self.net_branch(shape)
        else:
            self.x = self.net.conv(self.x, self.weight(shape[0], shape[0], 1, 1))
        other = self.net.const(self.rng.uniform(-1, 1)) if self.chance(0.1) else start
        self.x = self.net.add(self.pick("Max", "Min"), *self.pick((other, self.x), (self.x, other)))
        if self.chance(0.8):
            self.quant()


def random_curves(path: Path, seed: int) -> Path:
    """The random network of ``seed``, written to ``path``."""
    net = CurveNet(seed)
    if net.chance(0.9):
        net.quant()
    for _ in range(net.pick(1, 2, 2, 3)):
        net.pick(net.curve, net.curve, net.curve, net.gate, net.product, net.extreme, net.conv, net.sums, net.joined)()
        if net.chance(0.3):
            net.elementwise()
        if net.chance(0.7):
            net.quant()
    net.x = net.finish()
    if net.chance(0.1):
        net.x = net.function(net.x)
    if net.chance(0.1):
        net.codes_out()
    if net.chance(0.3):
        net.rename()
    return net.net.save(path, net.x)
