"""Types of the values that flow through a graph."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from toolchain.ir.rounding import Rounding

Array = np.ndarray
Range = tuple[int, int]
"""The least and the largest of some integers."""
Shape = tuple[int, int, int]
"""(H, W, C)."""


@dataclass(frozen=True)
class QInt:
    """A two's complement (``signed``) or unsigned integer of ``bits`` bits."""

    bits: int
    signed: bool

    @property
    def min(self) -> int:
        """Smallest value the type holds."""
        return -(1 << (self.bits - 1)) if self.signed else 0

    @property
    def max(self) -> int:
        """Largest value the type holds."""
        return (1 << (self.bits - (1 if self.signed else 0))) - 1

    def __str__(self) -> str:
        return f"{'s' if self.signed else 'u'}{self.bits}"

    @staticmethod
    def holding(low: int, high: int) -> QInt:
        """The narrowest type that holds every integer of ``[low, high]``; at least one bit."""
        if low < 0:
            return QInt(max((-low - 1).bit_length(), high.bit_length() if high > 0 else 0) + 1, True)
        return QInt(max(high.bit_length(), 1), False)


@dataclass(frozen=True)
class Real:
    """A real number; only at MODEL level."""

    def __str__(self) -> str:
        return "real"


@dataclass(frozen=True)
class Value:
    """A tensor of one frame, shape (H, W, C), without the batch axis.

    ``depth`` is the FIFO depth in stream words; set at HARDWARE level.
    """

    name: str
    shape: Shape
    type: QInt | Real
    depth: int | None = None

    @property
    def size(self) -> int:
        """Number of elements of a frame."""
        return self.shape[0] * self.shape[1] * self.shape[2]

    @property
    def qint(self) -> QInt:
        """The integer type; a TypeError at MODEL level."""
        if not isinstance(self.type, QInt):
            raise TypeError(f"value '{self.name}' is not an integer")
        return self.type


@dataclass(frozen=True)
class Parallelism:
    """Elements per clock cycle on a unit's input and output streams.

    A matrix-vector unit has ``lanes_in`` = SIMD and ``lanes_out`` = PE; a window unit that emits all its taps at once
    has ``lanes_out`` = taps * ``lanes_in``; an elementwise unit has both equal.

    ``products_per_dsp`` of a unit with multipliers: 0 builds them from LUTs, 1 binds each to a DSP slice, n > 1 packs
    those of one activation with the weights of n consecutive PEs into one. None: no multiplier.

    A row convolution computes ``columns`` positions of a row at once: ``lanes_out`` = ``columns`` * PE, and a slice
    multiplies its taps by that many inputs.

    A ``constant`` matrix-vector unit has its weights in its logic: every input and every output at once.

    ``ultra``: what the unit writes and reads again, its FIFOs included, may lie in UltraRAM.
    """

    lanes_in: int
    lanes_out: int
    products_per_dsp: int | None = None
    columns: int = 1
    constant: bool = False
    ultra: bool = False


@dataclass(frozen=True)
class Quantizer:
    """QONNX ``Quant``: code = round(clamp(x / scale + zero_point)), value = (code - zero_point) * scale.

    ``scale`` holds one entry, or one a channel. ``bipolar`` is QONNX ``BipolarQuant``: code +1 where x >= 0, else -1.
    QONNX ``Trunc`` rounds half to even to multiples of scale / ``grid`` before all that, and its codes may stand for
    multiples of another ``step`` than the scale.
    """

    scale: tuple[float, ...]
    zero_point: int
    low: int
    high: int
    rounding: Rounding = Rounding.ROUND
    bipolar: bool = False
    grid: int = 1
    step: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "rounding", Rounding(self.rounding))  # files hold its name

    @property
    def unit(self) -> tuple[float, ...]:
        """Real value of one code."""
        return self.step or self.scale

    @property
    def type(self) -> QInt:
        """The narrowest integer type that holds every code."""
        return QInt.holding(self.low, self.high)


@dataclass(frozen=True)
class InputType:
    """The integers [low, high] that the host is given, each worth ``integer * scale + offset``.

    ``scale`` and ``offset`` have one entry or one a channel. ``bipolar`` inputs are -1 and +1 only. Real values are
    rounded to the nearest integer, halves to even, and clamped where ``rounds``; else each must be worth an integer.
    """

    low: int
    high: int
    scale: tuple[Fraction, ...] = (Fraction(1),)
    offset: tuple[Fraction, ...] = (Fraction(0),)
    bipolar: bool = False
    rounds: bool = False

    @property
    def type(self) -> QInt:
        """The narrowest integer type that holds every integer."""
        return QInt.holding(self.low, self.high)

    @property
    def zeros(self) -> tuple[Fraction, ...]:
        """The places of real 0 among the integers, one entry or one a channel; not always an integer."""
        size = max(len(self.scale), len(self.offset))
        scale, offset = (v if len(v) == size else v * size for v in (self.scale, self.offset))
        return tuple(-o / s for s, o in zip(scale, offset, strict=True))

    @property
    def is_pixel(self) -> bool:
        """Whether an unsigned byte holds every integer."""
        return self.low >= 0 and self.high <= 255

    @staticmethod
    def codes_of(quantizer: Quantizer) -> InputType:
        """The type whose integers are the codes of ``quantizer``, each worth what the quantizer gives for it."""
        scale = tuple(Fraction(unit) for unit in quantizer.unit)
        offset = tuple(-quantizer.zero_point * unit for unit in scale)
        return InputType(quantizer.low, quantizer.high, scale, offset, quantizer.bipolar, rounds=True)


UNIT_PIXEL = InputType(0, 255, (Fraction(1, 255),))
"""A pixel that is worth pixel / 255."""


@dataclass(frozen=True)
class Standardization:
    """The value of a number x that the host is given is (x - mean) / deviation, computed in float32.

    ``mean`` and ``deviation`` are float32 numbers, one or one a channel.
    """

    mean: tuple[float, ...]
    deviation: tuple[float, ...]


@dataclass(frozen=True)
class Encoding:
    """The codes that the host sends: the integers of ``input``, or those that ``quantizer`` makes of them.

    The quantizer is one of the network's own, which reads real values, or ``outside`` it: the network then reads the
    values of its codes. Real numbers pass ``standard`` first, where there is one. Without ``integers`` the host is
    given real numbers alone, and those of ``input`` are the codes. ``signs_as_bits`` sends codes of -1 and +1 as 0
    and 1.
    """

    input: InputType
    quantizer: Quantizer | None = None
    outside: bool = False
    signs_as_bits: bool = False
    standard: Standardization | None = None
    integers: bool = True

    @property
    def coded(self) -> bool:
        """Whether the integers of ``input`` are the codes themselves, with nothing left to round."""
        return self.quantizer is None or not self.integers

    @property
    def bipolar(self) -> bool:
        """Whether the codes, as the quantizer or the input type has them, are -1 and +1 only."""
        return (self.quantizer or self.input).bipolar

    @property
    def low(self) -> int:
        """The least code that the accelerator is sent."""
        return 0 if self.signs_as_bits else (self.quantizer or self.input).low

    @property
    def high(self) -> int:
        """The largest code that the accelerator is sent."""
        return (self.quantizer or self.input).high


@dataclass(frozen=True)
class Decoding:
    """Real value of output code q in channel c: ``q * scale[c] + offset[c]``; one entry or one a channel."""

    scale: tuple[Fraction, ...]
    offset: tuple[Fraction, ...]
