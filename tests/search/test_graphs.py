"""Streaming designs of a space's networks: the graphs they are planned for, and their plans."""

from __future__ import annotations

from math import inf

import numpy as np
import pytest

from tests.search.spaces import DIGITS, space
from toolchain.dse.bound import macs
from toolchain.errors import UserError
from toolchain.flow.options import Search
from toolchain.ir.verify import Level, verify
from toolchain.search.graphs import graph_of
from toolchain.search.hardware import Hardware
from toolchain.search.network import drawn, network_at, smallest
from toolchain.train.models import build
from toolchain.train.statistics import macs as macs_of_model

BOTH = space(bits={"weights": [2, 4], "activations": [4, 8]}, architecture=["engine", "streaming"])


def test_the_graph_is_an_integer_network_with_the_work_of_the_real_one() -> None:
    rng = np.random.default_rng(0)
    for _ in range(3):
        network = network_at(BOTH, drawn(BOTH, rng))
        graph = graph_of(network, DIGITS)
        verify(graph, Level.INTEGER)
        real = build(network.run(BOTH, "net"), (1, 8, 8), 10)
        assert sum(macs(graph).values()) == macs_of_model(real.eval(), (1, 8, 8))
        assert {bits for bits, _ in macs(graph)} == set(network.bits.values())


def test_a_streaming_design_is_planned_and_does_not_come_below_its_floor() -> None:
    point = {**smallest(BOTH), "architecture": "streaming"}
    hardware, network = Hardware(BOTH, DIGITS, Search(time_limit=3.0)), network_at(BOTH, point)
    proof = hardware.prove(network)
    assert 0 < hardware.floor(network) <= proof.bound <= proof.cycles
    assert hardware.cycles(network, ()) == (proof.cycles, -1)


def test_an_engine_runs_no_activations_of_4_bits() -> None:
    hardware = Hardware(BOTH, DIGITS, Search())
    network = network_at(BOTH, {**smallest(BOTH), "architecture": "engine", "activations": 4})
    assert hardware.cycles(network, ()) == (inf, -1)
    with pytest.raises(UserError, match="^the engine does not run the thresholds of activations of 4 bits$"):
        hardware.prove(network)
