"""Bits of layers: joint bits against one after the other, and what ranks bits against the accuracies that they reach.

python -m benchmarks search_bits joint                    # uniform, bits first, engine first, both in one program
python -m benchmarks search_bits streaming                # the same of the streaming architecture: uniform, bits first
python -m benchmarks search_bits proxy --out /tmp/proxy   # what ranks the accuracies of 30 bit vectors, on digits
python -m benchmarks search_bits proxy --out /tmp/resnet8 --parent RUN    # ResNet-8 of a float run on CIFAR-10
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import pulp
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVR

from benchmarks.common import Row, Spent, finished_run, print_rows, timed
from benchmarks.schemas import SEARCH
from benchmarks.search import BOARD, COLUMNS, row
from toolchain.boards import load_board
from toolchain.dse.bits import Sensitivity, nearest, with_bits
from toolchain.dse.ilp import SOLVERS, available_solver
from toolchain.engine.candidates import Budget
from toolchain.engine.cut import cut as cut_graph
from toolchain.engine.joint import search_jointly
from toolchain.engine.layers import Cut
from toolchain.engine.precision import Mixed, held, parts_for, search_bits, weight_noise
from toolchain.engine.search import search_below
from toolchain.errors import UserError
from toolchain.files import write_text
from toolchain.flow.options import Search
from toolchain.flow.ptq import Images, quantize_to
from toolchain.flow.sensitivity import output_errors, pass_name
from toolchain.flow.stages import lower
from toolchain.flow.training import train
from toolchain.ir.encode import encode
from toolchain.ir.evaluate import evaluate
from toolchain.ir.graph import Graph
from toolchain.ir.ops.products import MatVec
from toolchain.ir.types import Array
from toolchain.passes.pipeline import hardware_form
from toolchain.search.graphs import graph_of
from toolchain.search.hardware import Hardware
from toolchain.search.network import largest, network_at
from toolchain.search.passes import Task, cut_of
from toolchain.search.predictor import kendall
from toolchain.search.space import Space, parse_space
from toolchain.train.data import load_for
from toolchain.train.ptq.quantize import Bits
from toolchain.train.ptq.source import find_source

WIDTHS = (4, 6, 8)
MOST = 8
"""Bits of the weights that others are rounded from."""


def blocks(name: str, *stages: tuple[str, int, int, int], stem: int, head: int = 0, **facts: object) -> Space:
    """A space of one network: stages of kind, channels, stride and expansion."""
    table = [
        {"kind": kind, "channels": [channels], "stride": stride, "expansion": [expansion]}
        for kind, channels, stride, expansion in stages
    ]
    found = {"name": name, "stem": [stem], "head": [head], "stage": table, "bits": {"weights": [MOST]}, **facts}
    return parse_space(found, where=name)


RESNET8 = blocks("resnet8", ("residual", 16, 1, 1), ("residual", 32, 2, 1), ("residual", 64, 2, 1), stem=16)
MOBILENET = blocks(
    "mobilenetv2-0.5", ("inverted", 8, 1, 1), ("inverted", 16, 2, 6), ("inverted", 16, 2, 6), ("inverted", 32, 2, 6),
    ("inverted", 48, 1, 6), ("inverted", 80, 2, 6), stem=16, head=1280, stem_stride=2,
)  # fmt: skip
NETWORKS = ((RESNET8, Task(3, (32, 32), 10, 8)), (MOBILENET, Task(3, (160, 160), 1000, 8)))


def seeded(cut: Cut) -> Cut:
    """``cut`` with weights of a Laplace distribution: their noise stands for that of trained ones."""
    rng, passes = np.random.default_rng(0), []
    for p in cut.passes:
        if p.conv is not None:
            real = rng.laplace(size=p.conv.weight.shape)
            weight = np.rint(real / np.abs(real).max() * ((1 << (MOST - 1)) - 1)).astype(np.int64)
            first = p.first
            if first is not None:
                first = replace(first, mul=np.full(len(weight), first.mul[0]), add=np.full(len(weight), first.add[0]))
            p = replace(p, conv=replace(p.conv, weight=weight), first=first)
        passes.append(p)
    return replace(cut, passes=tuple(passes))


def fewest_operations(cut: Cut, losses: Sensitivity, limit: float) -> dict[str, int]:
    """Bits that lose at most ``limit`` with the fewest bit operations, whatever engine there will be (HAWQ-V3's)."""
    model = pulp.LpProblem("operations", pulp.LpMinimize)
    passes = [p for p in cut.passes if p.conv is not None]
    z = {p.name: {b: pulp.LpVariable(f"z{i}_{b}", cat="Binary") for b in WIDTHS} for i, p in enumerate(passes)}
    for each in z.values():
        model += pulp.lpSum(each.values()) == 1
    model += pulp.lpSum(losses[n][b] * x for n, each in z.items() for b, x in each.items()) <= limit
    macs = {p.name: p.weights * p.middle[0] * p.middle[1] / 1e6 for p in passes}
    model.setObjective(pulp.lpSum(macs[n] * b * x for n, each in z.items() for b, x in each.items()))
    model.solve(pulp.getSolver(SOLVERS[available_solver("highs")], msg=False, threads=1))
    return {name: max(each, key=lambda b: each[b].varValue or 0.0) for name, each in z.items()}


def engine_after(cut: Cut, budget: Budget, bits: dict[str, int], losses: Sensitivity, seconds: float) -> Mixed:
    """The best engine of all widths for bits that are chosen."""
    found = None
    for width in sorted(WIDTHS, reverse=True):
        network = held(cut, width, MOST)
        passes = tuple(
            p if p.conv is None else replace(p, conv=replace(p.conv, parts=parts_for(bits[p.name], width)))
            for p in network.passes
        )
        below = float("inf") if found is None else found.cycles
        found = search_below(below, replace(network, passes=passes), budget, time_limit=seconds) or found
    if found is None:
        raise UserError("no engine for the bits fits")
    return Mixed(found, bits, sum(losses[name][b] for name, b in bits.items()), found.cycles)


def joint(seconds: float) -> list[Row]:
    """Frames a second at half the noise of all weights in 4 bits: uniform, bits first, engine first, one program."""
    rows = []
    for space, task in NETWORKS:
        hardware = Hardware(space, task, Search(BOARD, time_limit=seconds))
        cut, budget = seeded(cut_of(network_at(space, largest(space)), task)), hardware.budget
        losses = weight_noise(cut, WIDTHS)
        limit = sum(each[4] for each in losses.values()) / 2

        def add(what: str, found: Mixed, spent: Spent, space: Space = space,
                hardware: Hardware = hardware) -> None:  # fmt: skip
            rows.append(row(space.name, what, 1, hardware.fps(found.cycles), "fps", spent))
            print_rows(what, rows[-1:], COLUMNS)

        found, spent = timed(partial(engine_after, cut, budget, dict.fromkeys(losses, 6), losses, seconds))
        add("all weights in 6 bits, then the engine", found, spent)
        bits, first = timed(partial(fewest_operations, cut, losses, limit))
        known, spent = timed(partial(engine_after, cut, budget, bits, losses, seconds))
        add(
            "bits of the fewest operations, then the engine",
            known,
            Spent(first.wall + spent.wall, first.cpu + spent.cpu),
        )
        alone, spent = timed(partial(search_bits, cut, budget, losses, WIDTHS, loss=limit, time_limit=seconds))
        add("an engine of each width, then bits on it", alone[0], spent)
        known = min(known, alone[0], key=lambda m: m.cycles)
        found, spent = timed(partial(search_jointly, cut, budget, losses, WIDTHS, limit, known, time_limit=seconds))
        add("bits and engine in one program", found, spent)
        rows.append(row(space.name, "gap of the one program", 1, 100 * found.gap, "%"))
    return rows


STREAMED = (
    (RESNET8, 4),
    (blocks("mobilenetv2-small", ("inverted", 16, 1, 6), ("inverted", 24, 2, 6), ("inverted", 32, 2, 6), stem=16,
            head=128), 8),
)  # fmt: skip
"""Networks for pictures of 32 x 32, and bits of their activations."""

SHOWN = 16
"""Random inputs that losses of layers of seeded weights are measured on."""


def streaming(seconds: float) -> list[Row]:
    """Frames a second at half the loss of all weights in 4 bits: uniform, bits first, bits and lanes in one program."""
    rows, board = [], load_board(BOARD)
    for space, act_bits in STREAMED:
        network = replace(network_at(space, largest(space)), architecture="streaming", act_bits=act_bits)
        graph = graph_of(network, Task(3, (32, 32), 10, 8))
        kind, name = graph.input.qint, f"{space.name}, activations of {act_bits} bits"
        codes = np.random.default_rng(0).integers(kind.min, kind.max + 1, (SHOWN, *graph.input.shape))
        losses = output_errors(graph, WIDTHS, codes)
        own = {node.name: losses[pass_name(graph, node)] for node in graph.nodes if isinstance(node, MatVec)}
        layered, made = timed(partial(with_bits, hardware_form(graph), own, WIDTHS, ultra=board.budget.uram > 0))
        limit = sum(each[4] for each in own.values()) / 2
        ways = {
            "all weights in 4 bits, twice the loss": partial(layered.fixed, dict.fromkeys(own, 4), board.budget),
            "all weights in 6 bits": partial(layered.fixed, dict.fromkeys(own, 6), board.budget),
            "bits of the least memory, then lanes": partial(layered.in_turn, board.budget, limit),
            "bits and lanes in one program": partial(layered.solve, board.budget, limit),
        }
        for what, way in ways.items():
            found, spent = timed(partial(way, time_limit=seconds))
            fps = board.clock.default_mhz * 1e6 / found.solution.cycles
            rows.append(row(name, what, 1, fps, "fps", Spent(made.wall + spent.wall, made.cpu + spent.cpu)))
            print(what, found.solution.cycles, found.loss / limit, list(found.bits.values()), flush=True)
        rows.append(row(name, "gap of the one program", 1, 100 * found.gap, "%"))
    return rows


BITS = (2, 3, 4, 6, 8)
VECTORS = 30
"""Bit vectors that are ranked."""

MEASURED, JUDGED, RANDOM = 128, 1000, 64
"""Images that losses of single layers are measured on, that judge, and random inputs in place of the former."""

SMALL = blocks(
    "digits-resnet", ("residual", 8, 1, 1), ("residual", 16, 2, 1), ("residual", 24, 2, 1), stem=8,
    data={"name": "digits"}, train={"epochs": 15, "lr": 3e-3, "batch_size": 64, "threads": 1},
)  # fmt: skip


def rounded(graph: Graph, layers: dict[str, str], bits: dict[str, int]) -> Graph:
    """``graph`` with the weights of every layer in so many bits, on its grid of 8."""
    nodes = []
    for node in graph.nodes:
        if isinstance(node, MatVec) and layers.get(node.name) in bits:
            weight = nearest(node.weight, bits[layers[node.name]])
            node = replace(node, weight=np.rint(weight).astype(np.int64))
        nodes.append(node)
    return replace(graph, nodes=tuple(nodes))


@dataclass(frozen=True)
class Judge:
    """A network in 8 bits whose bit vectors are ranked: on ``x``, codes of images, and their ``labels``; losses of
    single layers are measured on ``measured``, codes too."""

    name: str
    graph: Graph
    x: Array
    labels: Array
    measured: Array
    learned: int


def digits_judge(out: Path) -> Judge:
    """A network trained on digits in 8 bits, judged on all of them."""
    run = network_at(SMALL, largest(SMALL)).run(SMALL, SMALL.name)
    if not (out / "metrics.json").is_file():
        train(run, out, resume=True)
    graph = lower(out / "model.onnx", out / "build").network.graph
    data = load_for(run.data)
    x = encode(graph, np.concatenate([data.test_x, data.train_x]).transpose(0, 2, 3, 1).astype(np.int64))
    return Judge(SMALL.name, graph, x, np.concatenate([data.test_y, data.train_y]), x, 60)


def resnet_judge(parent: Path, out: Path) -> Judge:
    """ResNet-8 of a float run, quantized after training to 8 bits; judged on the first 1,000 test images."""
    source = find_source(str(parent))
    data = source.data
    assert data is not None
    if not (out / "metrics.json").is_file():
        images = Images(data.name, data.train_x[:MEASURED], data.test_x[:JUDGED], data.test_y[:JUDGED])
        quantize_to(out, source, images, Bits(MOST, MOST))
    graph = lower(out / "model.onnx", out / "build").network.graph
    x, measured = (
        encode(graph, part.transpose(0, 2, 3, 1).astype(np.int64))
        for part in (data.test_x[:JUDGED], data.train_x[:MEASURED])
    )
    return Judge("cifar10-resnet8", graph, x, data.test_y[:JUDGED], measured, 40)


def proxy(judge: Judge, out: Path) -> list[Row]:
    """Kendall's tau of losses with accuracies: noise, measured losses of single layers, a predictor of bit vectors."""
    graph, passes = judge.graph, cut_graph(judge.graph)
    noise = weight_noise(passes, BITS)
    names, products = list(noise), [n for n in graph.nodes if isinstance(n, MatVec)]
    sizes = [p.weights for p in passes.passes if p.conv is not None]
    assert sizes == [n.weight.size for n in products], "the passes stand in the order of the products"
    layers = {node.name: name for node, name in zip(products, names, strict=True)}
    rng = np.random.default_rng(0)
    count = VECTORS + judge.learned
    vectors = [dict(zip(names, rng.choice(BITS, len(names)).tolist(), strict=True)) for _ in range(count)]
    known = out / "top1.json"
    top1: list[float] = json.loads(known.read_text(encoding="utf-8")) if known.is_file() else []

    def reached(bits: dict[str, int]) -> float:
        found = rounded(graph, layers, bits)
        parts = [evaluate(found, judge.x[i : i + 250])[graph.output] for i in range(0, len(judge.x), 250)]
        return float((np.concatenate(parts).reshape(len(judge.x), -1).argmax(1) == judge.labels).mean())

    def test() -> None:
        for vector in vectors[len(top1) :]:
            top1.append(reached(vector))
            write_text(known, json.dumps(top1) + "\n")
            print(len(top1), top1[-1], flush=True)

    single, spent = timed(lambda: output_errors(graph, BITS, judge.measured))
    kind = graph.input.qint
    random = np.random.default_rng(1).integers(kind.min, kind.max + 1, (RANDOM, *graph.input.shape))
    drawn, drawn_spent = timed(lambda: output_errors(graph, BITS, random))
    _, tested = timed(test)
    print("top-1 of the vectors", min(top1), max(top1), "all in 8 bits", reached(dict.fromkeys(names, MOST)))
    features = np.array([[np.log10(noise[n][b] + 1e-6) for n, b in v.items()] for v in vectors])
    model = make_pipeline(StandardScaler(), SVR(C=1.0, epsilon=0.005)).fit(features[VECTORS:], top1[VECTORS:])

    def summed(table: Sensitivity) -> list[float]:
        return [-sum(table[n][b] for n, b in v.items()) for v in vectors[:VECTORS]]

    ranks = (
        ("summed noise of rounded weights", summed(noise), Spent(0.0, 0.0)),
        ("summed errors of single layers on images", summed(single), spent),
        (f"summed errors of single layers on {RANDOM} random inputs", summed(drawn), drawn_spent),
        (f"predictor from {judge.learned} others", model.predict(features[:VECTORS]), tested),
    )
    what = f"of the accuracies of {VECTORS} random bit vectors"
    return [
        row(judge.name, f"{text}, {what}", VECTORS, kendall(foreseen, top1[:VECTORS]), "Kendall tau", each)
        for text, foreseen, each in ranks
    ]


def main() -> None:
    """Run one of the parts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=("joint", "streaming", "proxy"))
    parser.add_argument("--out", type=Path, default=Path("run"), help="folder of the proxy's network")
    parser.add_argument("--parent", type=finished_run, help="folder of a float run that is quantized after training")
    parser.add_argument("--seconds", type=float, default=60.0, help="of an integer program")
    chosen = parser.parse_args()
    if chosen.part in ("joint", "streaming"):
        rows = {"joint": joint, "streaming": streaming}[chosen.part](chosen.seconds)
    else:
        out = chosen.out
        rows = proxy(digits_judge(out) if chosen.parent is None else resnet_judge(chosen.parent, out), out)
    SEARCH.record(*rows)
    print_rows("Bits of layers", rows, COLUMNS)


if __name__ == "__main__":
    main()
