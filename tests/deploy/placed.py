"""A graph as the driver meets it: the folder that goes to the board, and a mock board with its accelerator."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from tests.hardware import Target, serial
from toolchain.boards import load_board
from toolchain.deploy import driver as shipped
from toolchain.deploy.facts import Interface, network_facts, read_interface, streaming_ends
from toolchain.deploy.mock import Board, bitstream, hardware_handoff
from toolchain.deploy.trial import load_driver, streaming_accelerator
from toolchain.hls_templates.generate import generate, top_name
from toolchain.ir.encode import encode, random_inputs
from toolchain.ir.evaluate import evaluate
from toolchain.ir.graph import Graph
from toolchain.simulate.csim import CSim, build


@dataclass(frozen=True)
class Placed:
    """``home`` holds the driver and its files."""

    graph: Graph
    home: Path
    facts: dict[str, Any]
    driver: ModuleType
    board: Board
    csim: CSim | None = None

    def network(self, batch: int = 8, timeout: float = 0.0) -> Any:
        """The driver's network; inside ``installed(board)``."""
        return self.driver.Accelerator(self.home / "network.json", batch=batch, timeout=timeout)


def interface_of(graph: Graph) -> Interface:
    """The ports of the accelerator of the HARDWARE ``graph``."""
    return read_interface(top_name(graph), generate(graph, Target(), 250.0)["src/top.cpp"])


def facts_of(graph: Graph, **more: Any) -> dict[str, Any]:
    """network.json of the HARDWARE ``graph``."""
    more = {"axes": "NHWC", "classes": None, **more}
    estimate = {"fps": 1e4, "latency_ms": 0.1}
    board, interface = load_board("zu3eg"), interface_of(graph)
    ends = streaming_ends(graph)
    return network_facts(graph, board, 250.0, interface, ends, digest="0123abcd" * 8, estimate=estimate, **more)


def place(graph: Graph, home: Path, *, compiled: bool = True, **more: Any) -> Placed:
    """``graph`` on a board, with one lane where it has none yet; without ``compiled`` nothing answers there."""
    hardware = graph if graph.nodes[0].parallelism is not None else serial(graph)
    facts = facts_of(hardware, **more)
    home.mkdir(parents=True, exist_ok=True)
    shutil.copy(shipped.__file__, home / "accelerator.py")
    (home / "network.json").write_text(json.dumps(facts))
    (home / f"{facts['design']}.bit").write_bytes(bitstream(facts["design"]))
    (home / f"{facts['design']}.hwh").write_text(hardware_handoff(facts), encoding="utf-8")
    assert hardware.encoding is not None
    images = random_inputs(hardware.encoding, (5, *hardware.input.shape))
    codes = evaluate(hardware, encode(hardware, images))[hardware.output]
    np.savez(home / "samples.npz", images=images, codes=codes)
    csim = build(hardware, generate(hardware, Target(), 250.0), frames=1000) if compiled else None
    run = _nothing if csim is None else streaming_accelerator(csim, facts)
    driver = load_driver(home / "accelerator.py")
    return Placed(hardware, home, facts, driver, Board(run, facts["registers"], facts["base"]), csim)


def _nothing(*_: Any) -> None:
    """An accelerator that is done at once."""
