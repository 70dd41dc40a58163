"""The hls4ml Vitis project of a network, and how far its C simulation is from the integer network."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from math import ceil
from pathlib import Path

import numpy as np

from toolchain.errors import UserError
from toolchain.hls4ml_backend.network import free, freed, onnx_shape, to_onnx
from toolchain.hls4ml_backend.precision import average_precisions, input_precision, real_inputs
from toolchain.hls4ml_backend.refusals import demand_no_refusal
from toolchain.hls4ml_backend.worker import PROJECT
from toolchain.ir.encode import decode, predictions
from toolchain.ir.evaluate import evaluate
from toolchain.ir.graph import Graph
from toolchain.ir.ops.model import RealConv, RealPool
from toolchain.ir.ops.products import Depthwise, GroupedMatVec, Product, RowConv
from toolchain.ir.types import Array
from toolchain.report.data import Hls4ml

MESSAGE_LENGTH = 200


@dataclass(frozen=True)
class Target:
    """Part, clock and reuse factors for which the project is written."""

    part: str
    clock_mhz: float
    reuse: Mapping[str, int]


def reuse_factors(hardware: Graph) -> dict[str, int]:
    """Multiplications that share a multiplier, by layer of hls4ml's network, out of the lanes of the plan."""
    factors: dict[str, int] = {}
    for node in hardware.nodes:
        if isinstance(node, Product) and node.parallelism is not None:
            lanes = node.parallelism
            if isinstance(node, GroupedMatVec):  # dense in that network
                factors[node.name] = ceil(node.matrix.size * node.together(lanes) / (lanes.lanes_in * lanes.lanes_out))
                continue
            width = lanes.lanes_in * (1 if isinstance(node, Depthwise) else lanes.lanes_out)
            taps = node.taps if isinstance(node, RowConv) else 1
            factors[node.name] = ceil(node.weight.size / (width * taps))
    return factors


def build(model: Graph, integer: Graph, codes: Array, target: Target, folder: Path, seconds: float) -> Hls4ml:
    """Write the Vitis project of the MODEL graph below ``folder`` as hls4ml/, and run its C simulation on ``codes``.

    ``codes`` (N, H, W, C) are input codes of the INTEGER graph ``integer``; hls4ml gets the real values that they stand
    for, as the host hands them to this project's accelerator.

    Raises:
        UserError: hls4ml gets a part of the network wrong, fails on it, or takes longer than ``seconds``.
    """
    demand_no_refusal(model)
    assert integer.encoding is not None and integer.answer.decoding is not None
    values, model = real_inputs(integer.encoding, codes), freed(model)
    io_type = interface(model)
    settings = {
        "project": "net",
        "precision": {model.input.name: input_precision(integer), **average_precisions(model)},
        "reuse": {free(name): factor for name, factor in target.reuse.items()},
        "io_type": io_type,
        "part": target.part,
        "clock_period": 1e3 / target.clock_mhz,
    }
    with tempfile.TemporaryDirectory(dir=folder, prefix=".hls4ml.", suffix=".partial") as name:
        scratch = Path(name).resolve()  # the worker runs in it
        (scratch / "network.onnx").write_bytes(to_onnx(model).SerializeToString(deterministic=True))
        (scratch / "settings.json").write_text(json.dumps(settings))
        np.save(scratch / "inputs.npy", values.reshape(len(values), *onnx_shape(model.input)[1:]))
        _run(scratch, seconds)
        found = np.load(scratch / "outputs.npy", allow_pickle=False)
        spent = json.loads((scratch / "done.json").read_text())
        for library in (scratch / PROJECT).rglob("*.so"):
            library.unlink()
        shutil.rmtree(folder / PROJECT, ignore_errors=True)
        (scratch / PROJECT).rename(folder / PROJECT)
    return _distance(integer, codes, found, io_type, target.reuse, spent)


def interface(model: Graph) -> str:
    """hls4ml's ``io_type``: rows stream between layers that work on maps, whole vectors pass between linear ones."""
    values = model.values()
    maps = (values[n.inputs[0]].shape[:2] for n in model.nodes if isinstance(n, (RealConv, RealPool)))
    return "io_stream" if any(shape != (1, 1) for shape in maps) else "io_parallel"


def _run(folder: Path, seconds: float) -> None:
    """The worker in ``folder``, stopped with its compiler after ``seconds``."""
    command = [sys.executable, "-m", "toolchain.hls4ml_backend.worker", str(folder)]
    root = str(Path(__file__).parents[2])
    paths = [root, *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths)}
    log = folder / "log.txt"
    with log.open("w") as text:
        worker = subprocess.Popen(
            command, cwd=folder, stdout=text, stderr=subprocess.STDOUT, env=environment, start_new_session=True
        )
        try:
            worker.wait(seconds)
        except BaseException as error:  # also on an interrupt nothing of it may go on
            os.killpg(worker.pid, signal.SIGKILL)
            worker.wait()
            if not isinstance(error, subprocess.TimeoutExpired):
                raise
            raise UserError(
                f"hls4ml {version('hls4ml')} did not finish in {seconds:g} s; most of it is g++ on its single file",
                hint="raise --hls4ml-seconds, or export without --backend hls4ml",
            ) from error
    if worker.returncode:
        raise UserError(f"hls4ml {version('hls4ml')} cannot build this network: {_reason(log, worker.returncode)}")


def _reason(log: Path, code: int) -> str:
    """The line of the worker's output that says most."""
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
    telling = [line for line in lines if "error:" in line or "Assertion" in line] or lines[-1:]
    said = telling[0][-MESSAGE_LENGTH:] if telling else "it says nothing"
    return f"{said} (signal {-code})" if code < 0 else said


def _distance(
    integer: Graph, codes: Array, found: Array, io_type: str, reuse: Mapping[str, int], spent: Mapping[str, float]
) -> Hls4ml:
    """Compare the real outputs ``found`` with the integer network on the same input codes."""
    assert integer.answer.decoding is not None
    expected = evaluate(integer, codes)[integer.output]
    reals = decode(integer.answer, expected)
    if found.size != reals.size:
        raise UserError(
            f"hls4ml {version('hls4ml')} puts out {found.size // len(codes)} values a frame, "
            f"not {reals.size // len(codes)}: it computes another shape"
        )
    found = found.reshape(reals.shape)
    scale, offset = (
        np.array([float(f) for f in numbers])
        for numbers in (integer.answer.decoding.scale, integer.answer.decoding.offset)
    )
    wrong = np.rint((found - offset) / scale) != expected
    top1 = found.reshape(len(found), -1).argmax(axis=1)
    apart = np.abs(found - reals)
    return Hls4ml(
        version=version("hls4ml"),
        io_type=io_type,
        reuse=dict(reuse),
        images=len(codes),
        outputs=int(wrong.size),
        mismatches=int(wrong.sum()),
        classes=int((top1 != predictions(integer.answer, expected)).sum()),
        max_deviation=float(apart.max(initial=0.0)),
        max_steps=float((apart / np.abs(scale)).max(initial=0.0)),
        compile_seconds=spent["compile_seconds"],
        simulate_seconds=spent["simulate_seconds"],
    )
