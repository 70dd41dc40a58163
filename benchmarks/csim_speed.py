"""Speed of the C simulation beside hls4ml's, on the same networks and images in one run.

    python -m benchmarks csim_speed          # hls4ml with io_stream
    python -m benchmarks csim_speed --full   # and with io_parallel, which compiles for minutes

Every simulator is compiled once from nothing and then runs in turn with the others; the median of three runs counts.
``exact`` is the share of images whose outputs are those of the QONNX file, ``ratio`` our
rate over this one, and ``cpu_ratio`` the same by processor seconds, which other work on the machine disturbs less.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from qonnx.core.modelwrapper import ModelWrapper

from benchmarks.common import Row, Spent, middle, print_rows, timed
from benchmarks.networks import Network, images, write_qonnx
from benchmarks.schemas import CSIM_SPEED
from toolchain.boards import load_board
from toolchain.export.gate import predict
from toolchain.flow import stages
from toolchain.flow.options import Search
from toolchain.flow.streaming import Streaming
from toolchain.frontend.read import read_qonnx
from toolchain.hls_templates.generate import generate
from toolchain.ir.encode import decode
from toolchain.simulate.csim import build

NETWORKS = (
    Network("lenet5-w4a4", "lenet5", (1, 28, 28), 10, {"weight_bits": 4, "act_bits": 4, "scale": "pot"},
            normalize="standard"),
    Network("kws-mlp-w3a3", "tfc", (490, 1, 1), 12, {"weight_bits": 3, "act_bits": 3, "scale": "pot"},
            width=4.0, normalize="standard"),
)  # fmt: skip
PART, CLOCK_NS = "xczu3eg-sbva484-1-e", 4
DEFAULT, FAITHFUL = "fixed<16,6>", "fixed<32,12>"
"""hls4ml's default type, which is too narrow for these networks, and one that is not."""

COLUMNS = {"network": "network", "tool": "tool", "io": "io", "precision": "precision", "threads": "threads",
           "compile_seconds": "compile s", "run_seconds": "run s", "mmac_per_second": "MMAC/s",
           "mmac_per_cpu_second": "MMAC/CPU s", "exact": "exact",
           "top1_agreement": "top-1", "ratio": "ratio", "cpu_ratio": "CPU ratio"}  # fmt: skip

Floats = NDArray[np.float32]
Run = Callable[[], NDArray[np.floating]]


@dataclass(frozen=True)
class Simulator:
    """A compiled C simulation; ``run`` takes all images to their outputs (N, classes)."""

    tool: str
    io: str
    precision: str
    threads: int
    compiled: Spent
    run: Run


def main() -> int:
    """Measure, write the rows, print them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--full", action="store_true", help="hls4ml with io_parallel as well")
    parser.add_argument("--images", type=int, default=256)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    arguments = parser.parse_args()
    kinds = ["io_stream", "io_parallel"] if arguments.full else ["io_stream"]
    rows: list[Row] = []
    for network in NETWORKS:
        with tempfile.TemporaryDirectory() as name:
            rows += measure(network, Path(name), kinds, arguments.images, arguments.runs, arguments.threads)
        CSIM_SPEED.replace(rows)
    print_rows("C simulation", rows, COLUMNS)
    return 0


def measure(network: Network, folder: Path, kinds: Sequence[str], count: int, runs: int, threads: int) -> list[Row]:
    """A row for each simulator of ``network``; the first one is ours with all threads."""
    model, pixels = folder / "model.onnx", images(network, count)
    write_qonnx(network, model)
    x = network.pixel_map().apply(pixels)
    expected = predict(model, x)
    simulators = fpgaflow(model, folder / "ours", pixels, threads)
    for kind in kinds:
        simulators += [hls4ml(model, folder / f"{kind}-{i}", x, kind, p) for i, p in enumerate((DEFAULT, FAITHFUL))]
    outputs = [simulator.run() for simulator in simulators]
    rounds = [[timed(simulator.run)[1] for simulator in simulators] for _ in range(runs)]
    spent = [middle(column) for column in zip(*rounds, strict=True)]
    work = read_qonnx(model).macs * count / 1e6
    rates = [work / each.wall for each in spent]
    return [
        {
            "network": network.name,
            "tool": simulator.tool,
            "io": simulator.io,
            "precision": simulator.precision,
            "threads": simulator.threads,
            "compile_seconds": round(simulator.compiled.wall, 2),
            "compile_cpu_seconds": round(simulator.compiled.cpu, 2),
            "images": count,
            "run_seconds": round(each.wall, 3),
            "mmac_per_second": round(rate, 1),
            "mmac_per_cpu_second": round(work / each.cpu, 1),
            **agreement(output, expected),
            "ratio": round(rates[0] / rate, 2),
            "cpu_ratio": round(each.cpu / spent[0].cpu, 2),
        }
        for simulator, output, each, rate in zip(simulators, outputs, spent, rates, strict=True)
    ]


def agreement(found: NDArray[np.floating], expected: Floats) -> Row:
    """Return how closely outputs agree with the QONNX file's; exact means up to the rounding of float32."""
    found = found.reshape(expected.shape)
    error = np.abs(found - expected).max(axis=1)
    return {
        "exact": round(float(np.mean(error <= 1e-5 * np.abs(expected).max())), 4),
        "top1_agreement": round(float(np.mean(found.argmax(axis=1) == expected.argmax(axis=1))), 4),
        "largest_error": float(f"{error.max():.2g}"),
        "output_std": float(f"{expected.std():.2g}"),
    }


def fpgaflow(model: Path, folder: Path, pixels: NDArray[np.uint8], threads: int) -> list[Simulator]:
    """Ours, from the explorer's plan for zu3eg: with all threads, and with one."""
    folder.mkdir()
    os.environ["FPGAFLOW_CACHE"] = str(folder / "cache")  # compile from nothing
    design = stages.explore(stages.lower(model, folder), Search(architecture="streaming")).design
    assert isinstance(design, Streaming)
    graph, plan = design.hardware, design.plan
    files = generate(graph, load_board(plan.board), plan.clock_mhz)
    csim, compiled = timed(lambda: build(graph, files, jobs=threads))
    x = pixels.transpose(0, 2, 3, 1)

    def run(with_threads: int) -> NDArray[np.floating]:
        return decode(graph.answer, csim.run(csim.encode(x), threads=with_threads))

    return [
        Simulator("fpgaflow", "io_stream", "integer", count, compiled, partial(run, count))
        for count in sorted({threads, 1}, reverse=True)
    ]


def hls4ml(model: Path, folder: Path, x: Floats, kind: str, precision: str) -> Simulator:
    """hls4ml as its documentation tells for QONNX: Vitis backend, resource strategy, reuse factor 1."""
    with contextlib.redirect_stdout(io.StringIO()):
        import hls4ml as package

        network = _prepared(model)
        config = package.utils.config_from_onnx_model(
            network, granularity="name", backend="Vitis", default_precision=precision
        )
        for section in (config["Model"], *config["LayerName"].values()):
            section |= {"Strategy": "Resource", "ReuseFactor": 1}
        project = package.converters.convert_from_onnx_model(
            network, output_dir=str(folder), hls_config=config, backend="Vitis", io_type=kind, part=PART,
            clock_period=CLOCK_NS,
        )  # fmt: skip
        _, compiled = timed(project.compile)
    x = np.ascontiguousarray(x.transpose(0, 2, 3, 1))
    return Simulator(f"hls4ml {package.__version__}", kind, precision, 1, compiled, lambda: project.predict(x))


def _prepared(model: Path) -> ModelWrapper:
    """Channels last and without Gemm; qonnx fails on a Gemm without bias, so that it gets one of zeros."""
    from qonnx.transformation.channels_last import ConvertToChannelsLastAndClean
    from qonnx.transformation.gemm_to_matmul import GemmToMatMul
    from qonnx.util.cleanup import cleanup_model

    network = cleanup_model(ModelWrapper(str(model)))
    for node in network.graph.node:
        if node.op_type == "Gemm" and len(node.input) == 2:
            bias = f"{node.output[0]}_bias"
            network.set_initializer(bias, np.zeros(network.get_tensor_shape(node.output[0])[-1], dtype=np.float32))
            node.input.append(bias)
    network = cleanup_model(network.transform(GemmToMatMul()))
    return cleanup_model(network.transform(ConvertToChannelsLastAndClean()))


if __name__ == "__main__":
    raise SystemExit(main())
