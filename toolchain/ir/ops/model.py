"""Operations of MODEL level: what a QONNX graph says, on real numbers, channels last."""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np

from toolchain.ir import blocks
from toolchain.ir.blocks import Geometry, Source, one_thread, whole
from toolchain.ir.curves import FUNCTIONS, Function
from toolchain.ir.ops.matmul import head_products
from toolchain.ir.ops.node import Node, Pointwise
from toolchain.ir.ops.requantizers import reached
from toolchain.ir.quantize import quantize
from toolchain.ir.types import Array, QInt, Quantizer


@dataclass(frozen=True, kw_only=True, eq=False)
class RealConv(Node):
    """Convolution with weight ``codes * scale``; a linear layer is one with a 1x1 kernel on a 1x1 map.

    ``codes`` is (Cout, kh, kw, Cin / groups), ``scale`` (Cout or 1,) float64, ``bias`` (Cout,) float64 or None.
    ``pads`` is (top, left, bottom, right).
    """

    codes: Array
    scale: Array
    weight_type: QInt
    bias: Array | None = None
    stride: tuple[int, int] = (1, 1)
    pads: tuple[int, int, int, int] = (0, 0, 0, 0)
    dilation: tuple[int, int] = (1, 1)
    groups: int = 1

    def _geometry(self, x: Array) -> Geometry:
        kernel = self.codes.shape[1], self.codes.shape[2]
        return Geometry(x.shape[1], x.shape[2], kernel, self.stride, self.pads, self.dilation, 0.0)

    def compute(self, *inputs: Source) -> Source:
        """Convolve block by block over the padded rows."""
        x = whole(inputs[0])
        return _by_windows(self, self._geometry(x), x)

    def evaluate(self, x: Array) -> Array:
        """The sums of each group, in float64."""
        view = self._geometry(x).views(x)
        batch, height, width = view.shape[:3]
        weight = self.codes * self.scale.reshape(-1, 1, 1, 1)
        grouped = view.reshape(batch, height, width, -1, self.groups, x.shape[3] // self.groups)
        filters = weight.reshape(self.groups, len(weight) // self.groups, -1, weight.shape[3])
        out = np.einsum("nhwtgc,gotc->nhwgo", grouped, filters, optimize=True).reshape(batch, height, width, -1)
        return out if self.bias is None else out + self.bias


@dataclass(frozen=True, kw_only=True, eq=False)
class Affine(Pointwise):
    """y = x * scale + shift, each (C or 1,) float64: BatchNormalization, or Mul/Add/Sub/Div by a constant.

    Where ``shift`` is a sum of the file's numbers, ``summed`` (C,) is that of their magnitudes, which float32 rounds.
    """

    scale: Array
    shift: Array
    summed: Array | None = None

    def evaluate(self, x: Array) -> Array:
        """Compute x * scale + shift."""
        return x * self.scale + self.shift


@dataclass(frozen=True, kw_only=True, eq=False)
class Relu(Pointwise):
    """y = max(x, 0)."""

    def evaluate(self, x: Array) -> Array:
        """Compute max(x, 0)."""
        return np.maximum(x, 0.0)


@dataclass(frozen=True, kw_only=True, eq=False)
class LeakyRelu(Pointwise):
    """y = x where x >= 0, else x * slope; ``slope`` is (C or 1,) float64, none negative."""

    slope: Array

    def evaluate(self, x: Array) -> Array:
        """Return x, multiplied by the slope where it is negative."""
        return np.where(x >= 0, x, x * self.slope)


@dataclass(frozen=True, kw_only=True, eq=False)
class Curve(Pointwise):
    """y = f(x), f one of ``FUNCTIONS`` by its name, with its parameters (float32 numbers)."""

    kind: str
    alpha: float = 0.0
    beta: float = 0.0

    @property
    def function(self) -> Function:
        """The formula of f."""
        return FUNCTIONS[self.kind]

    def evaluate(self, x: Array) -> Array:
        """Compute f of every element."""
        return self.function.floats(x, self.alpha, self.beta)


@dataclass(frozen=True, kw_only=True, eq=False)
class Clamp(Pointwise):
    """y = min(max(x, low), high); either may be infinite."""

    low: float
    high: float

    def evaluate(self, x: Array) -> Array:
        """Clamp x to [low, high]."""
        return np.clip(x, self.low, self.high)


@dataclass(frozen=True, kw_only=True, eq=False)
class Quantize(Pointwise):
    """y = the real value of the quantizer's code of x; ``tensor`` names the ONNX tensor it stands for."""

    quantizer: Quantizer
    tensor: str = ""

    def evaluate(self, x: Array) -> Array:
        """The real value of the code."""
        quantizer = self.quantizer
        return (quantize(quantizer, x) - quantizer.zero_point) * np.asarray(quantizer.unit)


@dataclass(frozen=True, kw_only=True, eq=False)
class MultiThreshold(Pointwise):
    """y = scale * #{t : x >= thresholds[c, t]} + bias; ``thresholds`` is (C or 1, T) float64, ascending.

    ``tensor`` names the ONNX tensor it stands for.
    """

    thresholds: Array
    scale: float
    bias: float
    tensor: str = ""

    @property
    def coding(self) -> tuple[Fraction, Fraction, int, int]:
        """(unit, offset, start, step): y = unit * code + offset with code = start + step * count.

        Where y passes 0 on multiples of half a scale or of one, the offset is 0, so that padding has a code.
        """
        scale, bias = Fraction(self.scale), Fraction(self.bias)
        ratio, count = bias / scale, self.thresholds.shape[1]
        if ratio.denominator <= 2 and ratio <= 0 <= ratio + count:
            return scale / ratio.denominator, Fraction(0), ratio.numerator, ratio.denominator
        return scale, bias, 0, 1

    def evaluate(self, x: Array) -> Array:
        """The real value of the count."""
        return self.scale * reached(self.thresholds, x) + self.bias


@dataclass(frozen=True, kw_only=True, eq=False)
class RealPool(Node):
    """Maximum or average over a window; ``kind`` is "max" or "average".

    Pads of an average count as zeros or, unless ``counted``, not at all.
    """

    kind: str
    kernel: tuple[int, int]
    stride: tuple[int, int]
    pads: tuple[int, int, int, int] = (0, 0, 0, 0)
    dilation: tuple[int, int] = (1, 1)
    counted: bool = True

    def counts(self, height: int, width: int) -> Array:
        """Count the elements that each window averages, (Ho, Wo): all its taps, or only those on the map."""
        ones = np.ones((1, height, width, 1), dtype=np.int64)
        fill = 1 if self.counted else 0
        geometry = Geometry(height, width, self.kernel, self.stride, self.pads, self.dilation, fill)
        return np.asarray(geometry.views(ones).sum(axis=(0, 3, 4, 5)))

    def _geometry(self, x: Array) -> Geometry:
        fill = -np.inf if self.kind == "max" else 0.0
        return Geometry(x.shape[1], x.shape[2], self.kernel, self.stride, self.pads, self.dilation, fill)

    def compute(self, *inputs: Source) -> Source:
        """Average block by block over the padded rows."""
        x = whole(inputs[0])
        return self._shared(x, _by_windows(replace(self, counted=True), self._geometry(x), x))

    def evaluate(self, x: Array) -> Array:
        """Maximum or mean over the taps."""
        view = self._geometry(x).views(x)
        return view.max(axis=(3, 4)) if self.kind == "max" else self._shared(x, view.mean(axis=(3, 4)))

    def _shared(self, x: Array, y: Array) -> Array:
        """``y`` with means over all taps as those over what counts."""
        if self.counted:
            return y
        return y * (self.kernel[0] * self.kernel[1] / self.counts(*x.shape[1:3])[..., None])


@dataclass(frozen=True, kw_only=True, eq=False)
class RealAdd(Pointwise):
    """y = a + b of equal shapes."""

    def evaluate(self, a: Array, b: Array) -> Array:
        """Add both operands."""
        return a + b


@dataclass(frozen=True, kw_only=True, eq=False)
class RealExtreme(Pointwise):
    """y = the larger, or the smaller, of a and b of equal shapes; ``kind`` is "max" or "min"."""

    kind: str

    def evaluate(self, a: Array, b: Array) -> Array:
        """Return the maximum or the minimum of both."""
        return np.maximum(a, b) if self.kind == "max" else np.minimum(a, b)


@dataclass(frozen=True, kw_only=True, eq=False)
class RealMul(Node):
    """y = a * b of equal shapes, or ``b`` is one position, (1, 1, C), that multiplies every one of ``a``."""

    def compute(self, *inputs: Source) -> Source:
        """Multiply whole maps at once."""
        return self.evaluate(*map(whole, inputs))

    def evaluate(self, a: Array, b: Array) -> Array:
        """Multiply both operands."""
        return a * b


@dataclass(frozen=True, kw_only=True, eq=False)
class RealMatMul(Node):
    """The ``head_products`` of two values."""

    heads: int = 1
    columns: bool = False

    def compute(self, *inputs: Source) -> Source:
        """Multiply whole maps at once."""
        return self.evaluate(*map(whole, inputs))

    def evaluate(self, a: Array, b: Array) -> Array:
        """Multiply the operands head by head, in float64."""
        return head_products(a, b, self.heads, columns=self.columns)


@dataclass(frozen=True, kw_only=True, eq=False)
class RealNorm(Pointwise):
    """y = (x - mean) / sqrt(variance + epsilon) over the channels of each position.

    Not ``centred``, the mean counts as 0 in both: y = x / sqrt(mean of x * x + epsilon).
    """

    epsilon: float
    centred: bool = True

    def evaluate(self, x: Array) -> Array:
        """Normalize the channels of every position."""
        apart = x - x.mean(axis=-1, keepdims=True) if self.centred else x
        return np.asarray(apart / np.sqrt((apart * apart).mean(axis=-1, keepdims=True) + self.epsilon))


@dataclass(frozen=True, kw_only=True, eq=False)
class RealSoftmax(Pointwise):
    """y = exp(x) / sum(exp(x)) over the channels of each of ``heads`` at each position."""

    heads: int = 1

    def evaluate(self, x: Array) -> Array:
        """Return the share of each channel in the exponentials of its head."""
        parts = x.reshape(*x.shape[:3], self.heads, -1)
        powers = np.exp(parts - parts.max(axis=-1, keepdims=True))
        return np.asarray(powers / powers.sum(axis=-1, keepdims=True)).reshape(x.shape)


def _by_windows(node: RealConv | RealPool, geometry: Geometry, x: Array) -> Array:
    inner = replace(node, pads=(0, 0, 0, 0))
    rows, columns = geometry.shape
    result = np.empty((len(x), rows, columns, node.output.shape[2]), dtype=np.float64)
    taps = geometry.kernel[0] * geometry.kernel[1]
    with one_thread():
        for block in blocks.blocks(len(x), rows, columns * (taps * x.shape[3] + result.shape[3]) * 8):
            result[block] = inner.evaluate(geometry.padded(x, block, np.float64))
    return result


OPS: tuple[type[Node], ...] = (
    RealConv, Affine, Relu, LeakyRelu, Curve, Clamp, Quantize, MultiThreshold, RealPool, RealAdd, RealExtreme, RealMul,
    RealMatMul, RealNorm, RealSoftmax,
)  # fmt: skip
