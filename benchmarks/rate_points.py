"""Plans of one small network of every width, also by the code of another checkout: this file runs by itself there."""

from __future__ import annotations

import json
import sys
import time

from benchmarks.common import Row
from benchmarks.structures import Network
from toolchain.boards import load_board
from toolchain.dse.explore import explore
from toolchain.ir.graph import Graph
from toolchain.plan import Plan


def features(count: int) -> Graph:
    """Three dense layers on ``count`` 8-bit features, W2A2."""
    net = Network((1, 1, count), 2, 2)
    x = net.quantize(net.matvec(net.input, 64))
    x = net.quantize(net.matvec(x, 64))
    return net.graph(f"features{count}", net.matvec(x, 10))


def channels(count: int) -> Graph:
    """Two 3 x 3 convolutions of ``count`` channels on 16 x 16 pixels, pooled, and a dense layer, W4A4."""
    net = Network((16, 16, 3), 4, 4)
    x = net.quantize(net.conv(net.input, count))
    x = net.quantize(net.conv(x, count))
    return net.graph(f"channels{count}", net.matvec(net.global_sum(x), 10, 8))


NETWORKS = {"features": features, "channels": channels}


def point(network: str, count: int) -> tuple[Plan, float]:
    """The best plan for the ZU3EG and the processor's seconds that it took."""
    started = time.process_time()
    plan = explore(NETWORKS[network](count), load_board("zu3eg"), time_limit=60.0)
    return plan, time.process_time() - started


def run(arguments: list[str]) -> None:
    """Print a JSON object a line for each count of channels that follows the network's name."""
    network, *counts = arguments
    for count in map(int, counts):
        plan, seconds = point(network, count)
        solver = plan.solver
        assert solver is not None
        padded = " ".join(f"{name}={channels}" for name, channels in getattr(plan, "padded", {}).items())
        row: Row = {"count": count, "fps": round(plan.clock_mhz * 1e6 / solver.cycles, 1), "cycles": solver.cycles}
        row |= {"status": solver.status, "limited_by": solver.limited_by, "padded": padded}
        print(json.dumps(row | {"cpu_seconds": round(seconds, 2)}))
        sys.stdout.flush()
