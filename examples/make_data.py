"""Three small data sets of other kinds than MNIST, written as users have them: ``python examples/make_data.py FOLDER``.

All are synthetic and follow from a seed; they are there to be replaced by your own.

- ``machine_train.csv``, ``machine_test.csv``: 60 sensor readings of a machine in units of their own, and its state.
- ``tone_train_x.npy`` ...: a second of sound at 1 kHz, float32 (N, 1, 1000); whether it rises, falls, beats or hums.
- ``shapes/train/CLASS/*.png`` ...: colour pictures of 48 x 64 pixels with a disc, a box or a cross.
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

STATES = ("healthy", "worn bearing", "imbalance", "leak")
SENSORS = 60
LENGTH = 1000
HEIGHT, WIDTH = 48, 64
SHAPES = ("box", "cross", "disc")


def machine(path: Path, rows: int, seed: int) -> None:
    """A table: states differ in the means and in the couplings of some sensors; each sensor has its own unit."""
    fixed = np.random.default_rng(7)
    centres, mixing = fixed.normal(0, 0.25, (len(STATES), SENSORS)), fixed.normal(0, 0.5, (SENSORS, SENSORS))
    unit, zero = 10.0 ** fixed.uniform(-3, 4, SENSORS), fixed.normal(0, 5, SENSORS)
    rng = np.random.default_rng(seed)
    states = rng.integers(0, len(STATES), rows)
    readings = (centres[states] + rng.normal(0, 0.3, (rows, SENSORS)) @ mixing + zero) * unit
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow([*(f"s{i}" for i in range(SENSORS)), "label"])
        writer.writerows([*(f"{x:.6g}" for x in row), STATES[s]] for row, s in zip(readings, states, strict=True))


def tone(prefix: Path, count: int, seed: int) -> None:
    """Sounds with noise: 0 rises, 1 falls, 2 beats, 3 hums."""
    rng = np.random.default_rng(seed)
    kinds = rng.integers(0, 4, count)
    time = np.arange(LENGTH) / LENGTH
    low, high, phase = (rng.uniform(*ends, (count, 1)) for ends in ((20, 40), (80, 140), (0, 6.28)))
    turns = np.select(
        [kinds[:, None] == 0, kinds[:, None] == 1],
        [low * time + (high - low) * time**2 / 2, high * time - (high - low) * time**2 / 2],
        high * time,
    )
    loud = np.where(kinds[:, None] == 2, np.abs(np.sin(2 * np.pi * 4 * time + phase)), 1.0)
    sound = loud * np.sin(2 * np.pi * turns + phase) + rng.normal(0, 0.2, (count, LENGTH))
    np.save(f"{prefix}_x.npy", (rng.uniform(0.2, 2, (count, 1)) * sound)[:, None].astype(np.float32))
    np.save(f"{prefix}_y.npy", kinds)


def shapes(folder: Path, count: int, seed: int) -> None:
    """Pictures, ``count`` a class: a bright shape about the middle of a dark, noisy ground."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    for name in SHAPES:
        (folder / name).mkdir(parents=True, exist_ok=True)
        for index in range(count):
            y, x, r = HEIGHT // 2 + rng.integers(-3, 4), WIDTH // 2 + rng.integers(-3, 4), rng.integers(10, 16)
            inside = _inside(name, rows - y, columns - x, int(r))
            ground = rng.integers(0, 90, 3) + rng.integers(0, 40, (HEIGHT, WIDTH, 3))
            pixels = np.where(inside[..., None], rng.integers(140, 256, 3), ground).astype(np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{index:04}.png")


def _inside(name: str, dy: NDArray[np.int64], dx: NDArray[np.int64], r: int) -> NDArray[np.bool_]:
    if name == "disc":
        return dy * dy + dx * dx <= r * r
    within = np.maximum(abs(dy), abs(dx)) <= r
    return within if name == "box" else within & (np.minimum(abs(dy), abs(dx)) <= r // 4)


def write(folder: Path, scale: float = 1.0) -> None:
    """All three below ``folder``, ``scale`` times as many samples."""
    folder.mkdir(parents=True, exist_ok=True)
    for seed, (part, share) in enumerate((("train", 4), ("test", 1))):
        machine(folder / f"machine_{part}.csv", int(500 * share * scale), seed)
        tone(folder / f"tone_{part}", int(300 * share * scale), seed)
        shapes(folder / "shapes" / part, int(100 * share * scale), seed)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    write(parser.parse_args().folder)
