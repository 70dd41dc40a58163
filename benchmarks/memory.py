"""Peak resident memory of ``fpgaflow export``, its compilers included.

    python -m benchmarks.memory                                   # this tree
    python -m benchmarks.memory --baseline PATH --limit-gb 12     # and the checkout PATH on the same files, in turns

The U-net has the 23 convolutions of the original one on maps of 256 x 256, few channels and seeded weights; the export
is that of a user who gives no options. Under ``ulimit -v`` an export has to work or to say in one line what it wanted.
The wide U-net, of one step down and up, is one that older builds survive. MobileNetV2 (FPGAFLOW_DATA/models) runs on
the engine. A run is killed above ``--limit-gb``; its peak is then a least value. ``peak_mb`` is the largest sum of the
resident memory of all its processes, looked at 20 times a second; ``largest_mb`` the peak of the largest one as the
kernel counted it. Rows take the place of earlier ones of the same network.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks.common import Row, print_rows
from benchmarks.schemas import MEMORY
from tests.onnx_models import Net

ROOT = Path(__file__).resolve().parents[1]
FPGAFLOW = [sys.executable, "-c", "from toolchain.cli import main; main()"]
CHANNELS = (4, 8, 8, 16, 16)
"""The channels of the maps of each size, the largest first."""

FEW = ("--count", "2", "--qonnx-images", "2")
PAGE = os.sysconf("SC_PAGE_SIZE")
COLUMNS = {"network": "network", "tree": "tree", "options": "options", "peak_mb": "peak MB", "largest_mb": "largest",
           "ratio": "of baseline", "exit_code": "exit", "seconds": "s", "said": "said"}  # fmt: skip


class Unet(Net):
    """The U-net's file under construction: 4-bit weights and activations, half-size maps four times, and back."""

    def __init__(self, size: int, seed: int = 0) -> None:
        super().__init__((1, 3, size, size), seed=seed)
        self.convolutions = 0

    def padded(self, x: str, inputs: int, outputs: int, kernel: int = 3, stride: int = 1) -> str:
        """A padded convolution with weights of 4 bits."""
        self.convolutions += 1
        values = self.rng.normal(0, (inputs * kernel**2) ** -0.5, (outputs, inputs, kernel, kernel))
        weight = self.quant(self.const(values), 4, np.abs(values).max((1, 2, 3), keepdims=True) / 7)
        return self.conv(x, weight, pads=[kernel // 2] * 4, strides=[stride, stride])

    def layer(self, x: str, inputs: int, outputs: int, stride: int = 1) -> str:
        """A convolution, ReLU and 4-bit codes."""
        return self.quant(self.add("Relu", self.padded(x, inputs, outputs, stride=stride)), 4, 0.15, signed=0)

    def larger(self, x: str) -> str:
        """Every position twice in both directions."""
        nearest = {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
        return self.add("Resize", x, "", self.const([1, 1, 2, 2]), **nearest)

    def save_wide(self, path: Path) -> Path:
        """Write a network of one step down and up with 32 and 64 channels."""
        wide = self.layer(self.quant("x", 8, 1 / 128, signed=0), 3, 32)
        low = self.layer(self.layer(wide, 32, 64, stride=2), 64, 32)
        return self.save(path, self.padded(self.add("Concat", wide, self.larger(low), axis=1), 64, 2, kernel=1))

    def save_whole(self, path: Path) -> Path:
        """Write the whole network."""
        x, channels, skips = self.quant("x", 8, 1 / 128, signed=0), 3, []
        for count in CHANNELS[:-1]:
            x = self.layer(self.layer(x, channels, count), count, count)
            skips.append((x, count))
            x, channels = self.add("MaxPool", x, kernel_shape=[2, 2], strides=[2, 2]), count
        x, channels = self.layer(self.layer(x, channels, CHANNELS[-1]), CHANNELS[-1], CHANNELS[-1]), CHANNELS[-1]
        for skip, count in reversed(skips):
            x = self.add("Concat", skip, self.layer(self.larger(x), channels, count), axis=1)
            x, channels = self.layer(self.layer(x, 2 * count, count), count, count), count
        x = self.padded(x, channels, 2, kernel=1)
        assert self.convolutions == 23
        return self.save(path, x)


@dataclass(frozen=True)
class Peak:
    """The peak of a run: bytes of all processes and of the largest one, its exit code, seconds and last words."""

    together: int
    largest: int
    code: int
    seconds: float
    said: str


def processes(pid: int) -> list[int]:
    """``pid`` and all below it."""
    found, waiting = [], [pid]
    while waiting:
        found.append(waiting.pop())
        for task in Path(f"/proc/{found[-1]}/task").glob("*/children"):
            try:
                waiting += map(int, task.read_text().split())
            except OSError:  # the process has ended
                continue
    return found


def resident(pid: int) -> int:
    """Bytes of ``pid`` in memory; 0 when it has ended."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE
    except OSError:
        return 0


def measured(tree: Path, arguments: Sequence[str], cache: Path, limit: int, space: int | None = None) -> Peak:
    """Run the ``tree``'s fpgaflow with an address space of ``space`` bytes, killed above ``limit`` bytes."""
    environment = os.environ | {"PYTHONPATH": str(tree), "FPGAFLOW_CACHE": str(cache)}
    limited = (lambda: resource.setrlimit(resource.RLIMIT_AS, (space, space))) if space else None
    started, peak = time.monotonic(), 0
    with tempfile.TemporaryFile("w+") as log:
        run = subprocess.Popen(
            [*FPGAFLOW, *arguments], env=environment, stdout=log, stderr=log, cwd=cache, preexec_fn=limited
        )
        while True:
            pid, status, usage = os.wait4(run.pid, os.WNOHANG)
            if pid:
                break
            below = processes(run.pid)
            peak = max(peak, sum(map(resident, below)))
            if peak > limit:
                for process in below:
                    os.kill(process, 9)
            time.sleep(0.05)
        run.returncode = os.waitstatus_to_exitcode(status)
        log.seek(0)
        lines = [line.strip() for line in log if line.strip()]
    said = next((line for line in reversed(lines) if line.startswith("fpgaflow:")), "")
    largest = usage.ru_maxrss * 1024
    return Peak(max(peak, largest), largest, run.returncode, time.monotonic() - started, said)


def _is_of(network: str, row: Row) -> bool:
    return bool(row["network"] == network)


def main() -> int:
    """Measure, write the rows, print them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--baseline", type=Path, help="another checkout to compare with")
    parser.add_argument("--limit-gb", type=float, default=8.0, help="kill what takes more")
    parser.add_argument("--only", default="", help="rows whose network holds this")
    arguments = parser.parse_args()
    limit = int(arguments.limit_gb * 1e9)
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        unet, wide = Unet(256).save_whole(folder / "unet.onnx"), Unet(192).save_wide(folder / "wide.onnx")
        mobilenet = Path(os.environ.get("FPGAFLOW_DATA", "data")) / "models" / "mobilenet_v2_a8w6b32.onnx"
        few = ("--qonnx-images", "16", "--count", "16")
        runs: list[tuple[str, Path, tuple[str, ...], int | None, bool]] = [
            ("U-net, defaults", unet, (), None, False),
            ("U-net, ulimit -v 6 GB", unet, FEW, 6 * 10**9, False),
            ("wide U-net 192 x 192", wide, FEW, None, True),
        ]
        if mobilenet.is_file():
            runs.append(("MobileNetV2 W6A8, engine", mobilenet, ("--architecture", "engine", *few), None, True))
        for network, model, options, space, compared in runs:
            if arguments.only not in network:
                continue
            trees = {"this": ROOT} | ({"baseline": arguments.baseline} if compared and arguments.baseline else {})
            found: dict[str, Row] = {}
            for tree, path in trees.items():
                cache = folder / tree
                cache.mkdir(exist_ok=True)
                command = [
                    "export",
                    str(model.resolve()),
                    "--pixel-scale",
                    "1/255",
                    "--out",
                    str(cache / "build"),
                    *options,
                ]
                peak = measured(path.resolve(), command, cache, limit, space)
                found[tree] = {
                    "network": network,
                    "tree": tree,
                    "options": " ".join(options),
                    "peak_mb": round(peak.together / 1e6),
                    "largest_mb": round(peak.largest / 1e6),
                    "exit_code": peak.code,
                    "seconds": round(peak.seconds, 1),
                    "said": peak.said,
                }
            if "baseline" in found:
                found["this"]["ratio"] = float(found["this"]["peak_mb"] or 0) / float(found["baseline"]["peak_mb"] or 1)
            MEMORY.replace(list(found.values()), partial(_is_of, network))
            rows += found.values()
    print_rows("Peak memory of an export", rows, COLUMNS)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
