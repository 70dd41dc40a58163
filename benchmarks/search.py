"""Search of networks: what an evaluation costs, whether the whole front is found, and how well accuracies are foreseen.

    python -m benchmarks search rate                     # 10,000 ImageNet-size networks on 2 processes, minutes
    python -m benchmarks search whole --out /tmp/whole   # a search against all 480 networks of a space, minutes

``search_real`` trains networks alone.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np

from benchmarks.common import Row, Spent, print_rows, timed
from benchmarks.schemas import SEARCH
from toolchain.flow.options import Search
from toolchain.search.hardware import Hardware, stored_shape
from toolchain.search.labels import Labels
from toolchain.search.network import drawn, every_point, largest, network_at
from toolchain.search.passes import Task
from toolchain.search.pool import Local
from toolchain.search.predictor import Features, Predictor
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
"""The time of a figure that other work gives besides."""


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
    hardware, store, predictor, labels = known(space, out)
    tau, count = labels.tau(predictor), labels.held_out
    print(f"{predictor.name}, tau {tau:.3f} on {count} held-out networks; cross-validated", predictor.taus)
    SEARCH.record(row(space.name, "tau on shared weights, held out", count, tau, "Kendall tau"))
    return hardware, store, predictor


def known(space: Space, out: Path) -> tuple[Hardware, Store, Predictor, Labels]:
    """The same with the tests, which may be of another kind."""
    task = task_of(space)
    hardware = Hardware(space, task, Search(BOARD, time_limit=space.search.seconds))
    store = store_in(out, space, hardware)
    shared = SharedTraining(space, task, out).run(lambda *told: print("shared weights", *told, flush=True))
    labels = Labels(space, store, Local(1), Tester(space, task, out), lambda *told: print("tested", *told, flush=True))
    features = Features(space, task, noise_table(shared.cpu(), space))
    return hardware, store, labels.predictor(features), labels


def store_in(out: Path, space: Space, hardware: Hardware) -> Store:
    """The store of a search of ``space`` in ``out``."""
    return Store(out, {"space": json.loads(space.model_dump_json(exclude={"search"})), **hardware.facts()})


def main() -> None:
    """Run one of the parts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=("rate", "whole"))
    parser.add_argument("--out", type=Path, default=Path("search"))
    parser.add_argument("--networks", type=int, default=10_000, help="to time")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=60.0, help="of the engine's program")
    chosen = parser.parse_args()
    if chosen.part == "rate":
        rows = rate(chosen.networks, chosen.workers, chosen.seconds)
    else:
        rows = whole(chosen.out)
    SEARCH.record(*rows)
    print_rows("Search of networks", rows, COLUMNS)


if __name__ == "__main__":
    main()
