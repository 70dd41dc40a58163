"""Readers of the file formats image data sets come in. Each returns uint8 images (N, C, H, W) and int64 labels (N,)."""

from __future__ import annotations

import gzip
import io
import math
import pickle
import struct
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from toolchain.errors import UserError

Images = NDArray[np.uint8]
Labels = NDArray[np.int64]
Part = tuple[Images, Labels]

_CIFAR_SHAPE = (3, 32, 32)
_IMAGE_SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".ppm", ".pgm"}


def read_idx(path: Path) -> NDArray[np.uint8]:
    """An idx file of unsigned bytes, gzipped or not, in the shape its header gives.

    Raises:
        UserError: not an idx file, not unsigned bytes, or shorter than its header says.
    """
    data = path.read_bytes()
    if data[:2] == b"\x1f\x8b":
        try:
            data = gzip.decompress(data)
        except (EOFError, gzip.BadGzipFile) as error:
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
    return x[:, None], y.astype(np.int64)


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
    return rows[:, 1:].reshape(-1, *_CIFAR_SHAPE).copy(), rows[:, 0].astype(np.int64)


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
    return np.concatenate(images), np.concatenate(labels)


def read_jpeg_pack(path: Path) -> Part:
    """JPEGs that share one header in an .npz with ``header``, ``body``, ``offset`` (N + 1) and ``label``."""
    from PIL import Image

    try:
        with np.load(path) as pack:
            head, body = pack["header"].tobytes(), pack["body"].tobytes()
            at, labels = pack["offset"], pack["label"].astype(np.int64)
    except (KeyError, ValueError, OSError) as error:
        raise UserError(f"not a JPEG pack: {error}", where=str(path)) from error
    images = [np.asarray(Image.open(io.BytesIO(head + body[at[i] : at[i + 1]]))) for i in range(len(labels))]
    stacked = np.stack(images)
    return np.ascontiguousarray(stacked.transpose(0, 3, 1, 2) if stacked.ndim == 4 else stacked[:, None]), labels


def read_npy_pair(images: Path, labels: Path) -> Part:
    """uint8 images (N, C, H, W) or (N, H, W), and integer labels (N,), from two .npy files."""
    try:
        x, y = np.load(images, allow_pickle=False), np.load(labels, allow_pickle=False)
    except (OSError, ValueError) as error:
        raise UserError(f"cannot read the arrays: {error}", where=str(images)) from error
    x = x[:, None] if x.ndim == 3 else x
    if x.dtype != np.uint8 or x.ndim != 4 or y.shape != (len(x),) or not np.issubdtype(y.dtype, np.integer):
        raise UserError(
            f"images {x.dtype}{x.shape} with labels {y.dtype}{y.shape}",
            where=str(images),
            hint="expected uint8 images (N, C, H, W) and integer labels (N,)",
        )
    return x, y.astype(np.int64)


def read_image_folder(folder: Path, classes: list[str]) -> Part:
    """Images of ``folder/CLASS/*``, all of one size; a class's label is its place in ``classes``."""
    from PIL import Image, UnidentifiedImageError

    images: list[NDArray[np.uint8]] = []
    labels: list[int] = []
    for label, name in enumerate(classes):
        for path in sorted((folder / name).glob("*")):
            if path.suffix.lower() not in _IMAGE_SUFFIXES:
                continue
            try:
                with Image.open(path) as image:
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
        return np.empty((0, 1, 1, 1), np.uint8), np.empty(0, np.int64)
    return np.stack(images), np.array(labels, np.int64)
