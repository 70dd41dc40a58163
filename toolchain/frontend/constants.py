"""Constants of an ONNX graph, and what a QONNX quantizer says."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from toolchain.frontend.onnx_file import OnnxFile, OnnxNode
from toolchain.ir.input_types import Datatype, datatype
from toolchain.ir.rounding import Rounding
from toolchain.ir.types import QInt

MAX_BITS = 32


@dataclass(frozen=True)
class QuantRule:
    """The parameters of a Quant node before the scale is laid out along channels; ``scale`` is as in the file.

    ``zero`` (int64) has the zero points: one, but of a constant also one a channel.
    """

    scale: np.ndarray
    zero: np.ndarray
    low: int
    high: int
    bits: int
    signed: bool
    rounding: Rounding
    bipolar: bool

    def codes(self, x: np.ndarray) -> np.ndarray:
        """Codes (int64) of ``x``: clamp, then round, in the float type of ``x`` and the scale as the executor does.

        The executor's own arithmetic decides which side of a tie a weight falls on; a float64 quotient could differ.
        """
        if self.bipolar:
            return np.where(x >= 0, 1, -1).astype(np.int64)
        with np.errstate(over="ignore"):  # infinity is clamped
            quotient = x / self.scale
        clamped = np.clip(quotient + self.zero.astype(x.dtype), self.low, self.high)
        return np.clip(self.rounding.floats(clamped).astype(np.int64), self.low, self.high)

    @property
    def zero_point(self) -> int:
        """The zero point where there is one."""
        return int(self.zero.item())


@dataclass(frozen=True)
class QuantConst:
    """A constant behind a quantizer: value = codes * scale; ``scale`` has the rank of ``codes``."""

    codes: np.ndarray
    scale: np.ndarray
    bits: int
    signed: bool
    origin: tuple[str, ...]

    @property
    def real(self) -> np.ndarray:
        """The real values, float64."""
        return np.asarray(self.codes * self.scale.astype(np.float64))


class Constants:
    """The constant tensors of ``file`` known so far, by name; ``quantized`` holds those that are codes with a scale."""

    def __init__(self, file: OnnxFile) -> None:
        self.file = file
        self._plain: dict[str, np.ndarray] = dict(file.constants)
        self.quantized: dict[str, QuantConst] = {}

    def __contains__(self, name: str) -> bool:
        return name in self._plain or name in self.quantized

    def get(self, name: str) -> np.ndarray:
        """The tensor ``name``; a quantized one as its real values in float64."""
        quantized = self.quantized.get(name)
        return self._plain[name] if quantized is None else quantized.real

    def coded(self, name: str) -> QuantConst | None:
        """The tensor ``name`` as codes with a scale: behind a quantizer, or of a noted datatype; else None."""
        if name in self.quantized or name not in self._plain:
            return self.quantized.get(name)
        noted = number_type(self.file.datatypes.get(name, ""))
        array = self._plain[name]
        if noted is None or not array.size or not np.isfinite(array).all():
            return None
        step = float(noted.step)  # a power of two
        codes = np.rint(array / step).astype(np.int64)
        if (codes * step != array).any() or codes.min() < noted.low or codes.max() > noted.high:
            return None
        kind = QInt.holding(int(codes.min()), int(codes.max()))
        return QuantConst(codes, np.full((1,) * codes.ndim, step, np.float32), kind.bits, kind.signed, ())

    def set(self, name: str, array: np.ndarray) -> None:
        """Define the constant ``name``."""
        self._plain[name] = array

    def float32(self, name: str) -> np.ndarray:
        """The tensor ``name`` as the file's operations read it; a quantized one in float32."""
        return self.get(name).astype(np.float32) if name in self.quantized else self._plain[name]


def number_type(name: str) -> Datatype | None:
    """The QONNX datatype ``name`` of a constant; None unless it holds numbers of up to 32 bits."""
    found = datatype(name)
    return found if found is not None and QInt.holding(found.low, found.high).bits <= MAX_BITS else None


def read_quant(file: OnnxFile, node: OnnxNode, constants: Constants) -> QuantRule:
    """The rule of a Quant, IntQuant or BipolarQuant node; UserError when a parameter is not what hardware can do.

    A constant's zero point may differ between channels.
    """
    bipolar = node.op == "BipolarQuant"
    names = ("scale",) if bipolar else ("scale", "zero point", "bit width")
    given = [_parameter(file, node, constants, i + 1, what) for i, what in enumerate(names)]
    scale = given[0]
    if not (np.isfinite(scale).all() and (scale > 0).all()):
        raise file.fault(
            node, "the scale is not a positive number everywhere", "train again, or raise the scale's minimum"
        )
    if bipolar:
        return QuantRule(scale, np.zeros((), np.int64), -1, 1, 1, True, Rounding.ROUND, True)
    zero = _integers(file, node, given[1], "zero point")
    furthest = zero.flat[np.abs(zero).argmax()]
    if abs(furthest) >= 1 << 24:
        raise file.fault(node, f"a zero point of {furthest:g}", "float32 holds zero points below 2**24")
    if node.inputs[0] not in constants:
        zero = _single(file, node, zero, "zero point")
    bits = int(_single(file, node, _integers(file, node, given[2], "bit width"), "bit width"))
    if not 1 <= bits <= MAX_BITS:
        raise file.fault(node, f"a bit width of {bits}", f"use 1 to {MAX_BITS} bits")
    signed = bool(node.attributes.get("signed", 1))
    narrow = bool(node.attributes.get("narrow", 0))
    rounding = rounding_of(file, node, Rounding.ROUND)
    if bits == 1 and signed:  # the QONNX executor reads a signed bit as -1 or +1
        if zero.any():
            raise file.fault(node, f"a 1-bit quantizer with zero point {furthest:g}", "use zero point 0")
        return QuantRule(scale, np.zeros((), np.int64), -1, 1, 1, True, rounding, True)
    low = -(1 << (bits - 1)) + narrow if signed else 0
    high = (1 << (bits - 1)) - 1 if signed else (1 << bits) - 1 - narrow
    if low == high:
        raise file.fault(node, "an unsigned narrow quantizer of 1 bit has no code but 0", "use 2 bits, or narrow=0")
    return QuantRule(scale, zero.astype(np.int64), low, high, bits, signed, rounding, False)


def rounding_of(file: OnnxFile, node: OnnxNode, default: Rounding) -> Rounding:
    """The rounding mode of a quantizer; UserError for an unknown one."""
    mode = node.attributes.get("rounding_mode", default)
    mode = (mode.decode("utf-8", "replace") if isinstance(mode, bytes) else str(mode)).upper()
    try:
        return Rounding(mode)
    except ValueError:
        raise file.fault(node, f"rounding mode '{mode}'", f"use one of {', '.join(Rounding)}") from None


def _parameter(file: OnnxFile, node: OnnxNode, constants: Constants, index: int, what: str) -> np.ndarray:
    name = node.input(index)
    if not name or name not in constants:
        raise file.fault(
            node,
            f"the {what} is {'missing' if not name else 'not a constant'}",
            "export the trained model in eval mode, so that quantizer parameters are constants",
        )
    array = constants.float32(name)
    if not np.issubdtype(array.dtype, np.number) or not array.size:
        raise file.fault(node, f"the {what} is not a number", "export the model again")
    return array


def _integers(file: OnnxFile, node: OnnxNode, array: np.ndarray, what: str) -> np.ndarray:
    """``array`` as float64, all of it integers."""
    real = array.astype(np.float64)
    broken = real[~np.isfinite(real) | (real != np.rint(real))]
    if broken.size:
        raise file.fault(node, f"the {what} {broken[0]:g} is not an integer", "export the model again")
    return real


def _single(file: OnnxFile, node: OnnxNode, array: np.ndarray, what: str) -> np.ndarray:
    """The number of which all of ``array`` are."""
    first = array.ravel()[0]
    if (array != first).any():
        raise file.fault(node, f"the {what} differs between channels", f"use one {what} a tensor")
    return np.asarray(first)


def asked_sizes(node: OnnxNode, shape: Sequence[int]) -> np.ndarray:
    """What a Shape node makes of a tensor of ``shape``: its sizes, those from ``start`` to ``end`` where it says so."""
    return np.asarray(shape, dtype=np.int64)[int(node.attributes.get("start", 0)) : node.attributes.get("end")]
