"""Quantization after training as a command: the network, the images and the bits from what a user typed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from toolchain.errors import UserError
from toolchain.files import replace_folder
from toolchain.flow.images import load_images
from toolchain.frontend.layout import Layout
from toolchain.ir.types import UNIT_PIXEL, Encoding
from toolchain.locks import locked
from toolchain.memory import DEFAULT_MEMORY, Memory

if TYPE_CHECKING:
    from toolchain.flow.ptq import Images
    from toolchain.train.ptq.quantize import Bits
    from toolchain.train.ptq.source import Source

SEED = 0  # of the choice of calibration images from a training set


def default_folder(network: str, bits: Bits) -> Path:
    """Where the result goes when nobody says: runs/NAME-wXaY."""
    path = Path(network)
    name = path.parent.name if path.name == "model.pt" else path.resolve().name
    return Path("runs") / f"{name}-w{bits.weights}a{bits.acts}"


def quantize(
    network: str,
    out: Path,
    bits: Bits,
    *,
    images: Path | None = None,
    labels: Path | None = None,
    data: str | None = None,
    count: int = 256,
    overwrite: bool = False,
    memory: Memory = DEFAULT_MEMORY,
) -> Path:
    """Quantize a float network after training; writes model.onnx, model.pt and metrics.json below ``out``.

    Args:
        network: folder of a float run, or the name of a network.
        out: folder to write.
        bits: of weights and activations.
        images: .npy file; the first ``count`` images calibrate, the rest judge.
        labels: classes of ``images``.
        data: data set whose training images calibrate and whose test images judge; a run's own by default.
        count: calibration images at most.
        overwrite: replace what is in ``out``.
        memory: what it may take; layers' outputs that do not fit lie in temporary files.

    Raises:
        UserError: no such network, no or unfit images, ``out`` holds something.
    """
    from toolchain.flow.ptq import quantize_to
    from toolchain.train.ptq.source import find_source

    if out.exists() and not out.is_dir():
        raise UserError(f"{out} is a file", hint="give a folder with --out")
    if out.resolve() in (Path(network).resolve(), Path(network).resolve().parent):
        raise UserError(f"{out} holds the float network", hint="give another folder with --out")
    if not overwrite and out.is_dir() and any(out.iterdir()):
        raise UserError(f"the folder {out} is not empty", hint="use --overwrite or another --out")
    source = find_source(network)
    chosen = _images(source, images, labels, data, count)
    with locked(out, "quantize", wait=0), replace_folder(out) as folder:
        quantize_to(folder, source, chosen, bits, memory)
    return out


def _images(source: Source, images: Path | None, labels: Path | None, data: str | None, count: int) -> Images:
    from toolchain.flow.ptq import Images
    from toolchain.train.data import load

    channels, height, width = source.shape
    if images is not None:
        layout = Layout("NCHW", (height, width, channels))
        found = load_images(layout, Encoding(UNIT_PIXEL), images=images, labels=labels, data=None, count=None)
        if found.x.dtype != np.uint8 and (source.pixels is not None or found.x.dtype != np.float32):
            raise UserError("the calibration images are no pixels", where=found.name, hint="give uint8 pixels")
        x = layout.from_ir(found.x)
        return Images(found.name, x[:count], x[count:], None if found.y is None else found.y[count:])
    if labels is not None:
        raise UserError("labels without images", hint="give --images as well")
    if data is None and source.data is None:
        raise UserError("no calibration images", hint="give --images FILE.npy or --data NAME")
    dataset = source.data if data is None else load(data)
    assert dataset is not None
    if dataset.shape != source.shape:
        what = f"images of shape {dataset.shape} do not fit the network's input {source.shape}"
        raise UserError(what, where=dataset.name)
    order = np.random.default_rng(SEED).permutation(len(dataset.train_x))[:count]
    return Images(dataset.name, dataset.train_x[order], dataset.test_x, dataset.test_y)
