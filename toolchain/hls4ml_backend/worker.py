"""hls4ml in a process of its own: ``python -m toolchain.hls4ml_backend.worker FOLDER`` builds and runs FOLDER/hls4ml.

Its assertions abort the whole process and its compiler may run for hours, so nobody calls it directly. It reads
network.onnx, settings.json and inputs.npy in the folder and writes outputs.npy and done.json.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

PROJECT = "hls4ml"
DEFAULT_PRECISION = "fixed<32,16>"
"""Type of numbers for which hls4ml finds none: batch-norm constants and scales that it moves behind a layer."""


def main() -> None:
    """Convert, write, compile, run."""
    folder = Path(sys.argv[1])
    settings = json.loads((folder / "settings.json").read_text())
    started = time.monotonic()
    model = convert(folder, settings)
    model.compile()
    compiled = time.monotonic()
    outputs = model.predict(np.ascontiguousarray(np.load(folder / "inputs.npy")))
    np.save(folder / "outputs.npy", np.asarray(outputs, dtype=np.float64))
    seconds = {"compile_seconds": compiled - started, "simulate_seconds": time.monotonic() - compiled}
    (folder / "done.json").write_text(json.dumps(seconds))


def convert(folder: Path, settings: dict[str, Any]) -> Any:
    """hls4ml's model of network.onnx, with the reuse factors and the input type of ``settings``."""
    import hls4ml
    import onnx

    network = onnx.load(folder / "network.onnx")
    config = hls4ml.utils.config_from_onnx_model(
        network, granularity="name", backend="Vitis", default_precision=DEFAULT_PRECISION
    )
    layers = config["LayerName"]
    for name, precision in settings["precision"].items():
        layers[name]["Precision"]["result"] = precision
    for name, factor in settings["reuse"].items():
        layers[name] |= {"ReuseFactor": factor, "Strategy": "Resource" if factor > 1 else "Latency"}
    return hls4ml.converters.convert_from_onnx_model(
        network,
        hls_config=config,
        backend="Vitis",
        project_name=settings["project"],
        output_dir=PROJECT,  # relative, so that the project may be moved
        io_type=settings["io_type"],
        part=settings["part"],
        clock_period=settings["clock_period"],
    )


if __name__ == "__main__":
    main()
