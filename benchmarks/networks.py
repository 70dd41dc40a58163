"""Seeded networks without training, written as QONNX files: the same weights in every run and no data needed."""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from toolchain.config.run import parse_config
from toolchain.export.qonnx import export_qonnx, input_metadata
from toolchain.train.inputs import PixelMap
from toolchain.train.models import build
from toolchain.train.statistics import Shape

SEED = 0
CALIBRATION_IMAGES, CALIBRATION_PASSES, GATE_IMAGES = 64, 2, 8


@dataclass(frozen=True)
class Network:
    """One of `toolchain.train.models` at an input ``shape`` (C, H, W); ``quant`` is the run file's section."""

    name: str
    model: str
    shape: Shape
    classes: int
    quant: dict[str, Any] = field(default_factory=dict)
    width: float = 1.0
    normalize: str = "unit"

    def pixel_map(self) -> PixelMap:
        """Pixels in 0..1, or on a grid of 1/64 in -2..2, which every fixed-point type of hls4ml holds exactly."""
        if self.normalize == "unit":
            return PixelMap((Fraction(1, 255),), (Fraction(0),))
        return PixelMap((Fraction(1, 64),), (Fraction(-2),))


def write_qonnx(network: Network, path: Path) -> None:
    """Write the network with seeded weights; batch norms and steps are set from seeded images."""
    torch.manual_seed(SEED)
    table = {
        "name": network.name,
        "data": {"normalize": network.normalize},
        "model": {"name": network.model, "width": network.width},
        "quant": network.quant,
    }
    model = build(parse_config(table, where=network.name), network.shape, network.classes)
    for layer in model.modules():
        if isinstance(layer, torch.nn.BatchNorm1d | torch.nn.BatchNorm2d):
            layer.momentum = None  # the mean over the passes
            torch.nn.init.uniform_(layer.weight, 0.5, 1.5)
            torch.nn.init.uniform_(layer.bias, -0.5, 0.5)
    pixels = network.pixel_map()
    x = torch.from_numpy(pixels.apply(images(network, CALIBRATION_IMAGES)))
    with torch.no_grad():
        for _ in range(CALIBRATION_PASSES):
            model.train()(x)
    export_qonnx(model, x[:GATE_IMAGES], path, input_metadata(pixels, "random"))


def images(network: Network, count: int) -> NDArray[np.uint8]:
    """Seeded pixels (N, C, H, W)."""
    return np.random.default_rng(SEED).integers(0, 256, (count, *network.shape), dtype=np.uint8)
