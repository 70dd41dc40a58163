"""Host side of the accelerator: images to input codes, output codes to real values."""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import accumulate, chain
from math import lcm

import numpy as np

from toolchain.errors import UserError
from toolchain.ir.channels import shrink
from toolchain.ir.graph import Graph, Output
from toolchain.ir.ops.maps import DepthToSpace, Reshape, Slice
from toolchain.ir.ops.model import Affine, Quantize
from toolchain.ir.rounding import Rounding
from toolchain.ir.types import Array, Encoding, InputType, Quantizer

GRID = 1e-3
"""The largest distance from an integer, in steps, at which a value is taken for that integer."""
FLOAT32 = 2.0**-23
"""Twice the roundoff of float32, in which images are kept: a step of 1/255 magnifies it."""


@dataclass(frozen=True)
class HostRule:
    """The host's rule for the code of a real value v: round(clamp(v / scale + zero, low, high)), all in float32.

    ``scale`` and ``zero`` have one entry or one a channel. ``bipolar``: +1 where v >= 0, else -1.
    """

    scale: Array
    zero: Array
    low: int
    high: int
    rounding: Rounding
    bipolar: bool

    def codes(self, values: Array) -> Array:
        """Codes (int64) of float32 ``values`` (..., C)."""
        if self.bipolar:
            return np.where(values >= 0, 1, -1).astype(np.int64)
        with np.errstate(over="ignore"):  # infinity is clamped
            position = values / self.scale + self.zero
        return self.rounding.floats(np.clip(position, self.low, self.high)).astype(np.int64)


def values_of(encoding: Encoding, x: Array) -> Array:
    """Values (float32) of the numbers ``x`` (..., C) that the host is given, standardized where that is said."""
    numbers = x.astype(np.float32, copy=False)
    if encoding.standard is None:
        return numbers
    mean, deviation = (np.array(v, dtype=np.float32) for v in (encoding.standard.mean, encoding.standard.deviation))
    with np.errstate(over="ignore"):
        return np.asarray((numbers - mean) / deviation)


def host_rule(encoding: Encoding) -> HostRule:
    """The rule of the input's quantizer, or that of the type whose integers are the codes."""
    quantizer, given = encoding.quantizer, encoding.input
    if quantizer is not None:
        scale = np.array(quantizer.scale, dtype=np.float32)
        zero = np.full(1, quantizer.zero_point, dtype=np.float32)
        return HostRule(scale, zero, quantizer.low, quantizer.high, quantizer.rounding, quantizer.bipolar)
    scale, zero = (np.array([float(v) for v in values], dtype=np.float32) for values in (given.scale, given.zeros))
    return HostRule(scale, zero, given.low, given.high, Rounding.ROUND, given.bipolar)


def worth(given: InputType, integers: Array) -> Array:
    """Real values (float32) of ``integers`` (..., C): what a float framework feeds the network; 0 is exact."""
    if given.is_pixel and integers.size > given.high + 1:
        return _looked_up(worth(given, np.arange(given.high + 1)[:, None]), integers)
    steps, starts, whole = worth_terms(given)
    reach = max(steps) * max(-given.low, given.high) + max(map(abs, starts))
    kind: type = np.int64 if max(reach, *whole) < 1 << 62 else object  # Python's integers have no end
    numerators: Array = integers.astype(kind) * np.array(steps, dtype=kind) + np.array(starts, dtype=kind)
    return np.asarray((numerators / np.array(whole, dtype=kind)).astype(np.float32))


def worth_terms(given: InputType) -> tuple[list[int], list[int], list[int]]:
    """Steps, starts and denominators, one a channel or one in all: n is worth (n * step + start) / denominator."""
    size = max(len(given.scale), len(given.offset))
    scale, offset = (v if len(v) == size else v * size for v in (given.scale, given.offset))
    whole = [lcm(s.denominator, o.denominator) for s, o in zip(scale, offset, strict=True)]
    steps, starts = ([int(n * d) for n, d in zip(numbers, whole, strict=True)] for numbers in (scale, offset))
    return steps, starts, whole


def _looked_up(table: Array, integers: Array) -> Array:
    """``table``, one row an integer and one column a channel or all, at ``integers`` (..., C)."""
    return np.asarray(table[integers, np.arange(integers.shape[-1]) if table.shape[1] > 1 else 0])


def pixel_codes(encoding: Encoding) -> Array:
    """The code that is sent for every integer of an input that is a pixel: int64 (high + 1, C) or (high + 1, 1)."""
    return _sent(encoding, _from_integers(encoding, np.arange(encoding.input.high + 1)[:, None]))


def reached_codes(encoding: Encoding) -> tuple[int, int]:
    """The least and the largest code that the host sends for the integers, or else the numbers, that it is given."""
    if encoding.coded:
        return encoding.low, encoding.high
    ends = _sent(encoding, _from_integers(encoding, np.array([encoding.input.low, encoding.input.high])[:, None]))
    return int(ends.min()), int(ends.max())


def random_inputs(encoding: Encoding, shape: tuple[int, ...], seed: int = 0) -> Array:
    """Integers anywhere in the input's type, both ends among them, as an array of ``shape``: uint8 pixels, or int64."""
    given, rng = encoding.input, np.random.default_rng(seed)
    if given.bipolar:
        return 2 * rng.integers(0, 2, shape) - 1
    found = rng.integers(given.low, given.high + 1, shape, dtype=np.uint8 if given.is_pixel else np.int64)
    for at, end in ((0, given.low), (-1, given.high)):
        if end not in found:
            found.flat[at] = end
    return found


def random_codes(graph: Graph, frames: int, seed: int = 0) -> Array:
    """Codes (frames, H, W, C) anywhere in what the host sends ``graph``."""
    encoding, rng = _encoding(graph), np.random.default_rng(seed)
    shape = (frames, *graph.given_shape)
    if encoding.bipolar and not encoding.signs_as_bits:
        return _padded(graph, 2 * rng.integers(0, 2, shape) - 1)
    return _padded(graph, rng.integers(encoding.low, encoding.high + 1, shape))


def host_values(graph: Graph, images: Array) -> Array:
    """The real values (float32) of ``images`` (N, H, W, C) that the QONNX network reads.

    Those are the given ones, standardized where the encoding says so; where the host rounds them in front of the
    network, the values of its codes.
    """
    encoding = _encoding(graph)
    given, quantizer = encoding.input, encoding.quantizer
    real = np.issubdtype(images.dtype, np.floating)
    values = values_of(encoding, images) if real else worth(given, images)
    if quantizer is not None and encoding.outside:
        codes = host_rule(encoding).codes(values) - quantizer.zero_point
        return np.asarray((codes * np.asarray(quantizer.scale)).astype(np.float32))
    if real and given.rounds and quantizer is None:
        return worth(given, host_rule(encoding).codes(values))
    return values


def encode(graph: Graph, images: Array) -> Array:
    """Input codes (N, H, W, C) int64 of ``images`` (N, H, W, C): integers of the input's type, or real values.

    Padded channels of the input are zeros. Raises UserError when the shape does not fit, or when a value is none of the
    input's type.
    """
    if images.shape[1:] != graph.given_shape:
        raise UserError(f"images of shape {images.shape[1:]} do not fit the input {graph.given_shape} (H, W, C)")
    return _padded(graph, _codes(_encoding(graph), images))


def _codes(encoding: Encoding, images: Array) -> Array:
    if np.issubdtype(images.dtype, np.integer):
        _check_integers(encoding.input, images)
        return _sent(encoding, _from_integers(encoding, images))
    if not np.issubdtype(images.dtype, np.floating):
        raise UserError(f"images of type {images.dtype}", hint="give integers of the input's type, or float32 values")
    if not np.isfinite(images).all():
        raise UserError("the images hold NaN or infinity")
    values = values_of(encoding, images)
    if encoding.quantizer is None and not encoding.input.rounds:
        return _sent(encoding, _integers_of(encoding.input, values))
    return _sent(encoding, host_rule(encoding).codes(values))


def _padded(graph: Graph, codes: Array) -> Array:
    return np.pad(codes, ((0, 0), (0, 0), (0, 0), (0, graph.padded_input))) if graph.padded_input else codes


def _encoding(graph: Graph) -> Encoding:
    if graph.encoding is None:
        raise ValueError("the graph has no encoding")
    return graph.encoding


def _from_integers(encoding: Encoding, integers: Array) -> Array:
    """Codes of ``integers`` (..., C) of the input's type."""
    if encoding.coded:
        return integers.astype(np.int64)
    if encoding.input.is_pixel and integers.size > encoding.input.high + 1:
        return _looked_up(_from_integers(encoding, np.arange(encoding.input.high + 1)[:, None]), integers)
    return host_rule(encoding).codes(worth(encoding.input, integers))


def _sent(encoding: Encoding, codes: Array) -> Array:
    return (codes + 1) // 2 if encoding.signs_as_bits else codes


def _integers_of(given: InputType, images: Array) -> Array:
    """The integers that float ``images`` are worth."""
    scale, offset = (np.array([float(v) for v in values]) for values in (given.scale, given.offset))
    what = "pixel" if given.is_pixel else "integer"
    exact = (images.astype(np.float64) - offset) / scale
    integers = np.rint(exact)
    if (np.abs(exact - integers) > GRID + FLOAT32 * np.abs(images / scale)).any():
        raise UserError(
            f"float images that are no {what}s, and the network does not quantize its input",
            hint=f"give values {what} * {given.scale[0]} + {given.offset[0]}, or {what}s; --input states another type",
        )
    _check_integers(given, integers)
    return integers.astype(np.int64)


def _check_integers(given: InputType, integers: Array) -> None:
    if integers.size and (integers.min() < given.low or integers.max() > given.high):
        raise UserError(
            f"images reach {integers.min():.0f}..{integers.max():.0f}, the input takes {given.low}..{given.high}"
        )
    if given.bipolar and not integers.all():
        raise UserError("images hold 0, the input takes -1 and +1")


def decode(output: Output, codes: Array) -> Array:
    """Real values (float64) of ``codes`` (N, H, W, C), padded channels dropped; behind an argmax the codes."""
    codes, decoding = answers(output, codes), output.decoding
    if decoding is None:
        return codes
    scale = np.array([float(s) for s in decoding.scale])
    offset = np.array([float(o) for o in decoding.offset])
    return codes * scale + offset


def answers(output: Output, codes: Array) -> Array:
    """``codes`` (N, H, W, C) of ``output`` without the padded channels."""
    return codes[..., : codes.shape[3] - output.padded]


def predictions(output: Output, codes: Array) -> Array:
    """Class (N,) of each frame from output ``codes``: the argmax, on chip, of the decoded values or of bare codes."""
    if output.decoding is None:
        flat = codes.reshape(len(codes), -1)
        return flat[:, 0] if flat.shape[1] == 1 else np.asarray(flat.argmax(axis=1))
    return np.asarray(decode(output, codes).reshape(len(codes), -1).argmax(axis=1))


def parted_quantizers(graph: Graph) -> InputType | None:
    """Return what the host may send where each channel belongs to one slice, which is then quantized; None elsewhere.

    Each channel has the scale of its slice; the integers reach as far as those of any.
    """
    readers, channels = graph.consumers()[graph.input.name], graph.input.shape[2]
    parts = sorted((node for node in readers if isinstance(node, Slice)), key=lambda node: node.start)
    found = [scaled_quantizer(graph, node.output.name) for node in parts]
    sizes = [node.output.shape[2] for node in parts]
    if len(parts) < max(len(readers), 1) or [node.start for node in parts] != [0, *accumulate(sizes)][:-1]:
        return None
    if sum(sizes) != channels or any(part is None for part in found):
        return None
    types = [part for part in found if part is not None]
    low, high = min(part.low for part in types), max(part.high for part in types)
    scale, offset = (
        tuple(chain.from_iterable(rows * count for rows, count in zip(numbers, sizes, strict=True)))
        for numbers in ([part.scale for part in types], [part.offset for part in types])
    )
    return InputType(low, high, shrink(scale), shrink(offset), rounds=True)


def scaled_quantizer(graph: Graph, name: str = "") -> InputType | None:
    """Return what the host may send where the input's only reader scales it by factors above 0 and then quantizes it.

    Or what it may send as the value ``name``, which is one of the input's elements in other places.

    Its integers are the codes, its values those that the scaling takes to what the codes are worth. None where the
    scaling is of single channels, or the quantizer does not round to the nearest code.
    """
    scale, shift, name, consumers = Fraction(1), Fraction(0), name or graph.input.name, graph.consumers()
    while True:
        readers = consumers[name]
        node = readers[0] if readers else None
        if isinstance(node, Quantize) and all(
            isinstance(n, Quantize) and n.quantizer == node.quantizer for n in readers
        ):
            return _scaled(node.quantizer, scale, shift)
        if len(readers) != 1 or not isinstance(node, Affine | DepthToSpace | Reshape):
            return None
        if isinstance(node, Affine):
            if node.scale.size > 1 or node.shift.size > 1 or node.scale.item() <= 0:
                return None
            factor = Fraction(node.scale.item())
            scale, shift = scale * factor, shift * factor + Fraction(node.shift.item())
        name = node.output.name


def _scaled(quantizer: Quantizer, scale: Fraction, shift: Fraction) -> InputType | None:
    if quantizer.bipolar or quantizer.grid > 1 or len(quantizer.unit) > 1 or quantizer.rounding is not Rounding.ROUND:
        return None
    codes = InputType.codes_of(quantizer)
    return replace(codes, scale=(codes.scale[0] / scale,), offset=((codes.offset[0] - shift) / scale,))


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
