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
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks.common import Row, print_rows, timed
from benchmarks.schemas import SEARCH
from benchmarks.search import BOARD, COLUMNS, SPACES, learned, row
from benchmarks.search_bits import blocks
from benchmarks.search_parts import volume
from toolchain.flow.options import Check, Search
from toolchain.flow.training import train
from toolchain.search.hardware import Hardware
from toolchain.search.labels import Labels
from toolchain.search.network import Network, largest, network_at
from toolchain.search.pool import Local
from toolchain.search.predictor import kendall, learn
from toolchain.search.run import build_point, search
from toolchain.search.space import BitSpace, Space, load_space
from toolchain.search.training import Tester, task_of
from toolchain.train.data import load_for

IMAGES = 360
"""Test images that a build is simulated on."""


def tau(space: Space, out: Path) -> list[Row]:
    """Tau on the held-out networks, each trained alone, of predictors from shared weights and from trained networks."""
    hardware, store, predictor = learned(space, out)
    known = Labels(space, store, Local(1), Tester(space, hardware.task, out))
    count = known.held_out
    reached, spent = timed(lambda: trained(space, known.networks, out / "real"))
    held, real = known.networks[:count], reached[:count]
    other = learn(predictor.features, known.networks[count:], reached[count:])
    print(f"top-1 {min(reached):.4f} to {max(reached):.4f}; cross-validated", predictor.taus, other.taus)
    found: dict[str, Sequence[float] | np.ndarray] = {
        "shared weights": known.top1[:count],
        f"predictor from {len(reached) - count} on shared weights": predictor.top1(held),
        f"predictor from {len(reached) - count} trained alone": other.top1(held),
    }
    return [
        row(space.name, f"{what}: tau on networks trained alone", count, kendall(top1, real), "Kendall tau", spent)
        for what, top1 in found.items()
    ]


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
    "ResNet-8 x 0.5": blocks("r", ("residual", 8, 1, 1), ("residual", 16, 2, 1), ("residual", 32, 2, 1), stem=8),
    "ResNet-8": blocks("r", ("residual", 16, 1, 1), ("residual", 32, 2, 1), ("residual", 64, 2, 1), stem=16),
    "MobileNetV2 x 0.25": blocks("m", *inverted(0.25), stem=8, head=64),
    "MobileNetV2 x 0.5": blocks("m", *inverted(0.5), stem=16, head=128),
}
"""Networks made by hand, for small pictures."""


def front(space: Space, out: Path) -> list[Row]:
    """The points of a search, trained, exported and simulated, beside networks made by hand at equal epochs."""
    target = Search(BOARD, time_limit=space.search.seconds)
    result, spent = timed(lambda: search(space, out, target))
    rows = [row(space.name, "the whole search", len(result.looked), len(result.points), "points of the front", spent)]
    hardware, built = Hardware(space, task_of(space), target), []
    check = Check(data=space.data.name, count=IMAGES)
    for number in range(1, len(result.points) + 1):
        folder, spent = timed(partial(build_point, space, out, target, number, check))
        report = json.loads((folder / "build" / "report.json").read_text())
        top1 = float(json.loads((folder / "run" / "metrics.json").read_text())["top1"])
        fps, wrong = report["estimate"]["fps"], report["verification"]["csim_mismatches"]
        foreseen = result.points[number - 1].top1
        built.append((top1, hardware.clock_mhz * 1e6 / fps))
        what = f"point {number}: {fps:,.0f} fps, foreseen {100 * foreseen:.1f} %, {wrong} mismatches"
        rows.append(row(space.name, what, 1, 100 * top1, "% top-1", spent))
        print(what, top1, flush=True)
    made = []
    for name, base in HAND_MADE.items():
        for bits in (4, 8):
            own = base.model_copy(update={"bits": BitSpace(weights=(bits,)), "data": space.data, "train": space.train})
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


def main() -> None:
    """Run one of the parts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=("tau", "front"))
    parser.add_argument("--space", default="digits", help="name below benchmarks/spaces, or a file")
    parser.add_argument("--out", type=Path, default=Path("search"))
    parser.add_argument("--samples", type=int, nargs=2, metavar=("TRAINING", "TEST"), help="images; all without")
    chosen = parser.parse_args()
    named = SPACES / f"{chosen.space}.toml"
    space = load_space(named if named.is_file() else Path(chosen.space))
    if chosen.samples:
        space = sampled(space, chosen.samples, chosen.out)
    rows = {"tau": tau, "front": front}[chosen.part](space, chosen.out)
    SEARCH.record(*rows)
    print_rows("Networks trained alone", rows, COLUMNS)


if __name__ == "__main__":
    main()
