"""ImageNet networks on the engine, ZU3EG, batch 1: frames per second, resources, what each decision is worth.

    python benchmarks/engine.py                # rates, and for MobileNetV2 the ablation, by the integer program
    python benchmarks/engine.py --simulate 2   # and the C simulation of MobileNetV2 on so many images

Rates are estimates at 250 MHz with the memory bandwidth that the board's file gives. MobileNetV2 is the quantized file
below FPGAFLOW_DATA/models (its weights rounded to 4 bits for W4A8); the others have seeded weights, so that only their
shapes and number formats count.
"""

from __future__ import annotations

import argparse
import os
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from common import Row, print_rows, timed, write_rows
from engine_networks import efficientnet_lite0, resnet18, with_weights_of

from toolchain.boards import Board, load_board
from toolchain.dse.bound import mac_cycles
from toolchain.engine.candidates import Budget
from toolchain.engine.csim import EngineSim
from toolchain.engine.cut import cut
from toolchain.engine.options import Choices
from toolchain.engine.search import Engine, search
from toolchain.engine.tables import program
from toolchain.errors import UserError
from toolchain.export.read import read_qonnx
from toolchain.flow.engine_stages import memory_rate
from toolchain.ir.evaluate import evaluate
from toolchain.ir.graph import Graph
from toolchain.passes.pipeline import to_integer

BOARD, CLOCK_MHZ = "zu3eg", 250.0
MOBILENET = "mobilenet_v2_a8w6b32.onnx"

COLUMNS = {"network": "network", "weight_bits": "W", "act_bits": "A", "variant": "variant", "fps": "fps",
           "bound_fps": "bound", "compute_share": "of compute", "memory_share": "of DDR", "limited_by": "limited by",
           "lut": "LUT", "dsp": "DSP", "bram18": "BRAM18", "bytes_per_frame": "bytes", "gap": "gap",
           "solve_seconds": "solve s"}  # fmt: skip
PASS_COLUMNS = {"name": "pass", "cycles": "cycles", "limited_by": "limited by", "bytes": "bytes", "macs": "MAC"}

Builder = Callable[[], Graph]

NETWORKS: tuple[tuple[str, int, int, Builder], ...] = (
    ("MobileNetV2", 6, 8, lambda: mobilenet()),
    ("MobileNetV2", 4, 8, lambda: with_weights_of(mobilenet(), 4)),
    ("EfficientNet-Lite0", 8, 8, lambda: efficientnet_lite0(8, 8)),
    ("EfficientNet-Lite0", 4, 8, lambda: efficientnet_lite0(4, 8)),
    ("ResNet-18", 8, 8, lambda: resnet18(8, 8)),
    ("ResNet-18", 4, 4, lambda: resnet18(4, 4)),
)

ALL = Choices()


@dataclass(frozen=True)
class Variant:
    """An engine with or without one of its decisions."""

    name: str
    fuse: bool = True
    prefetch: bool = True
    choices: Choices = ALL


ENGINE = Variant("engine")
ABLATION = (
    Variant("no fusion", fuse=False),
    Variant("no double buffering", prefetch=False),
    Variant("256:144 fixed", choices=Choices(lanes=(16,), in_blocks=(1,), out_blocks=(1,), taps=(9,))),
    Variant("DSP only", choices=Choices(luts_multiply=False)),
    Variant("no maps on chip", choices=Choices(bank_kib=(0,))),
)
"""256:144 are the products of the convolution and of the depthwise filter in CoDeNet, HAO's public ancestor."""


def main() -> int:
    """Search, write the rows, print them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--simulate", type=int, default=0, metavar="IMAGES")
    parser.add_argument("--time-limit", type=float, default=60.0, help="seconds for each call of the solver")
    parser.add_argument("--only", default="", help="networks whose name contains this")
    parser.add_argument("--ablate", default="MobileNetV2 W6A8", help="ablation of networks whose name contains this")
    arguments = parser.parse_args()
    board, rows = load_board(BOARD), []
    chosen = [n for n in NETWORKS if arguments.only.lower() in n[0].lower()]
    jobs = [(network, ENGINE) for network in chosen]
    ablated = [n for n in chosen if arguments.ablate.lower() in f"{n[0]} W{n[1]}A{n[2]}".lower()]
    jobs += [(network, variant) for network in ablated for variant in ABLATION]
    for (name, weight_bits, act_bits, build), variant in jobs:
        facts: Row = {"network": name, "weight_bits": weight_bits, "act_bits": act_bits, "variant": variant.name}
        graph = build()
        try:
            found = find(graph, board, variant, arguments.time_limit)
        except UserError as error:
            rows.append(facts | {"limited_by": str(error)})
            continue
        rows.append(facts | row(graph, board, found))
        if variant is ENGINE:
            print_rows(f"{name} W{weight_bits}A{act_bits}", passes(found), PASS_COLUMNS)
            if arguments.simulate and name == "MobileNetV2":
                rows[-1] |= simulated(graph, found, arguments.simulate)
        write_rows("engine", rows)
    print_rows(f"Engine on {BOARD} at {CLOCK_MHZ:g} MHz", rows, COLUMNS)
    return 0


def mobilenet() -> Graph:
    """MobileNetV2 of the file at hand."""
    return to_integer(read_qonnx(Path(os.environ["FPGAFLOW_DATA"]) / "models" / MOBILENET).graph)


def find(graph: Graph, board: Board, variant: Variant, seconds: float) -> Engine:
    """The fastest engine of a variant."""
    budget = Budget(board.budget, memory_rate(board, CLOCK_MHZ), variant.prefetch)
    return search(cut(graph, fuse=variant.fuse), budget, variant.choices, time_limit=seconds)


def row(graph: Graph, board: Board, found: Engine) -> Row:
    """The facts of an engine."""
    moved, clock = sum(t.bytes for t in found.timings), CLOCK_MHZ * 1e6
    fps, compute = clock / found.cycles, clock / mac_cycles(graph, board)
    memory = memory_rate(board, CLOCK_MHZ) * clock / moved
    shares = Counter[str]()
    for t in found.timings:
        shares[t.limited_by] += round(100 * t.cycles / found.cycles)
    return {
        "fps": round(fps, 1),
        "bound_fps": round(min(compute, memory), 1),
        "program_bound_fps": round(clock / found.bound, 1) if found.bound else None,
        "compute_share": round(fps / compute, 3),
        "memory_share": round(fps / memory, 3),
        "limited_by": ", ".join(f"{name} {share} %" for name, share in shares.most_common(3)),
        "products": found.shape.inputs * found.shape.outputs,
        "filter_products": found.shape.lanes * found.shape.taps if found.shape.filters else 0,
        "lut": found.resources.lut,
        "ff": found.resources.ff,
        "dsp": found.resources.dsp,
        "bram18": found.resources.bram18,
        "bytes_per_frame": moved,
        "clock_mhz": CLOCK_MHZ,
        "ddr_bytes_per_second": board.memory.sustained_bytes_per_second,
        "gap": round(found.gap, 6),
        "solve_seconds": round(found.seconds, 1),
    }


def passes(found: Engine) -> list[Row]:
    """The time of every pass and what limits it."""
    return [
        {"name": t.name, "cycles": round(t.cycles), "limited_by": t.limited_by, "bytes": t.bytes, "macs": t.macs}
        for t in found.timings
    ]


def simulated(graph: Graph, found: Engine, images: int) -> Row:
    """The C simulation of the whole network on seeded codes against the evaluator."""
    kind = graph.input.qint
    codes = np.random.default_rng(0).integers(kind.min, kind.max + 1, (images, *graph.input.shape))
    simulation = EngineSim(graph, program(cut(graph), found.shape, found.placement))
    run, spent = timed(lambda: simulation.run(codes, threads=os.cpu_count() or 1))
    wrong = int((run.codes != evaluate(graph, codes)[graph.output]).sum())
    return {
        "simulated_images": images,
        "simulation_mismatches": wrong,
        "simulation_seconds_per_image": round(spent.wall / images, 2),
        "simulation_cpu_seconds_per_image": round(spent.cpu / images, 2),
    }


if __name__ == "__main__":
    raise SystemExit(main())
