"""Parts of the search of networks: what each is worth at as many tested networks, and how many workers it keeps busy.

python -m benchmarks search_parts ablation --out /tmp/a   # hypervolumes without each part; minutes
python -m benchmarks search_parts models --out /tmp/a     # the models of the predictor, and LightGBM if it is there
python -m benchmarks search_parts cluster --out /tmp/a    # simulated clusters, from measured times
"""

from __future__ import annotations

import argparse
import heapq
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.common import Row, print_rows, timed
from benchmarks.schemas import SEARCH
from benchmarks.search import COLUMNS, SPACES, learned, row
from toolchain.engine.options import Choices
from toolchain.engine.precision import held
from toolchain.engine.search import search
from toolchain.engine.shape import Shape
from toolchain.ir.types import Array
from toolchain.search.hardware import Hardware
from toolchain.search.labels import Labels
from toolchain.search.network import Network, drawn, largest, network_at
from toolchain.search.pool import Local, opened
from toolchain.search.predictor import kendall
from toolchain.search.space import Space, load_space
from toolchain.search.store import Store
from toolchain.search.study import Explorer, Seen, unbeaten
from toolchain.search.training import Tester

BUDGET, HELD_OUT = 60, 30
"""Networks that an ablation tests, and others that predictors are ranked on."""


def fixed_engine(hardware: Hardware) -> Shape:
    """256 products a cycle and 144 of filters (16 x 16 and 9 x 16, HAO's ancestor CoDeNet), weights of 4 bits."""
    choices = Choices(lanes=(16,), in_blocks=(1,), out_blocks=(1,), taps=(9,))
    return search(held(hardware.widest, 4, 8), hardware.budget, choices).shape


def volume(points: Sequence[tuple[float, float]], reference: tuple[float, float]) -> float:
    """Area of (top-1, log10 of cycles) that ``points`` beat and that beats ``reference``."""
    area, (least, most) = 0.0, reference
    top = least
    for top1, cycles in sorted(points, key=lambda p: p[1]):
        if top1 > top and cycles < most:
            area += (top1 - top) * (np.log10(most) - np.log10(cycles))
            top = top1
    return float(area)


def models(out: Path) -> list[Row]:
    """Kendall's tau of every model of the predictor, and of LightGBM, on networks that none has learned from."""
    space = small_space()
    hardware, store, predictor = learned(space, out)
    labels = Labels(space, store, Local(1), Tester(space, hardware.task, out))
    rows = predictor.features.rows(labels.networks)
    every = {**predictor.models, **boosted(rows[HELD_OUT:], labels.top1[HELD_OUT:])}
    return [
        row(space.name, f"{name}: tau of held-out networks on shared weights", HELD_OUT,
            kendall(model.predict(rows[:HELD_OUT]), labels.top1[:HELD_OUT]), "Kendall tau")
        for name, model in every.items()
    ]  # fmt: skip


def small_space() -> Space:
    """The space of digits with bits a layer, of which a few networks are tested."""
    whole = load_space(SPACES / "digits-500.toml")
    return whole.model_copy(update={
        "name": "digits-bits",
        "bits": whole.bits.model_copy(update={"weights": (2, 4, 8)}),
        "accuracy": whole.accuracy.model_copy(update={"networks": BUDGET + HELD_OUT, "held_out": HELD_OUT}),
        "search": whole.search.model_copy(update={"trials": 300}),
    })  # fmt: skip


def ablation(out: Path) -> list[Row]:
    """Hypervolumes of fronts, all from as many tested networks; every network of a front is tested before it counts."""
    space = small_space()
    hardware, store, predictor = learned(space, out)
    labels = Labels(space, store, Local(1), Tester(space, hardware.task, out))
    tests: dict[str, float] = dict(zip((n.key for n in labels.networks), labels.top1, strict=True))

    def tested(networks: Sequence[Network]) -> list[float]:
        for network in networks:
            if network.key not in tests:
                tests[network.key] = labels.test(network)
        return [tests[network.key] for network in networks]

    def searched(name: str, space: Space, accuracy: Callable[[Sequence[Network]], list[float]], fixed: bool = False,
                 **settings: object) -> list[Seen]:  # fmt: skip
        changed = space.model_copy(update={"search": space.search.model_copy(update=settings)})
        with tempfile.TemporaryDirectory() as folder:
            explorer = Explorer(replace(hardware, space=changed), accuracy, Store(Path(folder), {}), Local(1))
            engines = [fixed_engine(hardware)] if fixed else all_engines
            explorer.round(0, engines)
            print(name, len(explorer.front()), "in the front", flush=True)
            return explorer.front()

    all_engines = Explorer(hardware, lambda _: [], Store(out / "engines", {}), Local(1)).engines(0)
    foreseen = lambda networks: predictor.top1(networks).tolist()  # noqa: E731
    rng = np.random.default_rng(1)
    drawn_ones = [network_at(space, drawn(space, rng)) for _ in range(BUDGET)]
    costs = [hardware.cycles(network, all_engines) for network in drawn_ones]
    chance = [Seen({}, n, t, c, e) for n, t, (c, e) in zip(drawn_ones, tested(drawn_ones), costs, strict=True)]
    uniform = space.model_copy(update={"bits": space.bits.model_copy(update={"weights": (4,)})})
    fronts = {
        "all parts": searched("all parts", space, foreseen),
        "random networks": unbeaten(s for s in chance if np.isfinite(s.cycles)),
        "no predictor": searched("no predictor", space, tested, trials=BUDGET // 2, population=10),
        "no bits a layer: all of 4": searched("no bits a layer", uniform, foreseen),
        "a fixed engine": searched("a fixed engine", space, foreseen, fixed=True),
    }
    first, real = {}, {}
    for name, front in fronts.items():
        first[name] = list(zip(tested([s.network for s in front]), (s.cycles for s in front), strict=True))
        fixed = name == "a fixed engine"
        own = [s.cycles if fixed else hardware.prove(s.network).cycles for s in front]
        real[name] = [(top1, cycles) for (top1, _), cycles in zip(first[name], own, strict=True)]
        print(name, len(front), flush=True)
    rows = []
    for what, found in (("hypervolume on engines of their own", real),
                        ("hypervolume on the first engines", first)):  # fmt: skip
        areas = volumes(found)
        rows += [
            row(space.name, f"{what}, {name}", len(found[name]), area / areas["all parts"], "of that of all parts")
            for name, area in areas.items()
        ]
    return rows


def volumes(fronts: Mapping[str, Sequence[tuple[float, float]]]) -> dict[str, float]:
    """The hypervolume of every front, all from the worst point of any."""
    points = [point for front in fronts.values() for point in front]
    worst = min(top1 for top1, _ in points), max(cycles for _, cycles in points) * 1.01
    return {name: volume(found, worst) for name, found in fronts.items()}


def boosted(rows: Array, top1: Sequence[float]) -> dict[str, Any]:
    """LightGBM's model of the tested networks, where it is installed."""
    try:
        from lightgbm import LGBMRegressor
    except ImportError:
        return {}
    model = LGBMRegressor(
        n_estimators=200, learning_rate=0.05, min_child_samples=5, verbose=-1, n_jobs=1, random_state=0
    )
    return {"lightgbm": model.fit(rows, np.asarray(top1))}


WORKERS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1000)
BATCHES, LOST = 5, 1e-3
"""Batches that are simulated, and the share of tasks whose worker dies half-way and that are repeated."""

TRAINED_ALONE = 60.0
"""Seconds of a network trained alone; assumption, of digits. Others are measured."""


def told_seconds(count: int = 500) -> float:
    """Seconds to put an accuracy into the store, measured."""
    space = load_space(SPACES / "cifar10.toml")
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        labels = Labels(space, Store(Path(folder), {}), Local(1), lambda _: 0.5)
        points = [drawn(space, rng) for _ in range(count)]
        _, spent = timed(lambda: labels._test(points))
    return spent.cpu / count


def sent_seconds(count: int = 300) -> float:
    """Seconds of this process to send a network to an actor of Ray and to take its answer, measured; 0 without Ray."""
    try:
        from ray.cluster_utils import Cluster
    except ImportError:
        return 0.0
    space = load_space(SPACES / "digits-500.toml")
    nodes = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    try:
        with opened(nodes.address, 1) as pool:
            networks = [network_at(space, largest(space))] * count
            pool.map(_nothing, networks[:1])
            _, spent = timed(lambda: [pool.map(_nothing, [network]) for network in networks])
    finally:
        nodes.shutdown()
    return spent.cpu / count


def _nothing(_: Network) -> float:
    return 0.0


def rate_of(workers: int, task: Callable[[], float], sent: float, told: float, rng: np.random.Generator) -> float:
    """Networks a second of a simulated cluster: a batch of a network a worker is sent, awaited and told, as it is done.

    Events are the ends of tasks; the process that sends and tells is one.
    """
    now = 0.0
    for _ in range(BATCHES):
        ends: list[tuple[float, int]] = []
        for worker in range(workers):
            now += sent
            heapq.heappush(ends, (now + task(), worker))
        while ends:
            end, worker = heapq.heappop(ends)
            if rng.random() < LOST:
                heapq.heappush(ends, (end + task() / 2, worker))
            now = max(now, end)
        now += told * workers
    return BATCHES * workers / now


def cluster(out: Path) -> list[Row]:
    """How many networks a second clusters of up to 1,000 workers test, and from where on half of them wait."""
    space = small_space()
    hardware, _, _ = learned(space, out)
    test, rng = Tester(space, hardware.task, out), np.random.default_rng(0)
    networks = [network_at(space, drawn(space, rng)) for _ in range(12)]
    test(networks[0])
    seconds = [timed(partial(test, network))[1].cpu for network in networks]
    told, sent = told_seconds(), sent_seconds()
    print(f"a test {np.mean(seconds):.3f} s, told in {told * 1e3:.3f} ms, sent in {sent * 1e3:.3f} ms", flush=True)
    name = "simulated cluster"
    rows = [
        row(name, "a network told to the store", 500, told * 1e3, "CPU ms a network"),
        row(name, "a network sent to an actor and its answer", 300, sent * 1e3, "CPU ms a network"),
    ]
    spread = np.array(seconds) / np.mean(seconds)
    for what, mean in ((f"tests of {np.mean(seconds):.2f} s", np.mean(seconds)), ("trainings of 60 s", TRAINED_ALONE)):

        def task(mean: float = float(mean)) -> float:
            return float(mean * rng.choice(spread))

        rates = {n: rate_of(n, task, sent, told, rng) for n in WORKERS}
        print(what, {n: round(r, 2) for n, r in rates.items()})
        single = rates[1]
        good = max(n for n in WORKERS if rates[n] >= single * n / 2)
        told_of = BATCHES * WORKERS[-1]
        rows += [
            row(name, f"{what}: most workers that are busy half of the time", BATCHES * good, good, "workers"),
            row(name, f"{what}: networks a second on 1,000 workers", told_of, rates[1000], "networks a second"),
            row(name, f"{what}: speed-up on 1,000 workers", told_of, rates[1000] / single, "times one worker"),
        ]
    return rows


def main() -> None:
    """Run one of the parts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=("models", "ablation", "cluster"))
    parser.add_argument("--out", type=Path, default=Path("search"))
    chosen = parser.parse_args()
    rows = {"models": models, "ablation": ablation, "cluster": cluster}[chosen.part](chosen.out)
    SEARCH.record(*rows)
    print_rows("Parts of the search of networks", rows, COLUMNS)


if __name__ == "__main__":
    main()
