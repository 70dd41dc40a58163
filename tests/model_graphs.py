"""Small random MODEL-level graphs."""

from __future__ import annotations

from fractions import Fraction

import numpy as np

from toolchain.ir.graph import Graph, Output
from toolchain.ir.ops.argmax import ArgMax
from toolchain.ir.ops.maps import Reshape
from toolchain.ir.ops.model import Affine, Quantize, RealAdd, RealConv, RealPool, Relu
from toolchain.ir.ops.node import Node
from toolchain.ir.types import QInt, Quantizer, Real, Value


class ModelBuilder:
    """Appends MODEL nodes with seeded random parameters; every method returns the name of its output value.

    ``dyadic`` makes every scale a power of two, so that float64 evaluation is exact and meets real ties.
    """

    def __init__(self, shape: tuple[int, int, int], seed: int = 0, dyadic: bool = False) -> None:
        self.random = np.random.default_rng(seed)
        self.dyadic = dyadic
        self.input = Value("x", shape, Real())
        self.shapes = {"x": shape}
        self.nodes: list[Node] = []

    def scale(self, count: int, low: float = 0.02, high: float = 0.3) -> np.ndarray:
        """``count`` positive scales: powers of two, or float32 values."""
        if self.dyadic:
            return 2.0 ** self.random.integers(-5, -1, count)
        return np.float64(np.float32(self.random.uniform(low, high, count)))

    def add(self, op: type[Node], inputs: tuple[str, ...], shape: tuple[int, int, int], **attributes: object) -> str:
        name = f"{op.__name__.lower()}{len(self.nodes)}"
        value = Value(f"{name}_out", shape, Real())
        self.nodes.append(op(name=name, inputs=inputs, outputs=(value,), origin=(name,), **attributes))
        self.shapes[value.name] = shape
        return value.name

    def quant(self, x: str, bits: int, signed: bool, scale: float | None = None, zero_point: int = 0) -> str:
        kind = QInt(bits, signed)
        step = float(self.scale(1)[0]) if scale is None else scale
        return self.add(
            Quantize, (x,), self.shapes[x], quantizer=Quantizer((step,), zero_point, kind.min, kind.max), tensor=x
        )

    def bipolar(self, x: str) -> str:
        return self.add(Quantize, (x,), self.shapes[x], quantizer=Quantizer((1.0,), 0, -1, 1, bipolar=True), tensor=x)

    def relu(self, x: str) -> str:
        return self.add(Relu, (x,), self.shapes[x])

    def conv(
        self,
        x: str,
        outputs: int,
        kernel: int = 1,
        stride: int = 1,
        pad: int = 0,
        bits: int = 4,
        groups: int = 1,
        per_channel: bool = True,
        bias: bool = False,
    ) -> str:
        h, w, c = self.shapes[x]
        kind = QInt(bits, True)
        codes = self.random.integers(kind.min, kind.max + 1, (outputs, kernel, kernel, c // groups), dtype=np.int64)
        rows, columns = ((n + 2 * pad - kernel) // stride + 1 for n in (h, w))
        shift = self.scale(outputs) * self.random.integers(-9, 9, outputs) if bias else None
        return self.add(
            RealConv,
            (x,),
            (rows, columns, outputs),
            codes=codes,
            scale=self.scale(outputs if per_channel else 1),
            weight_type=kind,
            bias=shift,
            stride=(stride, stride),
            pads=(pad,) * 4,
            groups=groups,
        )

    def batchnorm(self, x: str, negative: bool = True) -> str:
        c = self.shapes[x][2]
        sign = self.random.choice([-1.0, 1.0], c) if negative else np.ones(c)
        # half-integer shifts: in float64 a sum that cancels to 0 may come out as -1e-17, on the wrong side of a tie
        scale = sign * self.scale(c, 0.3, 2.0) * (8 if self.dyadic else 1)
        return self.add(
            Affine, (x,), self.shapes[x], scale=scale, shift=self.scale(c) * (self.random.integers(-5, 6, c) + 0.5)
        )

    def affine(self, x: str, scale: float, shift: float) -> str:
        return self.add(Affine, (x,), self.shapes[x], scale=np.array([scale]), shift=np.array([shift]))

    def pool(self, x: str, kind: str, kernel: int, stride: int, pad: int = 0) -> str:
        h, w, c = self.shapes[x]
        rows, columns = ((n + 2 * pad - kernel) // stride + 1 for n in (h, w))
        attributes = {"kernel": (kernel, kernel), "stride": (stride, stride), "pads": (pad,) * 4}
        return self.add(RealPool, (x,), (rows, columns, c), kind=kind, **attributes)

    def sum(self, a: str, b: str) -> str:
        return self.add(RealAdd, (a, b), self.shapes[a])

    def flatten(self, x: str) -> str:
        h, w, c = self.shapes[x]
        return self.add(Reshape, (x,), (1, 1, h * w * c))

    def argmax(self, x: str) -> str:
        return self.add(ArgMax, (x,), (1, 1, 1))

    def graph(self) -> Graph:
        return Graph("net", self.input, tuple(self.nodes), (Output("out", self.nodes[-1].output.name),))


def pixels(graph: Graph, count: int, seed: int = 1) -> np.ndarray:
    """Random uint8 images for ``graph``."""
    return np.random.default_rng(seed).integers(0, 256, (count, *graph.input.shape), dtype=np.uint8)


def reals(images: np.ndarray) -> np.ndarray:
    """Real values of uint8 images under the assumed scale of 1 / 255."""
    return np.array([float(Fraction(p, 255)) for p in range(256)])[images]


def random_model(seed: int, bits: int, dyadic: bool, bipolar: bool = False) -> Graph:
    """Input quantizer, convolution with BatchNorm, a residual block, pools and a linear head; sizes from the seed."""
    b = ModelBuilder((8, 7, 3), seed, dyadic)
    random = b.random
    x = b.quant("x", 8, True, scale=0.0078125)
    x = b.quant(b.relu(b.batchnorm(b.conv(x, 4, 3, int(random.integers(1, 3)), 1, bits))), bits, False)
    branch = b.quant(b.batchnorm(b.conv(x, 4, 3, 1, 1, bits, groups=int(random.choice([1, 2, 4])))), bits + 1, True)
    x = b.quant(b.relu(b.sum(x, branch)), bits, False)
    x = b.pool(x, "max", 2, 2) if random.random() < 0.5 else b.quant(b.pool(x, "average", 2, 2), bits, False)
    if bipolar:
        x = b.bipolar(b.batchnorm(b.conv(x, 5, bits=2)))
    x = b.flatten(x)
    b.conv(x, 3, bits=bits, bias=True)
    return b.graph()
