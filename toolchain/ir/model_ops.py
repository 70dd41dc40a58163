"""Operations of MODEL level: what a QONNX graph says, on real numbers, channels last."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from toolchain.ir.graph import Graph
from toolchain.ir.ops import ArgMax, Array, Concat, DepthToSpace, Node, Reshape, Slice, Upsample
from toolchain.ir.types import QInt, Quantizer


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


@dataclass(frozen=True, kw_only=True, eq=False)
class Affine(Node):
    """y = x * scale + shift, each (C or 1,) float64: BatchNormalization, or Mul/Add/Sub/Div by a constant."""

    scale: Array
    shift: Array


@dataclass(frozen=True, kw_only=True, eq=False)
class Relu(Node):
    """y = max(x, 0)."""


@dataclass(frozen=True, kw_only=True, eq=False)
class LeakyRelu(Node):
    """y = x where x >= 0, else x * slope; ``slope`` is (C or 1,) float64, none negative."""

    slope: Array


@dataclass(frozen=True, kw_only=True, eq=False)
class Clamp(Node):
    """y = min(max(x, low), high); either may be infinite."""

    low: float
    high: float


@dataclass(frozen=True, kw_only=True, eq=False)
class Quantize(Node):
    """y = the real value of the quantizer's code of x; ``tensor`` names the ONNX tensor it stands for."""

    quantizer: Quantizer
    tensor: str = ""


@dataclass(frozen=True, kw_only=True, eq=False)
class MultiThreshold(Node):
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


@dataclass(frozen=True, kw_only=True, eq=False)
class RealPool(Node):
    """Maximum or average over a window; ``kind`` is "max" or "average". Average pads count as zeros."""

    kind: str
    kernel: tuple[int, int]
    stride: tuple[int, int]
    pads: tuple[int, int, int, int] = (0, 0, 0, 0)
    dilation: tuple[int, int] = (1, 1)


@dataclass(frozen=True, kw_only=True, eq=False)
class RealAdd(Node):
    """y = a + b of equal shapes."""


MODEL_OPS: tuple[type[Node], ...] = (
    RealConv,
    Affine,
    Relu,
    LeakyRelu,
    Clamp,
    Quantize,
    MultiThreshold,
    RealPool,
    RealAdd,
    Reshape,
    ArgMax,
    Concat,
    Slice,
    Upsample,
    DepthToSpace,
)


def input_quantizer(graph: Graph) -> Quantizer | None:
    """The quantizer that all readers of the input share, if it is one the host can apply."""
    readers = graph.consumers()[graph.input.name]
    first = readers[0] if readers else None
    if (
        not isinstance(first, Quantize)
        or first.quantizer.grid > 1
        or any(not isinstance(n, Quantize) or n.quantizer != first.quantizer for n in readers)
    ):
        return None
    return first.quantizer
