"""EfficientNet-Lite0: bits of every layer against agreement with float on images that nothing was fitted to.

    pip install 'fpgaflow[efficientnet]'
    FPGAFLOW_DATA=... python -m benchmarks efficientnet_bits losses --out /tmp/bits   # a table
    FPGAFLOW_DATA=... python -m benchmarks efficientnet_bits search --out /tmp/bits   --filters 4   # bits, engines
    FPGAFLOW_DATA=... python -m benchmarks efficientnet_bits front --out /tmp/bits    # minutes a point
    FPGAFLOW_DATA=... python -m benchmarks efficientnet_bits export --out /tmp/bits --number 1

A layer's loss in so many bits is what rounding it alone changes of the float network's outputs: the layer is rounded
as quantization after training rounds it, and only what follows it is computed again. The front is that of the program
which chooses bits on an engine, or with ``--together`` both, once for a width of all depthwise filters.
Each of its points is quantized after training; ``export`` also writes one to a file, lowers it and finds its engine.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx, nn

from benchmarks.common import Row, print_rows, timed
from benchmarks.efficientnet import NAME, Case, images, quantized
from benchmarks.engine import BOARD, CLOCK_MHZ, efficientnet
from benchmarks.schemas import BITS_FRONT
from toolchain.boards import load_board
from toolchain.engine.candidates import Budget
from toolchain.engine.cut import cut as cut_graph
from toolchain.engine.joint import faster_jointly, search_front
from toolchain.engine.layers import Cut, narrowed
from toolchain.engine.precision import search_bits
from toolchain.engine.search import search
from toolchain.files import write_text
from toolchain.flow.engine_found import memory_rate
from toolchain.flow.ptq import Images, quantize_to
from toolchain.frontend.read import read_qonnx
from toolchain.lowering.pipeline import to_integer
from toolchain.train.inputs import PixelMap
from toolchain.train.own.kinds import Weighted
from toolchain.train.own.trace import layer_of
from toolchain.train.ptq.graph import combined, input_of, layer_graph
from toolchain.train.ptq.quantize import Bits, layer_moments, operands, quantize, with_quantizers
from toolchain.train.ptq.rounding import round_weights
from toolchain.train.ptq.source import Source, find_source
from toolchain.train.quantizers import Levels
from toolchain.train.runs import saved_metrics

WIDTHS = (2, 3, 4, 5, 6, 8)
CHOICES = (3, 4, 6)
"""Bits that the program chooses from."""

CALIBRATION, UNSEEN, FACTORS = 32, 168, 16
"""Images that steps, weights and losses are fitted to, those that judge, and bits of requantizers' factors."""

MEASURED = 16
"""Calibration images that losses are measured on."""

COLUMNS = {
    "bits": "bits", "fps": "fps", "filter_bits": "filters", "engine_bits": "engine", "mean_bits": "mean bits",
    "agreement": "agrees", "images": "of images", "top1": "top-1",
}  # fmt: skip

Losses = dict[str, dict[int, float]]


def losses() -> Losses:
    """The squared change of the outputs over their squares with one layer in so many bits, by the layer's name."""
    source = find_source(NAME)
    assert isinstance(source.pixels, PixelMap)
    x = torch.from_numpy(source.pixels.apply(images()[0][:MEASURED]))
    graph = layer_graph(source.model, x[:2])
    floats = dict(graph.named_modules())
    nodes = [node for node in graph.graph.nodes if node.op != "output"]
    values: dict[fx.Node, Tensor] = {}
    with torch.no_grad():
        for node in nodes:
            values[node] = x if node.op == "placeholder" else _value(graph, node, values)
        exact, found = values[nodes[-1]].double(), {}
        for at, node in enumerate(nodes):
            layer = floats.get(str(node.target))
            if isinstance(layer, Weighted):
                found[str(node.target)] = _layer_losses(graph, nodes[at:], layer, values, exact)
                print(node.target, found[str(node.target)], flush=True)
    return found


def _layer_losses(
    graph: fx.GraphModule, nodes: Sequence[fx.Node], layer: Weighted, values: Mapping[fx.Node, Tensor], exact: Tensor
) -> dict[int, float]:
    """Losses of ``layer``, the first of ``nodes``, in all widths; ``nodes`` are computed again for each."""
    read = values[input_of(nodes[0])].split(4)
    weight, moments = layer_moments(layer, read, read)
    weight, plain, bias = weight.clone(), layer.weight.detach().clone(), layer.bias
    assert bias is not None
    before, found = bias.detach().clone(), {}
    for bits in WIDTHS:
        rounded = round_weights(weight, moments, Levels.weight(bits), per_channel=True)
        layer.weight.copy_(rounded.weight.reshape(plain.shape))
        bias.copy_(before + rounded.shift.reshape(-1))
        again = dict(values)
        for node in nodes:
            if node is nodes[0] or any(again[other] is not values[other] for other in operands(node)):
                again[node] = _value(graph, node, again)
        error = (again[nodes[-1]].double() - exact).square().sum() / exact.square().sum()
        found[bits] = float(error)
    layer.weight.copy_(plain)
    bias.copy_(before)
    return found


def _value(graph: fx.GraphModule, node: fx.Node, values: Mapping[fx.Node, Tensor]) -> Tensor:
    """Compute ``node`` from ``values``."""
    layer, read = layer_of(graph, node), [values[other] for other in operands(node)]
    found: Tensor = combined(node, read) if layer is None else layer(*read)
    return found


def layers(source: Source) -> tuple[list[str], list[str]]:
    """The names of the convolutions that are multiplied pass by pass, in order, and of the depthwise filters."""
    graph = layer_graph(source.model, torch.zeros(2, *source.shape))
    own: tuple[list[str], list[str]] = ([], [])
    for node in graph.graph.nodes:
        layer = layer_of(graph, node)
        if isinstance(layer, Weighted):
            own[getattr(layer, "groups", 1) > 1].append(str(node.target))
    return own


def with_filters(cut: Cut, bits: int) -> Cut:
    """``cut`` with depthwise filters of ``bits`` bits: only their format means something."""
    most = (1 << (bits - 1)) - 1
    return replace(cut, passes=tuple(
        replace(p, window=replace(p.window, weight=np.clip(p.window.weight, -most, most)))
        if p.window is not None and p.window.weight is not None else p
        for p in cut.passes
    ))  # fmt: skip


def budget() -> Budget:
    """The board's."""
    board = load_board(BOARD)
    return Budget(board.budget, memory_rate(board, CLOCK_MHZ))


def problem(table: Losses, filters: int) -> tuple[Cut, Losses, float]:
    """The passes with filters of so many bits, their losses by the passes' names, and the loss of the filters."""
    passes, depthwise = layers(find_source(NAME))
    cut = with_filters(cut_graph(efficientnet(Case(8, 8, CALIBRATION, 64, FACTORS))), filters)
    names = [p.name for p in cut.passes if p.conv is not None]
    own = {name: table[layer] for name, layer in zip(names, passes, strict=True)}
    return cut, own, sum(table[layer][filters] for layer in depthwise)


def chosen(
    table: Losses, filters: int, together: bool, seconds: float, choices: Sequence[int] = CHOICES
) -> list[dict[str, Any]]:
    """Return the front of bits and engines with depthwise filters of ``filters`` bits.

    For each width of ``choices`` it has an engine and bits on it, or with ``together`` both from one program at the
    loss of each of those points.
    """
    cut, own, ground = problem(table, filters)
    passes, depthwise = layers(find_source(NAME))
    whole = sum(each[4] for each in table.values())
    names = [p.name for p in cut.passes if p.conv is not None]
    find = search_front if together else search_bits
    return [
        {
            "fps": CLOCK_MHZ * 1e6 / mixed.cycles, "gap": mixed.gap if together else None,
            "loss": (mixed.loss + ground) / whole, "engine_bits": mixed.engine.shape.weight_bits,
            "filter_bits": filters, "bits": {layer: mixed.bits[name] for name, layer in zip(names, passes, strict=True)}
            | dict.fromkeys(depthwise, filters),
        }
        for mixed in find(cut, budget(), own, choices, time_limit=seconds)
    ]  # fmt: skip


def faster(table: Losses, filters: int, fps: float, seconds: float, choices: Sequence[int] = CHOICES) -> str:
    """Report whether bits and engine together are faster than ``fps`` at no more loss than all layers in 4 bits."""
    cut, own, ground = problem(table, filters)
    limit = sum(each[4] for each in table.values()) - ground
    found, bound = faster_jointly(cut, budget(), own, choices, limit, CLOCK_MHZ * 1e6 / fps, time_limit=seconds)
    if found is not None:
        share = (found.loss + ground) / (limit + ground)
        return f"{CLOCK_MHZ * 1e6 / found.cycles:.1f} fps, loss {share:.3f}, with {list(found.bits.values())}"
    return f"none found; what is left open takes at least {bound:,.0f} cycles, {CLOCK_MHZ * 1e6 / bound:.1f} fps"


def unbeaten(found: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the results that no other beats in rate and loss, the fastest first."""
    front: list[dict[str, Any]] = []
    for each in sorted(found, key=lambda e: (-e["fps"], e["loss"])):
        if not front or each["loss"] < front[-1]["loss"]:
            front.append(each)
    return front


def agreement(network: nn.Module, source: Source) -> Row:
    """Return the shares of unseen images on which ``network`` agrees with the float one, and on which each is right."""
    assert source.pixels is not None
    x, labels = images()
    theirs, ours = [], []
    with torch.no_grad():
        for start in range(len(x) - UNSEEN, len(x), 8):
            part = torch.from_numpy(source.pixels.apply(x[start : start + 8]))
            theirs.append(source.model(part).argmax(1).numpy())
            ours.append(network(part).argmax(1).numpy())
    float_class, own_class, right = np.concatenate(theirs), np.concatenate(ours), labels[-UNSEEN:]
    shares = {"agreement": float_class == own_class, "top1": own_class == right, "float_top1": float_class == right}
    return {"network": NAME, "images": UNSEEN, **{key: round(float(np.mean(hit)), 6) for key, hit in shares.items()}}


def uniform(bits: int) -> Row:
    """Measure the network with all weights in ``bits`` bits, and the fastest engine for it."""
    source, case = find_source(NAME), Case(bits, 8, CALIBRATION, 64, FACTORS)
    saved = torch.load(quantized(case) / "model.pt", weights_only=True)
    graph = layer_graph(source.model, torch.zeros(2, *source.shape))
    network = with_quantizers(graph, Bits(bits, 8, factors=FACTORS), pixels=True)
    network.load_state_dict(saved["state_dict"])
    engine = search(cut_graph(efficientnet(case)), budget())
    return {
        **agreement(network, source), "bits": f"W{bits}A8", "fps": round(CLOCK_MHZ * 1e6 / engine.cycles, 1),
        "gap": round(engine.gap, 6), "engine_bits": bits, "filter_bits": bits, "mean_bits": float(bits),
    }  # fmt: skip


def point(found: Mapping[str, Any]) -> Row:
    """A point of the front, quantized after training with its bits."""
    source = find_source(NAME)
    assert isinstance(source.pixels, PixelMap)
    x = torch.from_numpy(source.pixels.apply(images()[0][:CALIBRATION]))
    step = float(source.pixels.scale[0])
    bits = Bits(8, 8, layers=found["bits"], factors=FACTORS)
    network = quantize(source.model, x, bits, pixels=True, pixel_step=step)
    passes = [found["bits"][layer] for layer in layers(source)[0]]
    return {
        **agreement(network, source), "bits": f"searched, filters of {found['filter_bits']}, loss {found['loss']:.3f}",
        "fps": round(found["fps"], 1), "engine_bits": found["engine_bits"],
        "filter_bits": found["filter_bits"], "mean_bits": round(float(np.mean(passes)), 2),
        "loss": round(found["loss"], 4), "layers": "".join(map(str, passes)),
    }  # fmt: skip


def exported(found: Mapping[str, Any], folder: Path) -> Row:
    """A point quantized to a file, exported and lowered: agreement on the unseen images, and its own engine's rate."""
    x, y = images()
    data = Images("imagenet_sample200_224", x[:CALIBRATION], x[-UNSEEN:], y[-UNSEEN:])
    if not (folder / "metrics.json").is_file():
        quantize_to(folder, find_source(NAME), data, Bits(8, 8, layers=found["bits"], factors=FACTORS))
    file = read_qonnx(folder / "model.onnx")
    assert file.encoding is not None
    cut = cut_graph(to_integer(file.graph, file.encoding))
    engine = search(narrowed(cut, found["engine_bits"]), budget())
    metrics = saved_metrics(folder)
    return {"fps": CLOCK_MHZ * 1e6 / engine.cycles, "gap": engine.gap, "agreement": metrics["agreement"]}


def main() -> None:
    """Run one of the parts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=("losses", "search", "faster", "front", "export"))
    parser.add_argument("--out", type=Path, default=Path("bits"))
    parser.add_argument("--seconds", type=float, default=60.0, help="of an integer program")
    parser.add_argument("--filters", type=int, default=4, help="bits of the depthwise filters")
    parser.add_argument("--choices", type=int, nargs="+", default=CHOICES, help="bits of the layers to choose from")
    parser.add_argument("--fps", type=float, default=326.0, help="that are to be exceeded")
    parser.add_argument("--together", action="store_true", help="bits and engine in one program")
    parser.add_argument("--number", type=int, default=1, help="point that is exported, the fastest is 1")
    parser.add_argument("--points", type=int, nargs="*", help="of the front, all without")
    parser.add_argument("--uniform", type=int, nargs="*", default=[4], help="bits of networks beside the front")
    chosen_part = parser.parse_args()
    out = chosen_part.out
    torch.set_num_threads(1)
    if chosen_part.part == "losses":
        found, spent = timed(losses)
        write_text(out / "losses.json", json.dumps(found, indent=1) + "\n")
        print(f"{spent.cpu:.0f} CPU s")
        return
    if chosen_part.part in ("search", "faster"):
        table = json.loads((out / "losses.json").read_text(encoding="utf-8"))
        losses_of = {layer: {int(b): x for b, x in each.items()} for layer, each in table.items()}
        filters, together = chosen_part.filters, chosen_part.together
        if chosen_part.part == "faster":
            print(faster(losses_of, filters, chosen_part.fps, chosen_part.seconds, chosen_part.choices))
            return
        points = chosen(losses_of, filters, together, chosen_part.seconds, chosen_part.choices)
        for each in points:
            print({k: v for k, v in each.items() if k != "bits"}, list(each["bits"].values()), flush=True)
        name = f"chosen-{filters}{'-together' if together else ''}.json"
        write_text(out / name, json.dumps(points, indent=1) + "\n")
        return
    files = sorted(out.glob("chosen-*.json"))
    front = unbeaten([each for path in files for each in json.loads(path.read_text(encoding="utf-8"))])
    if chosen_part.part == "export":
        print(exported(front[chosen_part.number - 1], out / f"point-{chosen_part.number}"))
        return
    for bits in chosen_part.uniform:
        BITS_FRONT.record(uniform(bits))
    for number in chosen_part.points or range(1, len(front) + 1):
        BITS_FRONT.record(point(front[number - 1]))
    print_rows("EfficientNet-Lite0, bits a layer", BITS_FRONT.rows(), COLUMNS)


if __name__ == "__main__":
    main()
