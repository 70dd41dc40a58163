"""Parts of the search of networks: what each is worth at as many tested networks, and how many workers it keeps busy.

python -m benchmarks search_parts ablation --out /tmp/a   # hypervolumes without each part; minutes
python -m benchmarks search_parts ablation --space cifar10-small --samples 10240 4000 --out /tmp/cifar10   # after tau
python -m benchmarks search_parts models --out /tmp/a     # the models of the predictor, and LightGBM if it is there
python -m benchmarks search_parts cluster --out /tmp/a    # simulated clusters, from measured times
"""

from __future__ import annotations

import argparse
import heapq
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.common import Row, print_rows, timed
from benchmarks.schemas import SEARCH
from benchmarks.search import COLUMNS, SPACES, known, learned, row
from benchmarks.search_real import alone, space_of, trained, volume
from toolchain.engine.options import Choices
from toolchain.engine.precision import held
from toolchain.engine.search import search
from toolchain.engine.shape import Shape
from toolchain.ir.types import Array
from toolchain.search.hardware import Hardware
from toolchain.search.labels import Labels
from toolchain.search.network import Network, drawn, largest, network_at
from toolchain.search.pool import Local, opened
from toolchain.search.predictor import Predictor, kendall
from toolchain.search.space import Space, load_space
from toolchain.search.store import Store
from toolchain.search.study import Accuracy, Explorer, Seen, spread, unbeaten
from toolchain.search.training import Tester

BUDGET, HELD_OUT = 60, 30
"""Networks that an ablation tests, and others that predictors are ranked on."""

TRAINED = 5
"""Networks of a front that are trained alone where that takes minutes."""


def fixed_engine(hardware: Hardware) -> Shape:
    """256 products a cycle and 144 of filters (16 x 16 and 9 x 16, HAO's ancestor CoDeNet), weights of 4 bits."""
    choices = Choices(lanes=(16,), in_blocks=(1,), out_blocks=(1,), taps=(9,))
    return search(held(hardware.widest, 4, 8), hardware.budget, choices).shape


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


@dataclass(frozen=True)
class Ablation:
    """The parts that make and judge fronts of ``hardware.space``.

    Attributes:
        test: the accuracy of a network, in the end that of every network of a front; ``known`` by keys already.
        looked: what a search without the predictor looks at.
        drawn: the random networks.
        points: most networks of a front that are tested.
    """

    hardware: Hardware
    predictor: Predictor
    out: Path
    test: Callable[[Network], float]
    looked: Callable[[Network], float]
    drawn: Sequence[Network]
    known: dict[str, float]
    points: int = 1000

    def fronts(self) -> dict[str, Sequence[Seen]]:
        """The front of all parts, and those without one of them."""
        space, engines = self.hardware.space, Store(self.out / "engines", {})
        shapes = Explorer(self.hardware, lambda _: [], engines, Local(1)).engines(0)
        costs = [self.hardware.cycles(network, shapes) for network in self.drawn]
        chance = [Seen({}, n, t, c, e) for n, t, (c, e) in zip(self.drawn, self.tested(self.drawn), costs, strict=True)]
        uniform = space.model_copy(update={"bits": space.bits.model_copy(update={"weights": (4,)})})
        foreseen = lambda networks: self.predictor.top1(networks).tolist()  # noqa: E731
        looked = lambda networks: [self.looked(network) for network in networks]  # noqa: E731
        few = {"trials": len(self.drawn) // 2, "population": 10}
        fronts = {
            "all parts": self._searched(space, foreseen, shapes),
            "random networks": unbeaten(s for s in chance if np.isfinite(s.cycles)),
            "no predictor": self._searched(space, looked, shapes, **few),
            "no bits a layer: all of 4": self._searched(uniform, foreseen, shapes),
            "a fixed engine": self._searched(space, foreseen, [fixed_engine(self.hardware)]),
        }
        print({name: len(front) for name, front in fronts.items()}, flush=True)
        return {name: spread(front, self.points) for name, front in fronts.items()}

    def tested(self, networks: Sequence[Network]) -> list[float]:
        """Accuracies of networks, each tested once."""
        for network in networks:
            if network.key not in self.known:
                self.known[network.key] = self.test(network)
        return [self.known[network.key] for network in networks]

    def _searched(self, space: Space, accuracy: Accuracy, engines: Sequence[Shape], **settings: object) -> list[Seen]:
        changed = space.model_copy(update={"search": space.search.model_copy(update=settings)})
        with tempfile.TemporaryDirectory() as folder:
            explorer = Explorer(replace(self.hardware, space=changed), accuracy, Store(Path(folder), {}), Local(1))
            explorer.round(0, engines)
            return explorer.front()


def ablation(out: Path) -> list[Row]:
    """Hypervolumes of fronts, all from as many tested networks; every network of a front is tested before it counts."""
    space = small_space()
    hardware, store, predictor = learned(space, out)
    labels = Labels(space, store, Local(1), Tester(space, hardware.task, out))
    rng, known = np.random.default_rng(1), dict(zip((n.key for n in labels.networks), labels.top1, strict=True))
    drawn_ones = [network_at(space, drawn(space, rng)) for _ in range(BUDGET)]
    parts = Ablation(hardware, predictor, out, labels.test, labels.test, drawn_ones, known)
    fronts = parts.fronts()
    first = {name: points_of(parts, front) for name, front in fronts.items()}
    real = {
        name: [
            (top1, cycles if name == "a fixed engine" else hardware.prove(seen.network).cycles)
            for seen, (top1, cycles) in zip(fronts[name], found, strict=True)
        ]
        for name, found in first.items()
    }
    return [
        *areas_of(space, "hypervolume on engines of their own", real),
        *areas_of(space, "hypervolume on the first engines", first),
    ]


def ablation_alone(space: Space, out: Path, most: int | None) -> list[Row]:
    """The same of ``space``: all networks that count are trained alone, the predictor's as well.

    The random ones are those that the predictor learns from; without it shared weights tell.
    """
    space, folder = alone(space, out, most)
    hardware, _, predictor, labels = known(space, folder)

    def test(network: Network) -> float:
        return trained(space, [network], out / "real")[0]

    shared = Tester(space, hardware.task, folder)
    parts = Ablation(hardware, predictor, folder, test, shared, labels.networks, {}, points=TRAINED)
    first = {name: points_of(parts, front) for name, front in parts.fronts().items()}
    return areas_of(space, "hypervolume of networks trained alone, on the first engines", first)


def points_of(parts: Ablation, front: Sequence[Seen]) -> list[tuple[float, float]]:
    """The tested accuracies and the cycles of a front."""
    return list(zip(parts.tested([s.network for s in front]), (s.cycles for s in front), strict=True))


def areas_of(space: Space, what: str, fronts: Mapping[str, Sequence[tuple[float, float]]]) -> list[Row]:
    """The hypervolume of every front over that of all parts."""
    areas = volumes(fronts)
    return [
        row(space.name, f"{what}, {name}", len(fronts[name]), area / areas["all parts"], "of that of all parts")
        for name, area in areas.items()
    ]


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
    """Simulate clusters of up to 1,000 workers: networks tested a second, and from what size on half of them wait."""
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
    parser.add_argument("--space", help="of an ablation by networks trained alone, see search_real")
    parser.add_argument("--alone", type=int, metavar="COUNT", help="networks that were; all without")
    parser.add_argument("--samples", type=int, nargs=2, metavar=("TRAINING", "TEST"), help="images; all without")
    chosen = parser.parse_args()
    if chosen.part == "ablation" and chosen.space is not None:
        rows = ablation_alone(space_of(chosen.space, chosen.samples, chosen.out), chosen.out, chosen.alone)
    else:
        rows = {"models": models, "ablation": ablation, "cluster": cluster}[chosen.part](chosen.out)
    SEARCH.record(*rows)
    print_rows("Parts of the search of networks", rows, COLUMNS)


if __name__ == "__main__":
    main()
