"""Networks of the kinds that users bring, with seeded or trained weights: exported, built for the ZU3EG, simulated.

    python -m benchmarks user_networks [--only NAME ...] [--images N]

A detector with two heads, a U-net and MobileNetV3-Small (`benchmarks/user_models.py`) on random pictures; those of
`benchmarks/token_models.py`, trained on digits or on spoken words, on test samples. A row has the codes in which the C
simulation differs from the integer network, those in which that differs from the QONNX executor (ties of float32, else
the build fails), the rate with its gap, and why the engine does not run the network.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

import fpgaflow
from benchmarks.common import Row, print_rows, timed
from benchmarks.schemas import USER_NETWORKS
from benchmarks.token_models import DATA, MODELS, digits, trained
from benchmarks.user_models import NETWORKS, seeded
from toolchain.engine.cut import refusals
from toolchain.export.qonnx import to_qonnx
from toolchain.files import write_bytes
from toolchain.frontend.metadata import DATA as DATA_KEY
from toolchain.frontend.metadata import INPUT
from toolchain.frontend.read import read_qonnx
from toolchain.lowering.pipeline import to_integer

SECONDS = 180.0
"""The seconds for each call of the solver."""


def write_network(name: str, path: Path) -> dict[str, Any]:
    """Write the network to ``path``; returns the samples and classes that it is tested on where the file names none."""
    tested: dict[str, Any] = {}
    notes = {INPUT: json.dumps({"pixel": {"scale": ["1/255"], "offset": ["0"]}})}
    if name not in MODELS:
        model, x = seeded(name)
    else:
        model, data = trained(name)
        x = data.test_x
        if MODELS[name].samples is digits:
            notes[DATA_KEY] = DATA
        else:  # real numbers, with a quantizer in front
            notes, tested = {}, {"images": x.numpy(), "labels": data.test_y}
    write_bytes(path, to_qonnx(model, x[:1], notes).model.SerializeToString(deterministic=True))
    return tested


def engine_says(path: Path) -> str:
    """Return why the engine does not run the file: each reason with its number of nodes."""
    reasons = [
        what.removeprefix("the engine cannot run it: ") for _, what in refusals(to_integer(read_qonnx(path).graph))
    ]
    return "; ".join(f"{reasons.count(reason)} x {reason}" for reason in sorted({*reasons}))


def network_row(name: str, images: int, folder: Path) -> Row:
    """Export the network ``name`` and return its row."""
    path = folder / f"{name}.onnx"
    tested = write_network(name, path)
    report, spent = timed(
        lambda: fpgaflow.export(
            path, out=folder / name, count=images, qonnx_images=images, time_limit=SECONDS, **tested
        )
    )
    used, found, solver = report.resources, report.verification, report.solver
    assert found.csim_mismatches is not None
    return {
        "network": name,
        "what": MODELS[name].what if name in MODELS else NETWORKS[name].what,
        "input": " x ".join(map(str, report.input.shape)) if report.input else "",
        "top1": report.accuracy.top1 if report.accuracy else None,
        "outputs": "; ".join(f"{o.name} {' x '.join(map(str, o.shape))}" for o in report.outputs),
        "nodes": len(report.nodes),
        "params": report.model.params,
        "macs": report.model.macs,
        "architecture": report.architecture,
        "images": found.images,
        "vectors": found.vectors,
        "mismatches": found.csim_mismatches + found.vector_mismatches,
        "ties": found.qonnx_code_mismatches,
        "fps": report.estimate.fps,
        "latency_ms": report.estimate.latency_ms,
        "solver_status": solver.status,
        "gap": solver.gap,
        "export_seconds": round(spent.wall, 1),
        "engine": engine_says(path),
        **{kind: getattr(used, kind).used for kind in ("lut", "ff", "dsp", "bram18")},
    }


def main() -> int:
    """Write, build and simulate them; 1 if a code differs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="*", choices=[*NETWORKS, *MODELS], default=[*NETWORKS, *MODELS])
    parser.add_argument("--images", type=int, default=2, help="images to simulate")
    arguments = parser.parse_args()
    rows = []
    for name in arguments.only:
        with tempfile.TemporaryDirectory() as folder:
            rows.append(network_row(name, arguments.images, Path(folder)))
        USER_NETWORKS.record(rows[-1])
    few = ("network", "mismatches", "ties", "fps", "gap", "lut", "dsp", "bram18", "export_seconds", "engine")
    print_rows("Networks that users bring", rows, {key: key for key in few})
    return int(any(row["mismatches"] for row in rows))


if __name__ == "__main__":
    raise SystemExit(main())
