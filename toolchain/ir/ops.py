"""Operations of the dataflow IR.

Values have shape (H, W, C). The integer operations below are also the hardware's units: one node is one unit. The
operations of MODEL level, on real numbers, stand in ``model_ops``.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from toolchain.ir.types import Parallelism, QInt, Value

Array = np.ndarray


def signed_digits(weight: Array) -> int:
    """Nonzero digits of the canonical signed-digit form of all ``weight``, a form of digits -1, 0 and 1."""
    values, counts = np.unique(np.abs(weight), return_counts=True)
    # 3 w and w differ where the recoded form of w has a digit
    return sum((w ^ 3 * w).bit_count() * n for w, n in zip(values.tolist(), counts.tolist(), strict=True))


def _are_signs(weight: Array) -> bool:
    return bool((np.abs(weight) == 1).all())


def trailing_zeros(values: Array) -> int:
    """Bits by which all ``values`` can be shifted right without a loss; 0 for zeros alone."""
    together = int(np.bitwise_or.reduce(values, axis=None))
    return (together & -together).bit_length() - 1 if together else 0


ONE = np.ones(1, dtype=np.int64)


@dataclass(frozen=True, kw_only=True, eq=False)
class Node:
    """A node reads the values named ``inputs`` and defines ``outputs``; ``origin`` lists its ONNX nodes."""

    name: str
    inputs: tuple[str, ...]
    outputs: tuple[Value, ...]
    origin: tuple[str, ...] = ()
    parallelism: Parallelism | None = None

    @property
    def output(self) -> Value:
        """The only output."""
        (value,) = self.outputs
        return value


@dataclass(frozen=True, kw_only=True, eq=False)
class Window(Node):
    """Sliding window: (H, W, C) -> (Ho, Wo, kh * kw * C), element order (kh, kw, c); outside the map is ``pad_value``.

    ``pads`` is (top, left, bottom, right). On the stream the order is (c / lanes, kh, kw, lanes).
    """

    kernel: tuple[int, int]
    stride: tuple[int, int] = (1, 1)
    pads: tuple[int, int, int, int] = (0, 0, 0, 0)
    dilation: tuple[int, int] = (1, 1)
    pad_value: int = 0

    @property
    def taps(self) -> int:
        """Number of kernel positions."""
        return self.kernel[0] * self.kernel[1]


@dataclass(frozen=True, kw_only=True, eq=False)
class MatVec(Node):
    """Matrix-vector product at every position: (H, W, K) -> (H, W, N) with ``weight`` (N, K) of integers."""

    weight: Array
    weight_type: QInt

    @cached_property
    def signs(self) -> bool:
        """Whether every weight is -1 or +1, which one bit can tell apart."""
        return _are_signs(self.weight)

    @cached_property
    def digits(self) -> int:
        """``signed_digits`` of the weights: terms of a product with constants."""
        return signed_digits(self.weight)

    @property
    def matrix(self) -> Array:
        """The weights as one matrix (N, K)."""
        return self.weight


@dataclass(frozen=True, kw_only=True, eq=False)
class GroupedMatVec(Node):
    """A matrix-vector product a group of channels: (H, W, taps * C) -> (H, W, N) with ``weight`` (N, taps, C / groups).

    The input has the order (tap, c) of a window; a map without one has one tap. The N outputs of ``groups`` groups lie
    one group behind the other, and those of a group read the channels of that group alone.
    """

    weight: Array
    weight_type: QInt
    groups: int

    @property
    def taps(self) -> int:
        """Number of kernel positions."""
        return int(self.weight.shape[1])

    @property
    def group_outputs(self) -> int:
        """Outputs of a group."""
        return len(self.weight) // self.groups

    @property
    def group_inputs(self) -> int:
        """Inputs of a group: its channels at every tap."""
        return int(self.weight[0].size)

    def together(self, lanes: Parallelism) -> int:
        """Groups that a unit with ``lanes`` multiplies at once: beyond a group's outputs it has all those of more."""
        return max(1, lanes.lanes_out // self.group_outputs)

    @cached_property
    def signs(self) -> bool:
        """Whether every weight is -1 or +1, which one bit can tell apart."""
        return _are_signs(self.weight)

    @cached_property
    def digits(self) -> int:
        """``signed_digits`` of the weights: terms of a product with constants."""
        return signed_digits(self.weight)

    @cached_property
    def matrix(self) -> Array:
        """The weights as one matrix (N, taps * C), zeros between the groups."""
        outputs, taps, channels = self.weight.shape
        matrix = np.zeros((self.groups, outputs // self.groups, taps, self.groups, channels), dtype=np.int64)
        every = np.arange(self.groups)
        matrix[every, :, :, every] = self.weight.reshape(self.groups, -1, taps, channels)
        return matrix.reshape(outputs, -1)


@dataclass(frozen=True, kw_only=True, eq=False)
class Depthwise(Node):
    """One filter a channel over a window: (H, W, taps * C) -> (H, W, C) with ``weight`` (taps, C) of integers."""

    weight: Array
    weight_type: QInt


@dataclass(frozen=True, kw_only=True, eq=False)
class Pool(Node):
    """Maximum or sum over the taps of a window: (H, W, taps * C) -> (H, W, C). ``kind`` is "max" or "sum"."""

    kind: str
    taps: int


@dataclass(frozen=True, kw_only=True, eq=False)
class GlobalSum(Node):
    """Sum over all positions: (H, W, C) -> (1, 1, C)."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Threshold(Node):
    """y = start[c] + step[c] * #{t : x >= thresholds[c, t]}, thresholds ascending.

    ``thresholds`` is (C or 1, T), ``start`` and ``step`` are (C or 1,). An ascending quantizer has step 1, one behind a
    negative scale has step -1, a bipolar one step +-2.
    """

    thresholds: Array
    start: Array
    step: Array


@dataclass(frozen=True, kw_only=True, eq=False)
class MulShift(Node):
    """y = clip(base[c] + round_half_even((x * mul[c] + add[c]) / 2**shift), low, high), the sums of any size.

    ``mul``, ``add`` and ``base`` are (C or 1,), of at most 62 bits each. ``base`` is even, so that it may as well be
    added to the numerator: with it ``add`` stays below 2**shift where many fraction bits meet large codes.
    """

    mul: Array
    add: Array
    shift: int
    low: int
    high: int
    base: Array = field(default_factory=lambda: np.zeros(1, dtype=np.int64))

    @cached_property
    def lines(self) -> tuple[tuple[int, int], ...]:
        """Factor and offset of the numerator, base included, one pair for all channels or one a channel."""
        count = max(len(self.mul), len(self.add), len(self.base))
        mul, add, base = (np.broadcast_to(v, (count,)).tolist() for v in (self.mul, self.add, self.base))
        return tuple((m, a + (b << self.shift)) for m, a, b in zip(mul, add, base, strict=True))


@dataclass(frozen=True, kw_only=True, eq=False)
class Add(Node):
    """y = multipliers[0][c] * a + multipliers[1][c] * b, elementwise; each of the two is (C or 1,)."""

    multipliers: tuple[Array, Array] = (ONE, ONE)


@dataclass(frozen=True, kw_only=True, eq=False)
class ArgMax(Node):
    """Index of the largest channel, of equal ones the first or the ``last``: (1, 1, C) -> (1, 1, 1)."""

    last: bool = False


@dataclass(frozen=True, kw_only=True, eq=False)
class Reshape(Node):
    """(H, W, C) -> (1, 1, H * W * C) in stream order; a renaming, no hardware."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Concat(Node):
    """The channels of several values one after the other: (H, W, C_i) -> (H, W, sum of the C_i), ``channels``."""

    channels: tuple[int, ...]


@dataclass(frozen=True, kw_only=True, eq=False)
class Slice(Node):
    """The channels from ``start`` on, as many as the output has: (H, W, C) -> (H, W, N)."""

    start: int


@dataclass(frozen=True, kw_only=True, eq=False)
class Upsample(Node):
    """Every position ``factors`` times: (H, W, C) -> (H * factors[0], W * factors[1], C)."""

    factors: tuple[int, int]


@dataclass(frozen=True, kw_only=True, eq=False)
class DepthToSpace(Node):
    """Channels become positions: (H, W, b * b * C) -> (H * b, W * b, C) with b = ``block``.

    y[h * b + i, w * b + j, c] = x[h, w, k]; k is (i * b + j) * C + c, or (c * b + i) * b + j when ``channels_first``
    (ONNX modes DCR and CRD).
    """

    block: int
    channels_first: bool

    def spread(self, channel: int) -> int:
        """The output channel that input channel ``channel`` goes to."""
        return channel // self.block**2 if self.channels_first else channel % self.output.shape[2]


@dataclass(frozen=True, kw_only=True, eq=False)
class Fork(Node):
    """Copies of one stream for several readers; HARDWARE level."""


@dataclass(frozen=True, kw_only=True, eq=False)
class WidthConvert(Node):
    """The same elements in words of another width; HARDWARE level."""


@dataclass(frozen=True, kw_only=True, eq=False)
class RowConv(Node):
    """Convolution along the rows with ``weight`` (N, taps, K); HARDWARE level.

    (H, W, K) -> (H, W + 2 * pad - taps + 1, N): y[h, w] = sum over t of ``weight[:, t]`` @ x[h, w + t - pad], x being
    zero outside the row. Behind a window of one column it is a convolution; with one tap it is a matrix-vector product
    of several positions at once. ``pad`` is 0 or half of taps - 1. Of ``groups`` of channels, the weights between them
    are zeros.
    """

    weight: Array
    weight_type: QInt
    pad: int
    groups: int = 1

    @property
    def taps(self) -> int:
        """Number of kernel positions."""
        return int(self.weight.shape[1])


INTEGER_OPS: tuple[type[Node], ...] = (
    Window,
    MatVec,
    GroupedMatVec,
    Depthwise,
    Pool,
    GlobalSum,
    Threshold,
    MulShift,
    Add,
    ArgMax,
    Reshape,
    Concat,
    Slice,
    Upsample,
    DepthToSpace,
)
HARDWARE_OPS: tuple[type[Node], ...] = (*INTEGER_OPS, Fork, WidthConvert, RowConv)
