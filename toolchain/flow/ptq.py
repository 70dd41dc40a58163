"""A float network to a folder like a training run's: the proven QONNX file, the quantized weights and the metrics."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, fx, nn

from toolchain import __version__, files
from toolchain.export.qonnx import export_qonnx, input_metadata
from toolchain.flow.images import drawn
from toolchain.frontend.execute import execute_qonnx
from toolchain.frontend.metadata import READING
from toolchain.ir.input_types import parse_input
from toolchain.memory import DEFAULT_MEMORY, Memory
from toolchain.train.checkpoints import state_bytes
from toolchain.train.data_formats import Labels
from toolchain.train.inputs import FeatureMap, InputMap, PixelMap
from toolchain.train.ptq.quantize import Bits, quantize
from toolchain.train.ptq.source import Source
from toolchain.train.runs import write_metrics
from toolchain.train.statistics import macs, parameters, weight_sparsity

log = logging.getLogger(__name__)

_BATCH = 16
_QONNX_IMAGES = 100  # test images that the file is executed on
_GATE_VALUES, _GATE_IMAGES = 1 << 19, 64  # the gate holds every tensor of its images in memory

Pixels = NDArray[Any]
"""uint8 pixels, float32 numbers that the source maps, or float32 input values."""


@dataclass(frozen=True)
class Images:
    """The images that a network is calibrated and judged on: uint8 pixels, or input values, (N, C, H, W).

    Args:
        name: where they come from.
        calibration: what steps, weights and biases are fitted to.
        test: other images; may be none.
        labels: the classes of the test images, or of the others where there are none; None where nobody knows.
        data: the data set that they are of, as `toolchain.train.data.load` takes it; None where they are of none.
    """

    name: str
    calibration: Pixels
    test: Pixels
    labels: Labels | None = None
    data: str | None = None


def quantize_to(out: Path, source: Source, images: Images, bits: Bits, memory: Memory = DEFAULT_MEMORY) -> Path:
    """Quantize ``source`` and write model.onnx, model.pt and metrics.json below ``out``; returns ``out``.

    Raises:
        UserError: the network holds something that cannot be quantized, or ``bits`` names an unknown layer.
        VerificationError: the exported file does not compute what the quantized network computes.
    """
    started = time.monotonic()
    values = [_values(part, source.pixels) for part in (images.calibration, images.test)]
    calibration, test = values
    mapped = images.calibration.dtype == np.uint8 or isinstance(source.pixels, FeatureMap)
    pixels = source.pixels if mapped else None
    codes = pixels is not None and holds_codes(pixels)
    pixel_step = _step(pixels) if pixels is not None else 1.0
    network = quantize(source.model, calibration, bits, pixels=codes, pixel_step=pixel_step, room=memory.room)
    seconds = time.monotonic() - started
    metadata = {"fpgaflow.version": __version__}
    if pixels is not None:
        data = source.data
        named = (data.names, data.reading) if data is not None else ()
        metadata |= input_metadata(pixels, images.data or (data.name if data is not None else None), *named)
    if source.turned and images.data is None:
        metadata[READING] = json.dumps({"layout": source.axes})
    path = out / "model.onnx"
    few = max(2, min(_GATE_IMAGES, _GATE_VALUES // calibration[0].numel()))
    report = export_qonnx(network, calibration[:few], path, metadata)
    log.info("%s equals the network on %d images; %d codes on a tie", path, report.images, report.flips)
    metrics = {
        "data": images.name,
        "model": source.name,
        "methods": ["ptq"],
        **_accuracy(source.model, network, path, test if len(test) else calibration, images.labels),
        "judged_on": "test" if len(test) else "calibration",
        "params": parameters(network),
        "macs": macs(network, source.shape),
        "weight_bits": bits.weights,
        "act_bits": bits.acts,
        "weight_sparsity": weight_sparsity(network),
        "epochs": 0,
        "seconds": round(seconds, 1),
        "calibration_images": len(calibration),
    }
    files.write_bytes(out / "model.pt", _saved(network, bits))
    write_metrics(metrics, out)
    return out


def holds_codes(pixels: InputMap) -> bool:
    """Whether pixels can be a convolution's input as they are: one scale, and a pixel of 0..255 that stands for 0.

    Of what the host rounds to a type the same is asked of the type; numbers that it does not round never can.
    """
    if pixels.given is not None:
        given = parse_input(pixels.given)
        return len(given.scale) == 1 and given.low <= given.zeros[0] <= given.high and not given.bipolar
    if isinstance(pixels, FeatureMap):
        return False
    zeros = {-offset / scale for offset in pixels.offset for scale in pixels.scale}
    zero = next(iter(zeros))
    return len(set(pixels.scale)) == 1 and len(zeros) == 1 and zero.denominator == 1 and 0 <= zero <= 255


def _step(pixels: InputMap) -> float:
    """The difference of two neighbouring codes of the input; 1 of numbers that have no codes."""
    if pixels.given is not None:
        return float(parse_input(pixels.given).scale[0])
    return float(pixels.scale[0]) if isinstance(pixels, PixelMap) else 1.0


def _values(images: Pixels, pixels: InputMap | None) -> Tensor:
    """Input values of the images: pixels and numbers are mapped, others are such values."""
    if isinstance(pixels, FeatureMap):
        return torch.from_numpy(pixels.apply(np.asarray(images, dtype=np.float32)))
    if images.dtype != np.uint8:
        return torch.from_numpy(np.asarray(images, dtype=np.float32))
    return torch.from_numpy((pixels or PixelMap((Fraction(1, 255),), (Fraction(0),))).apply(images))


def _accuracy(
    plain: nn.Module, network: nn.Module, path: Path, test: Tensor, labels: Labels | None
) -> dict[str, float | int | None]:
    """Top-1 of the float network, the quantized one and the file, and how often the first two agree."""
    keys = ("float_top1", "top1", "qonnx_top1", "agreement")
    found: dict[str, float | int | None] = dict.fromkeys(keys)
    found["agreement_images"] = len(test)
    theirs, ours = (_classes(model, test) for model in (plain, network))
    found["agreement"] = _share(theirs, ours)
    if labels is not None:
        some = drawn(len(test), _QONNX_IMAGES, labels)
        file = next(iter(execute_qonnx(path, test[some].numpy(), batch=_BATCH).values())).argmax(1)
        found |= {"float_top1": _share(theirs, labels), "top1": _share(ours, labels), "test_images": len(test)}
        found |= {"qonnx_top1": _share(file, labels[some]), "qonnx_images": len(file)}
    return found


def _classes(model: nn.Module, x: Tensor) -> NDArray[np.int64]:
    with torch.no_grad():
        return torch.cat([model(part).argmax(1) for part in x.split(_BATCH)]).numpy()  # type: ignore[no-any-return]


def _share(a: NDArray[np.int64], b: NDArray[np.int64]) -> float:
    return round(float(np.mean(a == b)), 6)


def _saved(network: fx.GraphModule, bits: Bits) -> bytes:
    plain: Mapping[str, Any] = {**asdict(bits), "layers": dict(bits.layers)}
    return state_bytes({"ptq": json.dumps(plain), "state_dict": network.state_dict()})
