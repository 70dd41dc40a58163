"""Search of networks: what an evaluation costs, whether the whole front is found, and how well accuracies are foreseen.

    python -m benchmarks search rate                     # 10,000 ImageNet-size networks on 2 processes, minutes
    python -m benchmarks search whole --out /tmp/whole   # a search against all 480 networks of a space, minutes
    python -m benchmarks search real --space cifar10 --out /tmp/cifar10 --networks 50 --front   # hours to days

``real`` goes on where it stopped: the search, then one run a network that the predictor has not learned from, each
trained alone as its run file says, then with ``--front`` each point of the front, exported and simulated. Kendall's tau
is between what was foreseen and the accuracy on the test images.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks.common import Row, Spent, print_rows, timed
from benchmarks.schemas import SEARCH
from toolchain.flow.options import Check, Search
from toolchain.flow.training import train
from toolchain.search.hardware import Hardware, stored_shape
from toolchain.search.labels import Labels
from toolchain.search.network import Network, drawn, every_point, largest, network_at
from toolchain.search.passes import Task
from toolchain.search.pool import Local
from toolchain.search.predictor import Features, Predictor, kendall
from toolchain.search.run import build_point, search
from toolchain.search.shared import noise_table
from toolchain.search.space import Space, load_space
from toolchain.search.store import Store
from toolchain.search.study import Explorer, Seen, Timer, unbeaten
from toolchain.search.training import SharedTraining, Tester, task_of

SPACES = Path(__file__).parent / "spaces"
BOARD = "zu3eg"
IMAGENET = Task(channels=3, size=(224, 224), classes=1000, input_bits=8)
COLUMNS = {"space": "space", "what": "what", "networks": "networks", "value": "value", "unit": "unit",
           "seconds": "s", "cpu_seconds": "CPU s"}  # fmt: skip


NOTHING = Spent(0.0, 0.0)
"""Of a figure that other work gives besides."""


def row(space: str, what: str, networks: int, value: float, unit: str, spent: Spent = NOTHING) -> Row:
    """A row of the results."""
    return {"space": space, "what": what, "networks": networks, "value": round(value, 6), "unit": unit,
            "seconds": round(spent.wall, 2), "cpu_seconds": round(spent.cpu, 2)}  # fmt: skip


def rate(count: int, workers: int, seconds: float) -> list[Row]:
    """An engine for the largest network by the program; networks at random on it, and their floors."""
    space = load_space(SPACES / "mobilenetv2.toml")
    hardware = Hardware(space, IMAGENET, Search(BOARD, time_limit=seconds))
    proof, spent = timed(lambda: hardware.prove(network_at(space, largest(space)), shared=True))
    what = f"engine for the largest network, {proof.status}"
    rows = [row(space.name, what, 1, hardware.fps(proof.cycles), "fps", spent)]

    rng = np.random.default_rng(0)
    networks = [network_at(space, drawn(space, rng)) for _ in range(count)]
    timer = Timer(hardware, (stored_shape(proof.shape),))
    found, spent = timed(lambda: Local(workers).map(timer, networks))
    able = sum(bool(np.isfinite(cycles)) for cycles, _ in found)
    print(f"{able} of {count} run on the engine")
    what = f"cycles of networks on an engine, {workers} processes"
    rows.append(row(space.name, what, count, spent.wall, "seconds", spent))
    del rows[-1]["cpu_seconds"]
    some = networks[: count // 10]
    _, spent = timed(lambda: Local(1).map(timer, some))
    each = spent.cpu / len(some) * 1e3
    rows.append(row(space.name, "cycles of a network on an engine", len(some), each, "CPU ms a network", spent))
    one = network_at(space, largest(space))
    _, spent = timed(lambda: [timer(one) for _ in range(100)])
    rows.append(row(space.name, "cycles of the largest network again", 1, spent.cpu * 10, "CPU ms a network", spent))
    hardware.floor(networks[0])
    _, spent = timed(lambda: [hardware.floor(network) for network in networks[:200]])
    each = spent.cpu / 200 * 1e3
    return [*rows, row(space.name, "floor of a network", 200, each, "CPU ms a network", spent)]


def whole(out: Path) -> list[Row]:
    """The front that a search finds, against every network of its space by the same predictor and engines."""
    space = load_space(SPACES / "digits-500.toml")
    hardware, store, predictor = learned(space, out)
    explorer = Explorer(hardware, lambda networks: predictor.top1(networks).tolist(), store, Local(1))
    engines = explorer.engines(0)
    _, spent = timed(lambda: explorer.round(0, engines))
    networks = list({n.key: n for n in (network_at(space, p) for p in every_point(space))}.values())
    top1 = predictor.top1(networks)
    costs = [hardware.cycles(network, engines) for network in networks]
    every = [Seen({}, n, float(t), c, e) for n, t, (c, e) in zip(networks, top1, costs, strict=True) if np.isfinite(c)]
    truth = {s.network.key for s in unbeaten(every)}
    found = {s.network.key for s in explorer.front()}
    print(f"{explorer.evaluated} of {len(networks)} networks looked at, {len(truth)} in the front")
    share = len(truth & found) / len(truth)
    looked = row(space.name, "networks looked at", len(networks), explorer.evaluated, "networks", spent)
    return [looked, row(space.name, "the whole front found", len(truth), share, "of the front", spent)]


def learned(space: Space, out: Path) -> tuple[Hardware, Store, Predictor]:
    """The hardware, the store in ``out``, and the predictor behind shared weights and tests that are in it."""
    task = task_of(space)
    hardware = Hardware(space, task, Search(BOARD, time_limit=space.search.seconds))
    store = Store(out, {"space": json.loads(space.model_dump_json(exclude={"search"})), **hardware.facts()})
    shared = SharedTraining(space, task, out).run(lambda *told: print("shared weights", *told, flush=True))
    labels = Labels(space, store, Local(1), Tester(space, task, out), lambda *told: print("tested", *told, flush=True))
    features = Features(space, task, noise_table(shared.cpu(), space))
    predictor = labels.predictor(features)
    tau, count = labels.tau(predictor), labels.held_out
    print(f"{predictor.name}, tau {tau:.3f} on {count} held-out networks; cross-validated", predictor.taus)
    SEARCH.record(row(space.name, "tau on shared weights, held out", count, tau, "Kendall tau"))
    return hardware, store, predictor


def real(space: Space, out: Path, count: int, front: bool, workers: int) -> list[Row]:
    """Kendall's tau with networks trained alone; with ``front`` each of its points trained, exported, simulated."""
    target = Search(BOARD, time_limit=space.search.seconds)
    result, spent = timed(lambda: search(space, out, target, workers=workers))
    looked, points = len(result.looked), len(result.points)
    rows = [row(space.name, "the whole search", looked, points, "points of the front", spent)]
    _, store, predictor = learned(space, out)
    known = Labels(space, store, Local(1), lambda _: 0.0)
    networks, shared = known.networks[:count], known.top1[:count]
    reached, spent = timed(lambda: trained(space, networks, out / "real"))
    for what, foreseen in (("predictor", predictor.top1(networks)), ("shared weights", shared)):
        tau = kendall(foreseen, reached)
        rows.append(row(space.name, f"{what}: tau on networks trained alone", len(networks), tau, "Kendall tau", spent))
    check = Check(data=space.data.name, count=200)
    for point in result.points if front else ():
        folder, spent = timed(partial(build_point, space, out, target, point.number, check))
        report = json.loads((folder / "build" / "report.json").read_text())
        top1 = json.loads((folder / "run" / "metrics.json").read_text())["top1"]
        wrong, fps = report["verification"]["csim_mismatches"], report["estimate"]["fps"]
        what = f"point {point.number}: {fps:.0f} fps, foreseen {point.top1:.4f}, {wrong} mismatches"
        rows.append(row(space.name, what, 1, top1, "top-1", spent))
    return rows


def trained(space: Space, networks: Sequence[Network], out: Path) -> list[float]:
    """Test accuracies of networks trained alone; runs that have ended are read."""
    found = []
    for network in networks:
        metrics = out / network.key / "metrics.json"
        if not metrics.is_file():
            train(network.run(space, network.key), out / network.key, resume=True)
        found.append(float(json.loads(metrics.read_text())["top1"]))
        print(network.text, network.bits_text, found[-1], flush=True)
    return found


def main() -> None:
    """Run one of the parts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=("rate", "whole", "real"))
    parser.add_argument("--space", default="cifar10", help="name below benchmarks/spaces, or a file")
    parser.add_argument("--out", type=Path, default=Path("search"))
    parser.add_argument("--networks", type=int, default=None, help="10,000 to time, 50 to train")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=60.0, help="of the engine's program")
    parser.add_argument("--epochs", type=int, default=None, help="of the shared network, in place of the space's")
    parser.add_argument("--front", action="store_true")
    chosen = parser.parse_args()
    if chosen.part == "rate":
        rows = rate(chosen.networks or 10_000, chosen.workers, chosen.seconds)
    elif chosen.part == "whole":
        rows = whole(chosen.out)
    else:
        named = SPACES / f"{chosen.space}.toml"
        space = load_space(named if named.is_file() else Path(chosen.space))
        if chosen.epochs:
            space = space.model_copy(update={"accuracy": space.accuracy.model_copy(update={"epochs": chosen.epochs})})
        rows = real(space, chosen.out, chosen.networks or 50, chosen.front, chosen.workers)
    SEARCH.record(*rows)
    print_rows("Search of networks", rows, COLUMNS)


if __name__ == "__main__":
    main()
