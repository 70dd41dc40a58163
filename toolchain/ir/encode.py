"""Host side of the accelerator: images to input codes, output codes to real values."""

from __future__ import annotations

import numpy as np

from toolchain.errors import UserError
from toolchain.ir.evaluate import quantize
from toolchain.ir.graph import Graph
from toolchain.ir.ops import Array
from toolchain.ir.types import Encoding

PIXELS = 256


def real_pixels(encoding: Encoding) -> Array:
    """Real value of every uint8 pixel, float32 (256, C) or (256, 1): what a float framework feeds the network."""
    channels = max(len(encoding.pixel_scale), len(encoding.pixel_offset))
    scale, offset = (v * channels if len(v) == 1 else v for v in (encoding.pixel_scale, encoding.pixel_offset))
    table = [[float(pixel * s + o) for s, o in zip(scale, offset, strict=True)] for pixel in range(PIXELS)]
    return np.asarray(table, dtype=np.float32)


def pixel_codes(encoding: Encoding) -> Array:
    """Input code of every uint8 pixel: int64 (256, C) or (256, 1)."""
    if encoding.quantizer is None:
        return np.arange(PIXELS, dtype=np.int64)[:, None]
    return quantize(encoding.quantizer, real_pixels(encoding))


def host_values(graph: Graph, images: Array) -> Array:
    """The real values (float32) of ``images`` that the QONNX network reads."""
    if images.dtype != np.uint8:
        return images.astype(np.float32)
    if graph.encoding is None:
        raise ValueError("the graph has no encoding")
    table = real_pixels(graph.encoding)
    return np.asarray(table[images, np.arange(images.shape[3]) if table.shape[1] > 1 else 0])


def encode(graph: Graph, images: Array) -> Array:
    """Input codes (N, H, W, C) int64 of ``images`` (N, H, W, C): uint8 pixels, or real values as floats.

    Raises UserError when the shape does not fit, or when float values are not on the grid of the pixels that a graph
    without an input quantizer takes.
    """
    encoding = graph.encoding
    if encoding is None:
        raise ValueError("the graph has no encoding")
    if images.shape[1:] != graph.input.shape:
        raise UserError(f"images of shape {images.shape[1:]} do not fit the input {graph.input.shape} (H, W, C)")
    if images.dtype == np.uint8:
        table = pixel_codes(encoding)
        channels = np.arange(images.shape[3]) if table.shape[1] > 1 else 0
        codes = table[images, channels]
    elif not np.issubdtype(images.dtype, np.floating):
        raise UserError(f"images of type {images.dtype}", hint="give uint8 pixels or float32 values")
    elif not np.isfinite(images).all():
        raise UserError("the images hold NaN or infinity")
    elif encoding.quantizer is not None:
        codes = quantize(encoding.quantizer, images.astype(np.float32))
    else:
        codes = _pixels_of(encoding, images)
    _check_range(graph, codes)
    return np.asarray(codes, dtype=np.int64)


def _pixels_of(encoding: Encoding, images: Array) -> Array:
    scale = np.array([float(s) for s in encoding.pixel_scale])
    offset = np.array([float(o) for o in encoding.pixel_offset])
    exact = (images.astype(np.float64) - offset) / scale
    codes = np.rint(exact)
    # float32 images carry a relative error of 2**-24 a pixel step of 1/255 magnifies to 2**-16
    if np.abs(exact - codes).max(initial=0.0) > 1e-3:
        raise UserError(
            "float images that are no pixels, and the network does not quantize its input",
            hint=f"give values pixel * {encoding.pixel_scale[0]} + {encoding.pixel_offset[0]}, or uint8 pixels",
        )
    return codes


def _check_range(graph: Graph, codes: Array) -> None:
    kind = graph.input.qint
    if codes.size and (codes.min() < kind.min or codes.max() > kind.max):
        raise UserError(f"images reach {codes.min()}..{codes.max()}, the input takes {kind.min}..{kind.max}")


def decode(graph: Graph, codes: Array) -> Array:
    """Real values (float64) of output ``codes`` (N, H, W, C); the codes themselves behind an argmax."""
    if graph.decoding is None:
        return codes
    scale = np.array([float(s) for s in graph.decoding.scale])
    offset = np.array([float(o) for o in graph.decoding.offset])
    return codes * scale + offset


def predictions(graph: Graph, codes: Array) -> Array:
    """Class (N,) of each frame from output ``codes``: the argmax, on chip or of the decoded values."""
    if graph.decoding is None:
        return codes.reshape(len(codes))
    return np.asarray(decode(graph, codes).reshape(len(codes), -1).argmax(axis=1))
