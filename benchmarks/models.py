"""Real QONNX models through this project and through hls4ml, in one run.

    FPGAFLOW_DATA=... python -m benchmarks.models [--only NAME] [--no-hls4ml] [--csim NAME ...]

A row a model: nodes, lowering seconds, codes that differ from the float32 QONNX executor (all of them at ties, else the
run fails), codes that the C simulation gets wrong, top-1 where labelled data exist, and what hls4ml makes of the file.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from toolchain.export.agreement import compare
from toolchain.export.read import ModelFile, read_qonnx
from toolchain.files import write_text
from toolchain.flow.options import Check, Search
from toolchain.flow.stages import export
from toolchain.ir.encode import decode, encode, predictions
from toolchain.ir.evaluate import evaluate
from toolchain.ir.graph import Graph
from toolchain.passes.pipeline import to_integer

RESULT = Path(__file__).parent / "results" / "models.json"
HLS4ML_SECONDS = 90
HLS4ML = Path(__file__).parent / "hls4ml_model.py"


@dataclass(frozen=True)
class Case:
    """A file below ``models``, its bits, and how many images are compared with the float32 executor."""

    name: str
    bits: str
    images: int


CASES = (
    Case("TFC_2W2A", "W2A2", 1000),
    Case("kws_w3a3_mlperf_tiny_v0.7", "W3A3", 1000),
    Case("resnet8_a8w8b16", "W8A8", 32),
    Case("mobilenet_v2_a8w6b32", "W6A8", 2),
)


def data_of(case: Case, folder: Path, model: ModelFile) -> tuple[np.ndarray, np.ndarray | None]:
    """Images (N, H, W, C) and labels; random pixels without labels where there is no data set."""
    if case.name.startswith("TFC"):
        import gzip

        images = gzip.decompress((folder / "mnist" / "t10k-images-idx3-ubyte.gz").read_bytes())
        labels = gzip.decompress((folder / "mnist" / "t10k-labels-idx1-ubyte.gz").read_bytes())
        x = np.frombuffer(images, np.uint8, offset=16).reshape(-1, 28, 28, 1)
        return x, np.frombuffer(labels, np.uint8, offset=8)
    if case.name.startswith("kws"):
        table = np.load(folder / "kws" / "gscv2_mfcc_int8_1000.npz")
        return model.layout.to_ir(table["x"].astype(np.float32) * table["input_scale"]), table["y"]
    pixels = np.random.default_rng(0).integers(0, 256, (case.images, *model.layout.shape), dtype=np.uint8)
    return pixels, None


def top1(integer: Graph, x: np.ndarray, y: np.ndarray, batch: int = 500) -> dict[str, float]:
    """Accuracy with the first, and with the last of equal classes."""
    first, last = [], []
    for start in range(0, len(x), batch):
        codes = evaluate(integer, encode(integer, x[start : start + batch]))[integer.output]
        logits = decode(integer, codes).reshape(len(codes), -1)
        first.append(predictions(integer, codes))
        last.append(logits.shape[1] - 1 - logits[:, ::-1].argmax(axis=1))
    return {
        "top1": float(np.mean(np.concatenate(first) == y)),
        "top1_last_of_equals": float(np.mean(np.concatenate(last) == y)),
        "images_top1": len(y),
    }


def csim(path: Path, x: np.ndarray) -> dict[str, Any]:
    """Mismatches of the C simulation, from the whole flow."""
    with tempfile.TemporaryDirectory() as folder:
        np.save(Path(folder) / "x.npy", x)
        check = Check(images=Path(folder) / "x.npy", qonnx_images=0)
        started = time.monotonic()
        report = export(path, Path(folder) / "build", Search(time_limit=20), check)
        seconds = round(time.monotonic() - started, 1)
        return {
            "csim_mismatches": report.verification.csim_mismatches,
            "csim_images": len(x),
            "export_seconds": seconds,
        }


def hls4ml(path: Path) -> str:
    """What hls4ml makes of the file in a process of its own: its distance from QONNX, or how it fails."""
    command = [sys.executable, str(HLS4ML), str(path)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=HLS4ML_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        return f"not finished in {HLS4ML_SECONDS} s"
    lines = [line for line in (done.stdout + done.stderr).splitlines() if line.strip()]
    if done.returncode == 0:
        return lines[-1]
    return f"exit code {done.returncode}: {lines[-1][:160] if lines else 'no message'}"


def row_of(case: Case, folder: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    """One model."""
    path = folder / "models" / f"{case.name}.onnx"
    started = time.monotonic()
    model = read_qonnx(path)
    integer = to_integer(model.graph)
    row: dict[str, Any] = {
        "model": case.name,
        "ops": sorted({type(node).__name__ for node in integer.nodes}),
        "bits": case.bits,
        "nodes": len(integer.nodes),
        "lower_seconds": round(time.monotonic() - started, 2),
    }
    x, y = data_of(case, folder, model)
    found = compare(model, integer, x[: case.images])
    row |= {"images": found.images, "codes": found.codes, "qonnx_code_mismatches_at_ties": found.mismatches}
    row["qonnx_top1_agreement"] = found.top1
    started = time.monotonic()
    evaluate(integer, encode(integer, x[: min(case.images, 32)]))
    row["evaluator_images_per_second"] = round(min(case.images, 32) / (time.monotonic() - started), 2)
    if y is not None:
        row |= top1(integer, x, y)
    if case.name in arguments.csim:
        row |= csim(path, x[:64])
    if not arguments.no_hls4ml:
        row["hls4ml"] = hls4ml(path)
    return row


def main() -> None:
    """Run the cases and write the rows; models that are not run keep theirs."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--only", nargs="*", default=[case.name for case in CASES])
    parser.add_argument("--csim", nargs="*", default=["TFC_2W2A", "kws_w3a3_mlperf_tiny_v0.7", "resnet8_a8w8b16"])
    parser.add_argument("--no-hls4ml", action="store_true")
    arguments = parser.parse_args()
    rows = {row["model"]: row for row in json.loads(RESULT.read_text())} if RESULT.is_file() else {}
    for case in CASES:
        if case.name in arguments.only:
            row = row_of(case, Path(os.environ["FPGAFLOW_DATA"]), arguments)
            row["command"] = "python -m benchmarks.models " + " ".join(sys.argv[1:])
            row["hardware"] = f"{platform.machine()}, {os.cpu_count()} cores, shared"
            row["date"] = datetime.date.today().isoformat()
            rows[case.name] = row
            write_text(RESULT, json.dumps(list(rows.values()), indent=1) + "\n")
            print(json.dumps(row))


if __name__ == "__main__":
    main()
