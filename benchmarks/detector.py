"""A detector with two heads, as YOLO has: Brevitas layers with seeded weights, exported, built and simulated.

    python -m benchmarks detector --size 320 --images 2 --act silu

Convolutions of stride 2, a pyramid whose deep map is enlarged and joined with the one before it, and a head of boxes on
each of both maps. Weights and activations have 4 bits; what follows the last quantizer is the host's.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

import torch
from brevitas.nn import QuantConv2d, QuantIdentity
from brevitas.quant import Int8ActPerTensorFloat, Int8WeightPerChannelFloat, Uint8ActPerTensorFloat
from torch import Tensor, nn

import fpgaflow
from benchmarks.common import Row, print_rows
from benchmarks.schemas import DETECTOR
from toolchain.export.qonnx import to_qonnx
from toolchain.files import write_bytes
from toolchain.frontend.metadata import INPUT

BITS, SEED, CALIBRATION = 4, 0, 8
ACTS = {"relu": (nn.ReLU, Uint8ActPerTensorFloat), "silu": (nn.SiLU, Int8ActPerTensorFloat)}
"""Functions between norm and quantizer, and the quantizers of what they give."""
BOXES = 18
"""Channels of a head: three anchors of a box, a score and a class."""


class Block(nn.Module):
    """Convolution, batch norm, the function ``act`` and its quantizer."""

    def __init__(self, act: str, inputs: int, outputs: int, kernel: int = 3, stride: int = 1) -> None:
        super().__init__()
        self.conv = QuantConv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False,
                                weight_quant=Int8WeightPerChannelFloat, weight_bit_width=BITS)  # fmt: skip
        self.norm = nn.BatchNorm2d(outputs)
        function, quantizer = ACTS[act]
        self.act = nn.Sequential(function(), QuantIdentity(act_quant=quantizer, bit_width=BITS))

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.norm(self.conv(x)))


class Detector(nn.Module):
    """Boxes on maps of an eighth and of a sixteenth of the input's rows and columns."""

    def __init__(self, act: str) -> None:
        super().__init__()
        sizes = ((3, 8, 3, 2), (8, 16, 3, 2), (16, 32, 3, 2), (32, 32))
        self.stem = nn.Sequential(*(Block(act, *size) for size in sizes))
        self.deep = nn.Sequential(Block(act, 32, 64, stride=2), Block(act, 64, 64))
        self.lateral, self.up = Block(act, 64, 32, 1), nn.Upsample(scale_factor=2, mode="nearest")
        self.joined = Block(act, 64, 32)
        heads = (QuantConv2d(n, BOXES, 1, weight_quant=Int8WeightPerChannelFloat, weight_bit_width=BITS)
                 for n in (32, 64))  # fmt: skip
        self.small, self.large = heads

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        fine = self.stem(x)
        coarse = self.deep(fine)
        fine = self.joined(torch.cat([self.up(self.lateral(coarse)), fine], 1))
        return self.small(fine), self.large(coarse)


def write_detector(path: Path, size: int, act: str) -> None:
    """Write the detector for pixels (3, size, size) to ``path``; norms and scales are set from seeded pixels."""
    torch.manual_seed(SEED)
    model = Detector(act)
    for layer in model.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.momentum = None  # the mean over the passes
    x = torch.randint(0, 256, (CALIBRATION, 3, size, size)) / 255
    with torch.no_grad():
        for image in x.split(2):
            model.train()(image)
    file = to_qonnx(model.eval(), x[:1], {INPUT: json.dumps({"pixel": {"scale": ["1/255"], "offset": ["0"]}})})
    write_bytes(path, file.model.SerializeToString(deterministic=True))


def detector_row(size: int, act: str, images: int, folder: Path) -> Row:
    """What became of the detector at ``size``."""
    path = folder / "detector.onnx"
    write_detector(path, size, act)
    report = fpgaflow.export(path, out=folder / "build", count=images, qonnx_images=images)
    used, found = report.resources, report.verification
    return {
        "size": size,
        "act": act,
        "outputs": "; ".join(f"{o.name} {' x '.join(map(str, o.shape))}" for o in report.outputs),
        "params": report.model.params,
        "macs": report.model.macs,
        "images": found.images,
        "mismatches": found.csim_mismatches,
        "ties": found.qonnx_code_mismatches,
        "fps": report.estimate.fps,
        "latency_ms": report.estimate.latency_ms,
        **{kind: getattr(used, kind).used for kind in ("lut", "ff", "dsp", "bram18")},
    }


def main() -> int:
    """Write, build and simulate it; 1 if a code differs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=320, help="rows and columns of the input, a multiple of 16")
    parser.add_argument("--images", type=int, default=2, help="random images to simulate")
    parser.add_argument("--act", choices=ACTS, default="silu", help="function in front of the quantizers")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        row = detector_row(arguments.size, arguments.act, arguments.images, Path(folder))
    DETECTOR.record(row)
    print_rows("Detector", [row], {key: key for key in row})
    return int(row["mismatches"] > 0)


if __name__ == "__main__":
    raise SystemExit(main())
