"""Quantization after training as a command: the network, the images and the bits from what a user typed."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from toolchain.errors import UserError
from toolchain.files import replace_folder
from toolchain.flow.images import Images as FlowImages
from toolchain.flow.images import Trained, checked_labels, demand_one_source, load_images, read_array
from toolchain.flow.runs import demand_run
from toolchain.frontend.layout import layout_of
from toolchain.ir.types import UNIT_PIXEL, Array, Encoding
from toolchain.locks import locked
from toolchain.memory import DEFAULT_MEMORY, Memory

if TYPE_CHECKING:
    from torch import nn

    from toolchain.flow.ptq import Images
    from toolchain.train.data import Dataset
    from toolchain.train.ptq.quantize import Bits
    from toolchain.train.ptq.source import Sample, Source

_NO_IMAGES = "no calibration images"
SEED = 0  # of the choice of calibration images from a training set


def default_folder(network: str | nn.Module, bits: Bits) -> Path:
    """The default folder of a result: runs/NAME-wXaY."""
    if not isinstance(network, str):
        name = type(network).__name__
    elif ":" in network:
        name = network.rpartition(":")[2]
    else:
        path = Path(network)
        name = path.parent.name if path.name == "model.pt" else path.resolve().name.removesuffix(".onnx")
    return Path("runs") / f"{name}-w{bits.weights}a{bits.acts}"


def quantize(
    network: str | nn.Module,
    out: Path,
    bits: Bits,
    *,
    images: Path | Array | None = None,
    labels: Path | Array | None = None,
    data: str | None = None,
    normalize: Literal["unit", "standard"] = "unit",
    count: int = 256,
    weights: Path | None = None,
    options: Mapping[str, Any] | None = None,
    overwrite: bool = False,
    memory: Memory = DEFAULT_MEMORY,
) -> Path:
    """Quantize a float network after training; writes model.onnx, model.pt and metrics.json below ``out``.

    Args:
        network: folder of a float run, the name of a network, a float ONNX file, FILE.py:NAME or package.module:NAME,
            or a network.
        out: folder to write.
        bits: of weights and activations.
        images: .npy file or array (N, C, ...), float32 input values or uint8 pixels, which are divided by 255 unless
            the network does so itself; ``count`` of them calibrate, the rest judge.
        labels: classes of ``images``.
        data: data set whose training images calibrate and whose test images judge; a run's own by default.
        normalize: of ``data``, for a network that does not say it, as in a run file.
        count: calibration images at most.
        weights: state dict for a network of one's own.
        options: arguments of the function that makes it.
        overwrite: replace an earlier run in ``out``.
        memory: what it may take; layers' outputs that do not fit lie in temporary files.

    Raises:
        UserError: no such network, no or unfit images, ``out`` holds something.
    """
    from torch import nn

    from toolchain.flow.ptq import quantize_to
    from toolchain.train.data import load, load_like
    from toolchain.train.ptq.source import find_source, says_its_input

    if not isinstance(network, str | nn.Module):
        what = f"{network.__name__} is a class" if isinstance(network, type) else f"{network!r} is no network"
        raise UserError(what, hint="give a network, a torch.nn.Module, or the name of one")
    if count < 1:
        raise UserError(f"{count} calibration images", hint="give 1 or more")
    if normalize not in ("unit", "standard"):
        raise UserError(f"normalize = {normalize!r}", hint="give 'unit' or 'standard'")
    demand_one_source(images, data)
    if normalize != "unit" and (data is None or says_its_input(network)):
        what = f"--normalize {normalize} without --data" if data is None else f"--normalize {normalize} of {network}"
        raise UserError(what, hint="it says what pixels of --data are to a network that does not say it")
    if out.exists() and not out.is_dir():
        raise UserError(f"{out} is a file", hint="give a folder with --out")
    if isinstance(network, str) and out.resolve() in (Path(network).resolve(), Path(network).resolve().parent):
        raise UserError(f"{out} holds the float network", hint="give another folder with --out")
    _demand_free(out, overwrite)
    if says_its_input(network):
        source = find_source(str(network), None, weights=weights, options=options)
        dataset = source.data if data is None else load_like(source.data, data)
    else:
        dataset = None if data is None else load(data)
        sample = _sample(images, labels, dataset, normalize)
        source = find_source(network, sample, weights=weights, options=options)
    chosen = _images(source, images, labels, dataset, count)
    with locked(out, "quantize", wait=0):
        _demand_free(out, overwrite)  # another process may have written there while this one read
        with replace_folder(out) as folder:
            quantize_to(folder, source, chosen, bits, memory)
    return out


def _demand_free(out: Path, overwrite: bool) -> None:
    """Raise UserError where ``out`` holds a run, unless it may be replaced, or something that no run wrote."""
    if not overwrite and out.is_dir() and any(out.iterdir()):
        raise UserError(f"the folder {out} is not empty", hint="use --overwrite or another --out")
    if out.is_dir():
        demand_run(out)


def _sample(
    images: Path | Array | None,
    labels: Path | Array | None,
    data: Dataset | None,
    normalize: Literal["unit", "standard"],
) -> Sample:
    """The input of a network that says nothing about it, from the images it is calibrated on."""
    from toolchain.train.data import input_map
    from toolchain.train.inputs import PixelMap
    from toolchain.train.ptq.source import Sample

    if images is not None:
        x, y = read_array(images), None if labels is None else read_array(labels)
        if y is not None:
            y = checked_labels(FlowImages(images.name if isinstance(images, Path) else "given images", x, y))
        pixels = PixelMap((Fraction(1, 255),), (Fraction(0),)) if x.dtype == np.uint8 else None
        return Sample(tuple(x.shape[1:]), None if y is None or not len(y) else int(y.max()) + 1, pixels)
    if data is None:
        raise UserError(_NO_IMAGES, hint="give --images FILE.npy or --data NAME")
    as_it_is = data.real and normalize == "unit"  # numbers that the network reads as they are
    return Sample(data.shape, data.classes, None if as_it_is else input_map(data, normalize))


def _outputs(source: Source) -> int:
    """Classes that a network tells apart."""
    import torch

    with torch.no_grad():
        return int(source.model(torch.zeros(1, *source.shape)).shape[1])


def _images(
    source: Source, images: Path | Array | None, labels: Path | Array | None, data: Dataset | None, count: int
) -> Images:
    from toolchain.flow.ptq import Images
    from toolchain.train.inputs import FeatureMap

    numbers = isinstance(source.pixels, FeatureMap)
    if images is not None:
        layout = layout_of(source.shape)
        trained = Trained(reading={"layout": source.axes}, outputs=_outputs(source))
        pixels = Encoding(UNIT_PIXEL)
        found = load_images(layout, pixels, images=images, labels=labels, data=None, count=0, trained=trained)
        if np.issubdtype(found.x.dtype, np.floating) and not np.isfinite(found.x).all():
            raise UserError("the calibration images hold NaN or infinity", where=found.name)
        if not numbers and found.x.dtype != np.uint8 and (source.pixels is not None or found.x.dtype != np.float32):
            raise UserError("the calibration images are no pixels", where=found.name, hint="give uint8 pixels")
        x, y = layout.from_ir(found.x), found.y
        order = np.random.default_rng(SEED).permutation(len(x))  # the classes of a file may be sorted
        some, rest = order[:count], order[count:]
        return Images(found.name, x[some], x[rest], None if y is None else y[rest if len(rest) else some])
    if labels is not None:
        raise UserError("labels without images", hint="give --images as well")
    if data is None:
        raise UserError(_NO_IMAGES, hint="give --images FILE.npy or --data NAME")
    unlike = source.pixels is not None and data.real != numbers
    if unlike or [size for size in data.shape if size > 1] != [size for size in source.shape if size > 1]:
        kind = "numbers" if data.real else "images"
        what = f"{kind} of shape {data.shape} do not fit the network's input {source.shape}"
        raise UserError(what, where=data.name)
    train, test = (x.reshape(len(x), *source.shape) for x in (data.train_x, data.test_x))
    order = np.random.default_rng(SEED).permutation(len(train))[:count]
    return Images(data.name, train[order], test, data.test_y, data.name)
