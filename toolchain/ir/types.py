"""Types of the values that flow through a graph."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction


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
    shape: tuple[int, int, int]
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
    """

    lanes_in: int
    lanes_out: int
    products_per_dsp: int | None = None
    columns: int = 1
    constant: bool = False


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
    rounding: str = "ROUND"
    bipolar: bool = False
    grid: int = 1
    step: tuple[float, ...] = ()

    @property
    def unit(self) -> tuple[float, ...]:
        """Real value of one code."""
        return self.step or self.scale

    @property
    def type(self) -> QInt:
        """The narrowest integer type that holds every code."""
        return QInt.holding(self.low, self.high)


@dataclass(frozen=True)
class Encoding:
    """How the host turns an image into the accelerator's input codes.

    The real value of a pixel is ``pixel * pixel_scale + pixel_offset``, one entry or one a channel. Without a
    ``quantizer`` the pixel itself is the code.
    """

    pixel_scale: tuple[Fraction, ...]
    pixel_offset: tuple[Fraction, ...]
    quantizer: Quantizer | None


@dataclass(frozen=True)
class Decoding:
    """Real value of output code q in channel c: ``q * scale[c] + offset[c]``; one entry or one a channel."""

    scale: tuple[Fraction, ...]
    offset: tuple[Fraction, ...]
