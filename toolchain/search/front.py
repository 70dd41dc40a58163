"""The result of a search: the front of networks with their proofs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from toolchain.search.hardware import Proof
from toolchain.search.network import Network


@dataclass(frozen=True)
class Point:
    """A network of the front: its number from 1, its foreseen accuracy, and the proof of its accelerator."""

    number: int
    network: Network
    point: dict[str, Any]
    top1: float
    proof: Proof


@dataclass(frozen=True)
class Result:
    """The front of a search. ``facts`` are of the search itself: the predictor, its tau, networks looked at."""

    points: tuple[Point, ...]
    looked: tuple[tuple[float, float], ...]
    facts: dict[str, Any]
    clock_mhz: float
