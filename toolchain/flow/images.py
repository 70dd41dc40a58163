"""The samples a build is verified on."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from toolchain.errors import UserError
from toolchain.files import NO_ARRAYS
from toolchain.frontend.layout import CHANNELS_FIRST, CHANNELS_LAST, Layout
from toolchain.frontend.several_inputs import Joined
from toolchain.ir.encode import random_inputs
from toolchain.ir.types import Array, Encoding

log = logging.getLogger(__name__)

DEFAULT_IMAGES, RANDOM_IMAGES = 1000, 64
"""How many are taken where nobody says: of images, and of random numbers."""
SEED = 0
"""The seed of the draw."""
MAPPED_BYTES = 1 << 26
"""Files above are read as far as they are used."""
_RANDOM = _PIXELS, _NUMBERS = "random pixels", "random inputs"


@dataclass(frozen=True)
class Images:
    """``x`` (N, H, W, C), integers of the input's type or float32 numbers, with labels ``y`` (N,) where known."""

    name: str
    x: Array
    y: Array | None

    @property
    def random(self) -> bool:
        """Whether nobody has shown any: numbers at random."""
        return self.name in _RANDOM

    def first(self, count: int) -> Images:
        """The first ``count`` of them."""
        return Images(self.name, self.x[:count], None if self.y is None else self.y[:count])


@dataclass(frozen=True)
class Trained:
    """A model's notes on the data it was trained on: the data set, how it is read, the classes, the outputs."""

    data: str | None = None
    reading: Mapping[str, Any] | None = None
    classes: Sequence[str] = ()
    outputs: int | None = None


def load_images(
    layout: Layout,
    encoding: Encoding | None,
    *,
    images: Path | Array | Mapping[str, Array] | None,
    labels: Path | Array | None,
    data: str | None,
    count: int | None,
    trained: Trained = Trained(),
    joined: Joined | None = None,
) -> Images:
    """``images``, a file or an array, else those of the data set ``data`` or the ``trained`` one, else random numbers.

    ``encoding`` tells what the host makes of its input, and the integers of random inputs. With None the host is given
    real numbers, and random ones are normal. ``count`` images are drawn, see ``drawn``: all for 0; for None 1000, or 64
    random ones. ``joined`` tells how the arrays of several inputs, in a .npz file or a mapping, become one.

    Raises:
        UserError: unreadable files, shapes or classes that do not fit the network, no images.
    """
    demand_one_source(images, data)
    if images is not None:
        x, y = read_samples(images, joined), None if labels is None else read_array(labels)
        found = Images(images.name if isinstance(images, Path) else "given images", x, y)
    elif labels is not None:
        raise UserError("labels without images", hint="give --images as well")
    elif data is not None or trained.data is not None:
        found = _of_data(data or str(trained.data), trained)
    elif encoding is None:
        x = np.random.default_rng(SEED).normal(size=(count or RANDOM_IMAGES, *layout.shape)).astype(np.float32)
        return Images("random numbers", x, None)
    else:
        name = _PIXELS if encoding.input.is_pixel and encoding.integers else _NUMBERS
        return Images(name, random_inputs(encoding, (count or RANDOM_IMAGES, *layout.shape)), None)
    if not len(found.x):
        raise UserError("no images", where=found.name)
    y = None if found.y is None else checked_labels(found, trained)
    some = drawn(len(found.x), DEFAULT_IMAGES if count is None else count, y)
    last = images is not None and _come_last(found, layout, trained)
    x = found.x[some].reshape(-1, *layout.shape) if last else found.x[some]
    x = _given(_arranged(x, replace(layout, axes="NHWC") if last else layout, found.name), encoding, found.name)
    return Images(found.name, x, None if y is None else y[some])


def demand_one_source(images: object, data: str | None) -> None:
    """Raise UserError where images are given and a data set too: one would be ignored."""
    if images is not None and data is not None:
        raise UserError("--images with --data", hint="give one of them")


def drawn(number: int, count: int, labels: Array | None = None) -> Array | slice:
    """The indices of ``count`` of ``number`` samples, drawn with a fixed seed, alike many of each class, shuffled.

    All in their own order where there are no more, or for a ``count`` of 0.
    """
    if not count or count >= number:
        return slice(None)
    order = np.random.default_rng(SEED).permutation(number)
    if labels is None:
        return order[:count]
    by_class = labels[order]
    turn = np.empty(number, dtype=np.int64)  # of a sample among those of its class
    for label in np.unique(by_class):
        places = np.flatnonzero(by_class == label)
        turn[places] = np.arange(len(places))
    return np.asarray(order[np.argsort(turn, kind="stable")][:count])


def _of_data(name: str, trained: Trained) -> Images:
    """The test samples of a data set, labels as the trained classes are numbered."""
    from toolchain.train.data import Reading, load_test, matched

    found = load_test(name, reading=Reading.of(trained.reading or {}))
    if found.names and not trained.classes and trained.outputs not in (None, 1, len(found.names)):
        raise UserError(
            f"{len(found.names)} classes, and the network, which names none, has {trained.outputs} outputs",
            where=name,
            hint='name them in the model\'s metadata entry fpgaflow.classes: ["cat", "dog"]',
        )
    found = matched(found, tuple(trained.classes), name)
    return Images(name, found.x, found.y)


def checked_labels(found: Images, trained: Trained = Trained()) -> Array:
    """The labels of ``found``, which has some, as classes of the network.

    Raises:
        UserError: they are no whole numbers from 0, one an image, or more than the network has classes.
    """
    y = found.y
    assert y is not None
    if y.shape != (len(found.x),):
        given = f"{len(y)} labels" if y.ndim == 1 else f"labels {y.shape}"
        raise UserError(f"{len(found.x)} images and {given}", where=found.name)
    if not np.issubdtype(y.dtype, np.integer):
        raise UserError(f"labels of type {y.dtype}", where=found.name, hint="give whole numbers, classes from 0")
    number = len(trained.classes) or trained.outputs or 0
    wrong = np.flatnonzero((y < 0) | ((y >= number) if number > 1 else False))
    if len(wrong):
        range_ = f"0 to {number - 1}" if number > 1 else "0 and more"
        raise UserError(f"label {y[wrong[0]]} of image {wrong[0]}: classes are {range_}", where=found.name)
    return y.astype(np.int64)


def read_samples(images: Path | Array | Mapping[str, Array], joined: Joined | None) -> Array:
    """The array of ``images``; those of several inputs, ``joined``, by name are made one.

    Raises:
        UserError: the file cannot be read, or its arrays are not those of the inputs.
    """
    if isinstance(images, Path) and images.suffix == ".npz" and joined is not None:
        try:
            with np.load(images, allow_pickle=False) as file:
                images = {name: file[name] for name in file.files}
        except OSError as error:
            raise UserError(f"cannot read {images}: {error.strerror or error}") from error
        except NO_ARRAYS as error:
            raise UserError(f"{images} is no .npz file of numbers", hint="write it with numpy.savez") from error
    if not isinstance(images, Mapping):
        return read_array(images)
    if joined is None:
        raise UserError("arrays by name, and the network has one input", hint="give one array")
    return joined.join({name: np.asarray(array) for name, array in images.items()})


def read_array(path: Path | Array) -> Array:
    """The array of a .npy file, or the one that is given.

    Raises:
        UserError: the file cannot be read, or holds something else.
    """
    if isinstance(path, np.ndarray):
        if not path.ndim:
            raise UserError("a single number is no array of samples", hint="give an array (N, ...)")
        return path
    try:
        array = np.load(path, allow_pickle=False, mmap_mode="r" if path.stat().st_size > MAPPED_BYTES else None)
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}") from error
    except NO_ARRAYS as error:
        raise UserError(f"{path} is no .npy file of numbers", hint="write it with numpy.save") from error
    if not isinstance(array, np.ndarray) or not array.ndim:
        raise UserError(f"{path} holds no array of samples", hint="give one .npy file")
    return array


def _come_last(found: Images, layout: Layout, trained: Trained) -> bool:
    """Whether images that fit in either order have their channels last, as the data that the network was made of."""
    shape, axes = found.x.shape[1:], str((trained.reading or {}).get("layout"))
    both = layout.axes in CHANNELS_FIRST and shape == layout.onnx_shape(1)[1:] and len(set(shape)) == 1
    if not both or axes not in CHANNELS_LAST or len(axes) != len(layout.axes):
        return False
    log.warning(
        "images of shape %s fit in either order of the axes: their channels come last here, as in the data that the "
        "network was made of, and first for the board's driver", shape,
    )  # fmt: skip
    return True


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
    elif height == 1 and x.shape[1:] == (width, channels):
        arranged = x[:, None]
    else:
        raise UserError(f"images of shape {x.shape[1:]} do not fit the network's input {onnx}", where=name)
    if arranged.dtype == np.bool_:
        return arranged.astype(np.uint8)
    if not np.issubdtype(arranged.dtype, np.integer) and not np.issubdtype(arranged.dtype, np.floating):
        raise UserError(f"images of type {arranged.dtype}", where=name, hint="give integers, or float32 values")
    return arranged if np.issubdtype(arranged.dtype, np.integer) else arranged.astype(np.float32, copy=False)


def _given(x: Array, encoding: Encoding | None, name: str) -> Array:
    """``x`` as the host may be given it: integers as numbers where those are measured, or refused without a worth."""
    if np.issubdtype(x.dtype, np.floating) or (encoding is not None and encoding.integers):
        return x
    if encoding is not None and encoding.standard is not None:
        return x.astype(np.float32)
    raise UserError(
        f"images of {x.dtype}, and the model does not tell what they are worth to its quantizer",
        where=name,
        hint="export with --pixel-scale 1/255 for pixels, or give the network's float32 values",
    )
