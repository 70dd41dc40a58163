"""ImageNet networks on the engine, ZU3EG, batch 1: frames per second, resources, what each decision is worth.

    python -m benchmarks engine                  # rates, and for MobileNetV2 the ablation, by the integer program
    python -m benchmarks engine --simulate 2     # and the C simulation of some networks on so many images
    python -m benchmarks engine --images 20      # and that of EfficientNet-Lite0 on so many of its test images

Rates are estimates at 250 MHz with the memory bandwidth that the board's file gives. MobileNetV2 is the quantized file
below FPGAFLOW_DATA/models (its weights rounded to 4 bits for W4A8). EfficientNet-Lite0 has its real weights, quantized
after training by benchmarks/efficientnet.py on first use, with factors of 16 bits and, for comparison, free ones.
MobileNetV3-Small, ResNet-18, the U-net and the YOLOs have seeded weights, so that only their shapes and
number formats count; the first is quantized as a user's float network is.
"""

from __future__ import annotations

import argparse
import os
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from benchmarks import mobilenet_v3, schemas
from benchmarks.common import Row, print_rows, timed
from benchmarks.efficientnet import Case, images, quantized
from benchmarks.engine_networks import resnet18, tiny_yolo, unet, with_weights_of, yolov5n, yolov8n
from toolchain.boards import Board, load_board
from toolchain.dse.bound import mac_cycles
from toolchain.engine.candidates import Budget
from toolchain.engine.csim import EngineSim
from toolchain.engine.cut import cut
from toolchain.engine.options import Choices
from toolchain.engine.search import Engine, search
from toolchain.engine.tables import program
from toolchain.errors import UserError
from toolchain.flow.engine_found import memory_rate
from toolchain.frontend.read import read_qonnx
from toolchain.ir.encode import encode
from toolchain.ir.evaluate import evaluate
from toolchain.ir.graph import Graph
from toolchain.ir.types import Array
from toolchain.lowering.pipeline import to_integer
from toolchain.train.ptq.quantize import Bits
from toolchain.train.runs import saved_metrics

BOARD, CLOCK_MHZ = "zu3eg", 250.0
MOBILENET, EFFICIENTNET, UNET = "mobilenet_v2_a8w6b32.onnx", "EfficientNet-Lite0", "U-net, 256 x 256"
YOLO, YOLOV5N, YOLOV8N = "Tiny YOLOv3, 416 x 416", "YOLOv5n, 320 x 320", "YOLOv8n, 320 x 320"
SMALL = "MobileNetV3-Small"
IMAGES = (32, 64, 16)  # images that calibrate and judge EfficientNet-Lite0, and bits of its requantizers' factors

COLUMNS = {"network": "network", "weight_bits": "W", "act_bits": "A", "variant": "variant", "fps": "fps",
           "bound_fps": "bound", "compute_share": "of compute", "memory_share": "of DDR", "limited_by": "limited by",
           "lut": "LUT", "dsp": "DSP", "bram18": "BRAM18", "bytes_per_frame": "bytes", "gap": "gap",
           "solve_seconds": "solve s", "solve_cpu_seconds": "CPU s"}  # fmt: skip
PASS_COLUMNS = {"name": "pass", "cycles": "cycles", "limited_by": "limited by", "bytes": "bytes", "macs": "MAC"}

Builder = Callable[[], Graph]

NETWORKS: tuple[tuple[str, int, int, Builder], ...] = (
    ("MobileNetV2", 6, 8, lambda: mobilenet()),
    ("MobileNetV2", 4, 8, lambda: with_weights_of(mobilenet(), 4)),
    (EFFICIENTNET, 8, 8, lambda: efficientnet(Case(8, 8, *IMAGES))),
    (EFFICIENTNET, 4, 8, lambda: efficientnet(Case(4, 8, *IMAGES))),
    (SMALL, 8, 8, lambda: photographed(mobilenet_v3.quantized(Bits(8, 8, factors=IMAGES[2]), *IMAGES[:2]))),
    ("ResNet-18", 8, 8, lambda: resnet18(8, 8)),
    ("ResNet-18", 4, 4, lambda: resnet18(4, 4)),
    (UNET, 8, 8, lambda: unet(8, 8)),
    (YOLO, 8, 8, lambda: tiny_yolo(8, 8)),
    (YOLOV5N, 8, 8, lambda: yolov5n(8, 8)),
    (YOLOV8N, 8, 8, lambda: yolov8n(8, 8)),
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
FREE = Variant("free factors")
ABLATION = (
    Variant("no fusion", fuse=False),
    Variant("no double buffering", prefetch=False),
    Variant("256:144 fixed", choices=Choices(lanes=(16,), in_blocks=(1,), out_blocks=(1,), taps=(9,))),
    Variant("DSP only", choices=Choices(luts_multiply=False)),
    Variant("no maps on chip", choices=Choices(bank_kib=(0,))),
)
"""256:144 are the products of the convolution and of the depthwise filter in CoDeNet, HAO's public ancestor."""


class Job(NamedTuple):
    """A network and a way to run it."""

    network: str
    weight_bits: int
    act_bits: int
    build: Builder
    variant: Variant


def main() -> int:
    """Search, write the rows, print them; rows of other networks stay."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--simulate", type=int, default=0, metavar="IMAGES", help="random ones, of MobileNets, the U-net and all YOLOs"
    )
    parser.add_argument("--images", type=int, default=0, help="of EfficientNet-Lite0, simulated")
    parser.add_argument("--time-limit", type=float, default=60.0, help="seconds for each call of the solver")
    parser.add_argument("--only", default="", help="networks whose name contains this")
    parser.add_argument("--ablate", default="MobileNetV2 W6A8", help="ablation of networks whose name contains this")
    arguments = parser.parse_args()
    board = load_board(BOARD)
    for job in jobs(arguments.only, arguments.ablate):
        facts: Row = {"network": job.network, "weight_bits": job.weight_bits, "act_bits": job.act_bits}
        facts["variant"] = job.variant.name
        graph = job.build()
        try:
            found, spent = timed(partial(find, graph, board, job.variant, arguments.time_limit))
        except UserError as error:
            facts["limited_by"] = str(error)
        else:
            facts |= row(graph, board, found) | {"solve_cpu_seconds": round(spent.cpu, 1)}
            facts |= shown(job, graph, found, arguments.simulate, arguments.images)
        schemas.ENGINE.record(facts)
    print_rows(f"Engine on {BOARD} at {CLOCK_MHZ:g} MHz", schemas.ENGINE.rows(), COLUMNS)
    return 0


def jobs(only: str, ablate: str) -> list[Job]:
    """The searches of networks whose name contains ``only``, ablations of those that contain ``ablate``."""
    chosen = [n for n in NETWORKS if only.lower() in f"{n[0]} W{n[1]}A{n[2]}".lower()]
    found = [Job(*network, ENGINE) for network in chosen]
    found += [Job(*n[:3], partial(efficientnet, Case(*n[1:3])), FREE) for n in chosen if n[0] == EFFICIENTNET]
    ablated = [n for n in chosen if ablate.lower() in f"{n[0]} W{n[1]}A{n[2]}".lower()]
    return found + [Job(*network, variant) for network in ablated for variant in ABLATION]


def shown(job: Job, graph: Graph, found: Engine, random: int, photographs: int) -> Row:
    """The passes, printed; for some networks how well they classify and the C simulation."""
    if job.variant is not ENGINE:
        return {}
    print_rows(f"{job.network} W{job.weight_bits}A{job.act_bits}", passes(found), PASS_COLUMNS)
    facts: Row = {}
    if job.network == EFFICIENTNET:
        case = Case(job.weight_bits, job.act_bits, *IMAGES)
        metrics = saved_metrics(quantized(case))
        facts = {key: metrics[key] for key in ("agreement", "agreement_images", "float_top1", "top1")}
        if photographs:
            pixels = images()[0][-case.test :][:photographs].transpose(0, 2, 3, 1)
            facts |= simulated(graph, found, encode(graph, pixels))
    elif random and job.network in ("MobileNetV2", SMALL, UNET, YOLO, YOLOV5N, YOLOV8N):
        kind = graph.input.qint
        codes = np.random.default_rng(0).integers(kind.min, kind.max + 1, (random, *graph.input.shape))
        facts |= simulated(graph, found, codes)
    return facts


def mobilenet() -> Graph:
    """MobileNetV2 of the file at hand."""
    return to_integer(read_qonnx(Path(os.environ["FPGAFLOW_DATA"]) / "models" / MOBILENET).graph)


def efficientnet(case: Case) -> Graph:
    """EfficientNet-Lite0 with its real weights."""
    return photographed(quantized(case))


def photographed(folder: Path) -> Graph:
    """The network of photographs that was quantized into ``folder``."""
    file = read_qonnx(folder / "model.onnx")
    assert file.encoding is not None
    return to_integer(file.graph, file.encoding)


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


def simulated(graph: Graph, found: Engine, codes: Array) -> Row:
    """The C simulation of the whole network on input ``codes`` (N, H, W, C) against the evaluator."""
    simulation = EngineSim(graph, program(cut(graph), found.shape, found.placement))
    run, spent = timed(lambda: simulation.run(codes, threads=os.cpu_count() or 1))
    wrong = 0
    for i in range(len(codes)):
        expected = evaluate(graph, codes[i : i + 1])
        ends = zip(graph.outputs, run.answers, strict=True)
        wrong += sum(int((answer[i] != expected[output.value][0]).sum()) for output, answer in ends)
    return {
        "simulated_images": len(codes),
        "simulation_mismatches": wrong,
        "simulation_seconds_per_image": round(spent.wall / len(codes), 2),
        "simulation_cpu_seconds_per_image": round(spent.cpu / len(codes), 2),
    }


if __name__ == "__main__":
    raise SystemExit(main())
