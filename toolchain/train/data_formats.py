"""Readers of the file formats data sets come in."""

from __future__ import annotations

import gzip
import io
import math
import pickle
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from toolchain.errors import UserError
from toolchain.files import NO_ARRAYS

Labels = NDArray[np.int64]
Samples = NDArray[Any]
"""Pixels in uint8, or numbers in float32."""


@dataclass(frozen=True)
class Part:
    """The training or the test samples of a data set: pixels (uint8) or numbers (float32), channels first.

    ``x`` is (N, features), (N, C, length) or (N, C, H, W), ``y`` (N,). ``names`` are those of the classes 0, 1, ...,
    ``features`` those of the features; both are empty where nothing names them.
    """

    x: Samples
    y: Labels
    names: tuple[str, ...] = ()
    features: tuple[str, ...] = ()


MAX_EXACT = 1 << 24
"""Larger integers are no float32 numbers."""

_CIFAR_SHAPE = (3, 32, 32)
_IMAGE_SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".ppm", ".pgm", ".tif", ".tiff", ".webp"}


def read_idx(path: Path) -> NDArray[np.uint8]:
    """An idx file of unsigned bytes, gzipped or not, in the shape its header gives.

    Raises:
        UserError: not an idx file, not unsigned bytes, or shorter than its header says.
    """
    data = path.read_bytes()
    if data[:2] == b"\x1f\x8b":
        try:
            data = gzip.decompress(data)
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise UserError(f"damaged gzip file: {error}", where=str(path)) from error
    if len(data) < 4 or data[:3] != b"\0\0\x08":
        raise UserError("not an idx file of unsigned bytes", where=str(path))
    axes = data[3]
    start = 4 + 4 * axes
    shape = struct.unpack(f">{axes}I", data[4:start]) if len(data) >= start else ()
    if len(data) - start != math.prod(shape) or not shape:
        raise UserError(f"idx file of {len(data)} bytes does not hold its {shape}", where=str(path))
    return np.frombuffer(data, np.uint8, offset=start).reshape(shape).copy()  # writable, as torch wants it


def read_idx_pair(images: Path, labels: Path) -> Part:
    """Grey images and their labels from two idx files."""
    x, y = read_idx(images), read_idx(labels)
    if x.ndim != 3 or y.shape != (len(x),):
        raise UserError(f"images {x.shape} and labels {y.shape} do not belong together", where=str(images))
    return Part(x[:, None], y.astype(np.int64))


def read_cifar_binary(paths: list[Path]) -> Part:
    """CIFAR-10 batches of the C version: a label byte and 3072 pixel bytes, channels first, for each image."""
    record = 1 + math.prod(_CIFAR_SHAPE)
    parts = []
    for path in paths:
        raw = np.fromfile(path, np.uint8)
        if raw.size % record or not raw.size:
            raise UserError(f"{raw.size} bytes are not a whole number of {record}-byte records", where=str(path))
        parts.append(raw.reshape(-1, record))
    rows = np.concatenate(parts)
    return Part(rows[:, 1:].reshape(-1, *_CIFAR_SHAPE).copy(), rows[:, 0].astype(np.int64))


class _ArrayUnpickler(pickle.Unpickler):
    """Reads plain containers and NumPy arrays, and refuses to import anything else."""

    _ALLOWED = frozenset(
        (module, name)
        for module in ("numpy", "numpy.core.multiarray", "numpy._core.multiarray")
        for name in ("ndarray", "dtype", "_reconstruct", "scalar")
    )

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in self._ALLOWED:
            return super().find_class(module, name)
        if (module, name) == ("_codecs", "encode"):  # how Python 3 pickles bytes for protocol 2
            return lambda text, encoding: str(text).encode("latin1")
        raise pickle.UnpicklingError(f"{module}.{name} is not allowed in a data file")


def read_cifar_python(paths: list[Path]) -> Part:
    """CIFAR-10 batches of the Python version, unpickled without the power to run code."""
    images, labels = [], []
    for path in paths:
        try:
            batch = _ArrayUnpickler(io.BytesIO(path.read_bytes()), encoding="bytes").load()
            raw, names = batch[b"data"], batch[b"labels"]
            images.append(np.asarray(raw, np.uint8).reshape(-1, *_CIFAR_SHAPE))
        except (pickle.UnpicklingError, EOFError, KeyError, TypeError, ValueError, AttributeError) as error:
            raise UserError(f"not a CIFAR-10 batch: {error}", where=str(path)) from error
        labels.append(np.asarray(names, np.int64))
    return Part(np.concatenate(images), np.concatenate(labels))


def read_jpeg_pack(path: Path) -> Part:
    """JPEGs that share one header in an .npz with ``header``, ``body``, ``offset`` (N + 1) and ``label``."""
    from PIL import Image

    try:
        with np.load(path) as pack:
            head, body = pack["header"].tobytes(), pack["body"].tobytes()
            at, labels = pack["offset"], pack["label"].astype(np.int64)
        images = [np.asarray(Image.open(io.BytesIO(head + body[at[i] : at[i + 1]]))) for i in range(len(labels))]
        stacked = np.stack(images)
    except (KeyError, IndexError, OSError, *NO_ARRAYS) as error:
        raise UserError(f"not a JPEG pack: {error}", where=str(path)) from error
    return Part(np.ascontiguousarray(stacked.transpose(0, 3, 1, 2) if stacked.ndim == 4 else stacked[:, None]), labels)


def read_npy_pair(samples: Path, labels: Path, layout: str | None) -> Part:
    """Pixels (uint8) or numbers, and labels (N,), from two .npy files; ``layout`` orders the axes, such as "NHWC".

    Raises:
        UserError: no such files, no numbers, labels that are no classes, or axes that only ``layout`` could tell.
    """
    x, y = _load_array(samples), _load_array(labels)
    if y.shape != (len(x) if x.ndim else -1,) or x.ndim < 2 or x.dtype.kind not in "biuf":
        raise UserError(
            f"samples {x.dtype}{x.shape} with labels {y.dtype}{y.shape}",
            where=str(samples),
            hint="expected pixels (uint8) or numbers, e.g. (N, C, H, W), (N, C, length), (N, features); labels (N,)",
        )
    if x.dtype.kind in "iu" and x.dtype != np.uint8 and x.size and max(int(x.max()), -int(x.min())) > MAX_EXACT:
        raise UserError(f"integers beyond {MAX_EXACT:,} are no float32 numbers", where=str(samples), hint="scale them")
    arranged = channels_first(x, layout, samples)
    return labelled(arranged if x.dtype == np.uint8 else arranged.astype(np.float32), y, labels)


def _load_array(path: Path) -> NDArray[Any]:
    try:
        array = np.load(path, allow_pickle=False)
    except OSError as error:
        raise UserError(f"cannot read the array: {error.strerror or error}", where=str(path)) from error
    except NO_ARRAYS as error:
        raise UserError("not a .npy file of numbers", where=str(path), hint="write it with numpy.save") from error
    if not isinstance(array, np.ndarray):
        raise UserError("several arrays in one file", where=str(path), hint="give one .npy file each")
    return array


def channels_first(x: NDArray[Any], layout: str | None, path: Path) -> NDArray[Any]:
    """``x`` as (N, features), (N, C, length) or (N, C, H, W).

    Raises:
        UserError: ``layout`` is one of other axes, or is missing where the shape does not tell it.
    """
    axes = layout or _only_layout(x, path)
    if len(axes) != x.ndim:
        raise UserError(f'data.layout = "{axes}" of samples {x.shape}', where=str(path), hint="name every axis")
    if "C" not in axes:
        return x[:, None]
    return np.ascontiguousarray(np.moveaxis(x, axes.index("C"), 1))


def _only_layout(x: NDArray[Any], path: Path) -> str:
    """The order of the axes of ``x`` that its type and shape leave."""
    if x.ndim > 4:
        raise UserError(f"samples {x.shape} have {x.ndim - 1} axes", where=str(path), hint="give one to three")
    first, last = x.shape[1], x.shape[-1]
    likely = x.ndim > 2 and last in (1, 3) and first > last
    if x.ndim == 4 and likely:
        choice = f'layout = "NHWC" (pictures of {last} channels) or layout = "NCHW" (of {first})'
    elif x.ndim == 3 and likely:
        choice = f'layout = "NWC" (signals of {last} channels), "NCW" (of {first}) or "NHW" (grey pictures)'
    elif x.ndim == 3 and x.dtype != np.uint8:
        choice = f'layout = "NCW" (signals of {first} channels), "NWC" (of {last}) or "NHW" (grey pictures)'
    else:
        return {2: "NC", 3: "NHW", 4: "NCHW"}[x.ndim]
    raise UserError(f"samples {x.shape} can be read in two ways", where=str(path), hint=f"add to [data]: {choice}")


def labelled(x: NDArray[Any], y: NDArray[Any], path: Path, features: tuple[str, ...] = ()) -> Part:
    """The part of samples ``x`` with labels ``y``: classes counted from 0, or their names.

    Raises:
        UserError: a sample that is not finite, a label that is below 0 or no whole number.
    """
    if x.dtype.kind == "f" and not np.isfinite(x).all():
        at = np.argwhere(~np.isfinite(x))[0]
        what = f"feature '{features[at[1]]}'" if features else f"element {tuple(int(i) for i in at[1:])}"
        raise UserError(
            f"sample {at[0]} is not finite in {what}", where=str(path), hint="fill or leave out such samples"
        )
    if y.dtype.kind == "U":
        names, numbers = np.unique(y, return_inverse=True)
        return Part(x, numbers.astype(np.int64), tuple(map(str, names)), features)
    if y.dtype.kind not in "iu":
        raise UserError(f"labels of type {y.dtype}", where=str(path), hint="give whole numbers from 0, or names")
    if y.size and y.min() < 0:
        at = int(np.argmax(y < 0))
        raise UserError(f"label {y[at]} of sample {at} is below 0", where=str(path), hint="count classes from 0")
    return Part(x, y.astype(np.int64), (), features)


def read_image_folder(folder: Path) -> Part:
    """Images of ``folder/CLASS/*``, all of one size; classes are numbered in the order of their names."""
    from PIL import Image, UnidentifiedImageError

    images: list[NDArray[np.uint8]] = []
    labels: list[int] = []
    classes = sorted(entry.name for entry in folder.iterdir() if entry.is_dir())
    for label, name in enumerate(classes):
        for path in sorted((folder / name).glob("*")):
            if path.suffix.lower() not in _IMAGE_SUFFIXES:
                continue
            try:
                with Image.open(path) as image:
                    if image.mode[0] in "IF":  # which a conversion clips to 255
                        hint = "save it with 8, or give arrays (npy:) of numbers"
                        raise UserError("its pixels have more than 8 bits", where=str(path), hint=hint)
                    pixels = np.asarray(image if image.mode in ("L", "RGB") else image.convert("RGB"))
            except (UnidentifiedImageError, OSError) as error:
                raise UserError(f"cannot read the image: {error}", where=str(path)) from error
            pixels = pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)
            if images and pixels.shape != images[0].shape:
                raise UserError(
                    f"image is {pixels.shape}, the ones before it are {images[0].shape} (channels, height, width)",
                    where=str(path),
                    hint="resize all images to one size and mode",
                )
            images.append(pixels)
            labels.append(label)
    if not images:
        return Part(np.empty((0, 1, 1, 1), np.uint8), np.empty(0, np.int64))
    return Part(np.stack(images), np.array(labels, np.int64), tuple(classes))


def resized(pictures: Samples, size: int) -> Samples:
    """Pictures (N, C, H, W) as (N, C, size, size): the mean of the area of a pixel, or between the nearest ones."""
    from PIL import Image

    kind = Image.Resampling.BOX if min(pictures.shape[2:]) >= size else Image.Resampling.BILINEAR
    made = np.empty((*pictures.shape[:2], size, size), dtype=np.uint8)
    for picture, out in zip(pictures, made, strict=True):
        for channel, plane in zip(picture, out, strict=True):
            plane[:] = Image.fromarray(channel).resize((size, size), kind)
    return made
