"""Networks of a space trained alone: how well their accuracies are foreseen, and a front beside networks made by hand.

    python -m benchmarks search_real tau --space digits --out /tmp/digits
    python -m benchmarks search_real tau --space cifar10-small --samples 10240 4000 --out /tmp/cifar10   # half an hour
    python -m benchmarks search_real front --space digits --out /tmp/digits    # after tau, or alone

Both go on where they stopped. Kendall's tau is between what was foreseen and the accuracy on the test images; the
predictor learns once from networks on shared weights and once from networks that were trained alone.
"""

from __future__ import annotations

import argparse
import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from sklearn.model_selection import KFold, cross_val_predict

from benchmarks.common import Row, print_rows, timed
from benchmarks.schemas import SEARCH
from benchmarks.search import BOARD, COLUMNS, SPACES, learned, row, store_in
from benchmarks.search_bits import blocks
from toolchain.flow.options import Check, Search
from toolchain.flow.training import train
from toolchain.ir.types import Array
from toolchain.search.hardware import Hardware
from toolchain.search.labels import Labels
from toolchain.search.network import Network, largest, network_at
from toolchain.search.pool import Local
from toolchain.search.predictor import Features, kendall, learn
from toolchain.search.run import build_point, search
from toolchain.search.shared import noise_table
from toolchain.search.space import BitSpace, Space, load_space
from toolchain.search.training import SHARED_FILE, SharedTraining, Tester, task_of
from toolchain.train.data import load_for
from toolchain.train.runs import saved_metrics

IMAGES = 360
"""Test images that a build is simulated on."""


@dataclass(frozen=True)
class WithShared(Features):
    """Networks as rows of numbers, what they reach on shared weights (by key) one of them."""

    reached: Mapping[str, float]

    def rows(self, networks: Sequence[Network]) -> Array:
        """(N, features)."""
        return np.c_[super().rows(networks), [self.reached[n.key] for n in networks]]


def tau(space: Space, out: Path, most: int | None) -> list[Row]:
    """Tau on the held-out networks, each trained alone, of predictors from shared weights and from trained networks.

    ``most`` networks are trained alone, the held-out ones among them; all that the space names without it.
    """
    hardware, store, predictor = learned(space, out)
    known = Labels(space, store, Local(1), Tester(space, hardware.task, out))
    count = known.held_out
    reached, spent = timed(lambda: trained(space, known.networks[:most], out / "real"))
    held, real = known.networks[:count], reached[:count]
    on_shared = dict(zip((n.key for n in known.networks), known.top1, strict=True))
    both = WithShared(**vars(predictor.features), reached=on_shared)
    folded = KFold(10, shuffle=True, random_state=0)
    learning, labels = known.networks[count:most], reached[count:]
    rows = predictor.features.rows(known.networks)
    other, third = (learn(features, learning, labels) for features in (predictor.features, both))
    print(f"top-1 {min(reached):.4f} to {max(reached):.4f}; cross-validated", predictor.taus, other.taus, third.taus)
    whole = cross_val_predict(other.models[other.name], rows[: len(reached)], reached, cv=folded)
    every = {name: round(kendall(m.predict(rows[:count]), real), 4) for name, m in other.models.items()}
    print("of networks trained alone, by model:", every)
    found: dict[str, Sequence[float] | np.ndarray] = {
        "shared weights": known.top1[:count],
        f"predictor from {len(known.networks) - count} on shared weights": predictor.top1(held),
        f"predictor from {len(labels)} trained alone": other.top1(held),
        f"predictor from {len(labels)} trained alone, accuracies on shared weights a feature": third.top1(held),
    }
    return [
        *(row(space.name, f"{what}: tau on networks trained alone", count, kendall(top1, real), "Kendall tau", spent)
          for what, top1 in found.items()),
        row(space.name, "predictor from nine tenths of those trained alone, cross-validated: tau", len(reached),
            kendall(whole, reached), "Kendall tau"),
    ]  # fmt: skip


def trained(space: Space, networks: Sequence[Network], out: Path) -> list[float]:
    """Test accuracies of networks trained alone; runs that have ended are read."""
    found = []
    for network in networks:
        metrics = out / network.key / "metrics.json"
        if not metrics.is_file():
            train(network.run(space, network.key), out / network.key, resume=True)
        found.append(float(json.loads(metrics.read_text())["top1"]))
        print(len(found), network.text, network.bits_text, found[-1], flush=True)
    return found


def sampled(space: Space, counts: Sequence[int], out: Path) -> Space:
    """``space`` on its first training and test images, so many, as files below ``out``."""
    data, prefix = load_for(space.data), out / "data" / "part"
    if not prefix.with_name("part_test_y.npy").is_file():
        prefix.parent.mkdir(parents=True, exist_ok=True)
        for part, count in zip(("train", "test"), counts, strict=True):
            for axis in ("x", "y"):
                values = getattr(data, f"{part}_{axis}")[:count]
                np.save(prefix.with_name(f"part_{part}_{axis}.npy"), values)
    layout = "NCHW" if len(data.shape) == 3 else None
    return space.model_copy(
        update={"data": space.data.model_copy(update={"name": f"npy:{prefix.resolve()}", "layout": layout})}
    )


def inverted(width: float) -> tuple[tuple[str, int, int, int], ...]:
    """The first stages of MobileNetV2, in multiples of 8 channels."""
    sizes = ((16, 1, 1), (24, 1, 6), (32, 2, 6), (64, 2, 6))
    return tuple(("inverted", max(8, round(c * width / 8) * 8), s, e) for c, s, e in sizes)


HAND_MADE = {
    "MobileNetV2 x 0.25": blocks("m", *inverted(0.25), stem=8, head=64),
    "ResNet-8 x 0.5": blocks("r", ("residual", 8, 1, 1), ("residual", 16, 2, 1), ("residual", 32, 2, 1), stem=8),
    "MobileNetV2 x 0.5": blocks("m", *inverted(0.5), stem=16, head=128),
    "ResNet-8": blocks("r", ("residual", 16, 1, 1), ("residual", 32, 2, 1), ("residual", 64, 2, 1), stem=16),
    "MobileNetV2": blocks("m", *inverted(1.0), stem=32, head=256),
    "ResNet-20": blocks("r", *(("residual", c, 1 + (c > 16 and not i), 1) for c in (16, 32, 64) for i in range(3)),
                        stem=16),
}  # fmt: skip
"""Networks made by hand, for small pictures; those of MobileNetV2 begin with the stride of the space."""


def alone(space: Space, out: Path, most: int | None) -> tuple[Space, Path]:
    """The space and the folder of a search whose predictor learns from the ``most`` networks that ``tau`` has trained
    alone in ``out``, but four."""
    accuracy = space.accuracy.model_copy(update={"networks": most or space.accuracy.networks, "held_out": 4})
    space = space.model_copy(update={"accuracy": accuracy})
    folder = out / "alone"
    folder.mkdir(exist_ok=True)
    if not (folder / SHARED_FILE).is_file():
        shutil.copy(out / SHARED_FILE, folder)
    hardware = Hardware(space, task_of(space), Search(BOARD, time_limit=space.search.seconds))
    shared = SharedTraining(space, hardware.task, folder).run()
    labels = Labels(
        space, store_in(folder, space, hardware), Local(1), lambda network: trained(space, [network], out / "real")[0]
    )
    labels.predictor(Features(space, hardware.task, noise_table(shared.cpu(), space)))
    return space, folder


def front(space: Space, out: Path, most: int | None, hand: int) -> list[Row]:
    """The points of a search, trained, exported and simulated, beside networks made by hand at equal epochs.

    ``hand`` of these, the first.
    """
    target = Search(BOARD, time_limit=space.search.seconds)
    if (out / "real").is_dir():
        space, out = alone(space, out, most)
    result, spent = timed(lambda: search(space, out, target))
    rows = [row(space.name, "the whole search", len(result.looked), len(result.points), "points of the front", spent)]
    hardware, built = Hardware(space, task_of(space), target), []
    check = Check(data=space.data.name, count=IMAGES)
    for number in range(1, len(result.points) + 1):
        folder, spent = timed(partial(build_point, space, out, target, number, check))
        report = json.loads((folder / "build" / "report.json").read_text())
        top1 = float(saved_metrics(folder / "run")["top1"])
        fps, wrong = report["estimate"]["fps"], report["verification"]["csim_mismatches"]
        foreseen = result.points[number - 1].top1
        built.append((top1, hardware.clock_mhz * 1e6 / fps))
        what = f"point {number}: {fps:,.0f} fps, foreseen {100 * foreseen:.1f} %, {wrong} mismatches"
        rows.append(row(space.name, what, 1, 100 * top1, "% top-1", spent))
        print(what, top1, flush=True)
    made = []
    for name, base in list(HAND_MADE.items())[:hand]:
        for bits in (4, 8):
            facts: dict[str, object] = {"bits": BitSpace(weights=(bits,)), "data": space.data, "train": space.train}
            if name.startswith("MobileNetV2"):
                facts["stem_stride"] = space.stem_stride
            own = base.model_copy(update=facts)
            network = network_at(own, largest(own))
            reached, spent = timed(partial(trained, own, [network], out / "hand"))
            (top1,) = reached
            cycles = Hardware(own, hardware.task, target).prove(network).cycles
            made.append((top1, cycles))
            what = f"by hand: {name}, all weights of {bits} bits, {hardware.fps(cycles):,.0f} fps"
            rows.append(row(space.name, what, 1, 100 * top1, "% top-1", spent))
            print(what, top1, flush=True)
    worst = min(t for t, _ in built + made), max(c for _, c in built + made) * 1.01
    ratio = volume(built, worst) / volume(made, worst)
    beats = [sum(t > a and c < b for a, b in made) for t, c in built]
    return [
        *rows,
        row(space.name, "hypervolume of the front over that of networks by hand", len(built), ratio, "times"),
        row(space.name, "points that beat a network by hand in accuracy and rate", len(built), sum(map(bool, beats)),
            "points"),
        row(space.name, "networks by hand that a point beats in both", len(made),
            sum(any(t > a and c < b for t, c in built) for a, b in made), "networks"),
    ]  # fmt: skip


def volume(points: Sequence[tuple[float, float]], reference: tuple[float, float]) -> float:
    """Area of (top-1, log10 of cycles) that ``points`` beat and that beats ``reference``."""
    area, (least, most) = 0.0, reference
    top = least
    for top1, cycles in sorted(points, key=lambda p: p[1]):
        if top1 > top and cycles < most:
            area += (top1 - top) * (np.log10(most) - np.log10(cycles))
            top = top1
    return float(area)


def space_of(name: str, samples: Sequence[int] | None, out: Path) -> Space:
    """The space ``name`` below benchmarks/spaces, or in a file; on its first ``samples`` training and test images."""
    named = SPACES / f"{name}.toml"
    space = load_space(named if named.is_file() else Path(name))
    return sampled(space, samples, out) if samples else space


def main() -> None:
    """Run one of the parts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=("tau", "front"))
    parser.add_argument("--space", default="digits", help="name below benchmarks/spaces, or a file")
    parser.add_argument("--out", type=Path, default=Path("search"))
    parser.add_argument("--samples", type=int, nargs=2, metavar=("TRAINING", "TEST"), help="images; all without")
    parser.add_argument("--alone", type=int, metavar="COUNT", help="networks that are trained alone; all without")
    parser.add_argument("--hand", type=int, default=4, help="networks by hand, of six that cost more and more")
    chosen = parser.parse_args()
    space = space_of(chosen.space, chosen.samples, chosen.out)
    if chosen.part == "tau":
        rows = tau(space, chosen.out, chosen.alone)
    else:
        rows = front(space, chosen.out, chosen.alone, chosen.hand)
    SEARCH.record(*rows)
    print_rows("Networks trained alone", rows, COLUMNS)


if __name__ == "__main__":
    main()
