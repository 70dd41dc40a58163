"""The driver, unchanged, on the mock board: networks of the tests and published ones, by both architectures.

    python -m benchmarks trials [--only NAME] [--images 1000]

Every network is exported and deployed as a user would; the driver in deploy/board then answers random images, one frame
a start and a thousand, and its codes are compared with the integer network's. Large networks get fewer images.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from benchmarks.common import Row, print_rows, timed
from benchmarks.schemas import TRIALS
from tests import onnx_models
from toolchain.deploy.mock import installed
from toolchain.deploy.package import DRIVER, NETWORK, deploy
from toolchain.deploy.trial import load_driver, mock_board, on_the_board
from toolchain.errors import UserError
from toolchain.flow.build import Build
from toolchain.flow.options import Check, Search
from toolchain.flow.stages import export
from toolchain.ir.encode import answers, encode, random_inputs
from toolchain.ir.evaluate import evaluate
from toolchain.ir.types import Array
from toolchain.memory import spans

OWN: tuple[Callable[[Path], Path], ...] = (
    onnx_models.conv_bn_relu,
    onnx_models.residual,
    onnx_models.depthwise,
    onnx_models.flatten_linear,
    onnx_models.old_style,
    onnx_models.bipolar,
    onnx_models.multi_threshold,
    onnx_models.few_bits_qdq,
)
"""The networks of the tests that are files."""

PUBLISHED = {
    "TFC W2A2": "TFC_2W2A.onnx",
    "KWS W3A3": "kws_w3a3_mlperf_tiny_v0.7.onnx",
    "ResNet-8 W8A8": "resnet8_a8w8b16.onnx",
    "MobileNetV2 W6A8": "mobilenet_v2_a8w6b32.onnx",
}
BATCHES = (1, 1000)
MACS = {"streaming": 2_000_000_000, "engine": 600_000_000}
"""Multiplications that a trial simulates at most, by architecture."""

COLUMNS = {"network": "network", "architecture": "architecture", "images": "images", "codes": "codes",
           "wrong_codes": "wrong codes", "refused": "refused", "cpu_seconds": "CPU s"}  # fmt: skip


def networks(folder: Path) -> Iterator[tuple[str, Path]]:
    """Name and file of each; those of the tests are written to ``folder``."""
    for make in OWN:
        yield make.__name__, make(folder / f"{make.__name__}.onnx")
    for name, file in PUBLISHED.items():
        yield name, Path(os.environ["FPGAFLOW_DATA"]) / "models" / file


def trial(model: Path, folder: Path, architecture: str, most: int) -> Row:
    """Export, deploy and try one model; return its row over the driver's answers in all batches."""
    check = Check(count=4, qonnx_images=0)
    try:
        export(model, folder, Search(architecture=architecture, time_limit=10.0), check)
    except UserError as error:
        return {"refused": str(error)}
    build = Build(folder)
    deploy(build, check)
    graph = build.network.graph
    assert graph.encoding is not None
    count = max(4, min(most, MACS[architecture] // max(1, build.model.macs)))
    images = random_inputs(graph.encoding, (count, *graph.given_shape), seed=7)
    with on_the_board(build) as home:
        facts = json.loads((home / NETWORK).read_text(encoding="utf-8"))
        driver, board = load_driver(home / DRIVER), mock_board(build, facts)
        answered = []
        for batch in BATCHES:
            with installed(board), driver.Accelerator(home / NETWORK, batch=batch) as network:
                found = network.predict_codes(images)
            answered.append(found if isinstance(found, dict) else {graph.outputs[0].name: found})
    wrong = codes = 0
    for part in spans(count, 16):
        expected = evaluate(graph, encode(graph, images[part]))
        for output in graph.outputs:
            right = answers(output, expected[output.value])
            codes += right.size * len(BATCHES)
            wrong += sum(_wrong(codes_of[output.name][part], right) for codes_of in answered)
    return {"images": count, "codes": codes, "wrong_codes": wrong}


def _wrong(found: Array, right: Array) -> int:
    return int((np.asarray(found).reshape(right.shape) != right).sum())


def main() -> None:
    """Try all and record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="networks whose name contains this")
    parser.add_argument("--images", type=int, default=1000, help="images for a small network")
    options = parser.parse_args()
    with TemporaryDirectory(prefix="trials-") as name:
        for network, model in networks(Path(name)):
            if options.only.lower() not in network.lower():
                continue
            for architecture in ("streaming", "engine"):
                folder = Path(name) / f"{model.stem}-{architecture}"
                found, spent = timed(partial(trial, model, folder, architecture, options.images))
                row = {"network": network, "architecture": architecture, **found}
                TRIALS.record(row | {"cpu_seconds": round(spent.cpu, 1)})
                print(row, flush=True)
    print_rows("The driver on the mock board", TRIALS.rows(), COLUMNS)


if __name__ == "__main__":
    main()
