"""The images a build is verified on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from toolchain.errors import UserError
from toolchain.frontend.layout import Layout
from toolchain.ir.encode import random_inputs
from toolchain.ir.types import Array, Encoding

RANDOM_IMAGES = 64

MAPPED_BYTES = 1 << 26
"""Files above are read as far as they are used."""


@dataclass(frozen=True)
class Images:
    """``x`` (N, H, W, C), integers of the input's type or float32 values, with labels ``y`` (N,) where known."""

    name: str
    x: Array
    y: Array | None


def load_images(
    layout: Layout,
    encoding: Encoding,
    *,
    images: Path | Array | None,
    labels: Path | Array | None,
    data: str | None,
    count: int | None,
) -> Images:
    """The first ``count`` of ``images``, a file or an array, else of the data set ``data``, else of 64 random ones.

    ``encoding`` tells the integers that are drawn, and what the host makes of what it is given.

    Raises:
        UserError: unreadable files, shapes that do not fit the network's input, no images.
    """
    if images is not None:
        x, y = read_array(images), None if labels is None else read_array(labels)
        found = Images(images.name if isinstance(images, Path) else "given images", x, y)
    elif labels is not None:
        raise UserError("labels without images", hint="give --images as well")
    elif data is not None:
        from toolchain.train.data import load_test

        found = Images(data, *load_test(data))
    else:
        name = "random pixels" if encoding.input.is_pixel else "random inputs"
        number = min(RANDOM_IMAGES, count or RANDOM_IMAGES)
        return Images(name, random_inputs(encoding, (number, *layout.shape)), None)
    if not len(found.x):
        raise UserError("no images", where=found.name)
    if found.y is not None and len(found.y) != len(found.x):
        raise UserError(f"{len(found.x)} images and {len(found.y)} labels", where=found.name)
    x, y = found.x[:count], None if found.y is None else found.y[:count].astype(np.int64)
    return Images(found.name, _arranged(x, layout, found.name), y)


def read_array(path: Path | Array) -> Array:
    """The array of a .npy file, or the one that is given.

    Raises:
        UserError: the file cannot be read, or holds something else.
    """
    if isinstance(path, np.ndarray):
        return path
    try:
        array = np.load(path, allow_pickle=False, mmap_mode="r" if path.stat().st_size > MAPPED_BYTES else None)
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}") from error
    except ValueError as error:
        raise UserError(f"{path} is no .npy file of numbers", hint="write it with numpy.save") from error
    if not isinstance(array, np.ndarray):
        raise UserError(f"{path} holds several arrays", hint="give one .npy file")
    return array


def _arranged(x: Array, layout: Layout, name: str) -> Array:
    """(N, H, W, C) from the network's own axes, from channels last, or from flat rows of the network's order."""
    height, width, channels = layout.shape
    onnx = layout.onnx_shape(1)[1:]
    if x.shape[1:] == layout.shape and x.shape[1:] != onnx:
        arranged = x
    elif x.shape[1:] in (onnx, (height * width * channels,)) or (channels == 1 and x.shape[1:] == (height, width)):
        arranged = layout.to_ir(x)
    elif layout.axes == "NC" and x[0].size == channels:
        arranged = layout.to_ir(x.reshape(len(x), channels))
    else:
        raise UserError(f"images of shape {x.shape[1:]} do not fit the network's input {onnx}", where=name)
    if arranged.dtype == np.bool_:
        return arranged.astype(np.uint8)
    if not np.issubdtype(arranged.dtype, np.integer) and not np.issubdtype(arranged.dtype, np.floating):
        raise UserError(f"images of type {arranged.dtype}", where=name, hint="give integers, or float32 values")
    return arranged if np.issubdtype(arranged.dtype, np.integer) else arranged.astype(np.float32, copy=False)
