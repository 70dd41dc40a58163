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
from toolchain.deploy.engine import engine_ends
from toolchain.deploy.facts import network_facts, read_interface, streaming_ends
from toolchain.deploy.mock import Board, bitstream, hardware_handoff
from toolchain.deploy.trial import Hardware, engine_accelerator, load_driver, streaming_accelerator
from toolchain.engine.csim import EngineSim
from toolchain.engine.generate import TOP
from toolchain.engine.generate import generate as generate_engine
from toolchain.engine.tables import Program
from toolchain.hls_templates.generate import generate, top_name
from toolchain.ir.encode import answers, encode, random_inputs
from toolchain.ir.evaluate import evaluate
from toolchain.ir.graph import Graph
from toolchain.simulate.csim import CSim, build

BEATS = 1 << 16


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


def facts_of(graph: Graph, found: Program | None = None, **more: Any) -> dict[str, Any]:
    """network.json of the HARDWARE ``graph``, or of the engine ``found`` for an INTEGER one."""
    more = {"axes": "NHWC", "classes": None, **more}
    estimate = {"fps": 1e4, "latency_ms": 0.1}
    if found is None:
        top, project, ends = top_name(graph), generate(graph, Target(), 250.0), streaming_ends(graph)
    else:
        top, project, ends = TOP, generate_engine(found.shape, len(found.memory)), engine_ends(graph, found)
    interface = read_interface(top, project["src/top.cpp"])
    board, digest = load_board("zu3eg"), "0123abcd" * 8
    return network_facts(graph, board, 250.0, interface, ends, digest=digest, estimate=estimate, **more)


def place(graph: Graph, home: Path, *, compiled: bool = True, **more: Any) -> Placed:
    """``graph`` on a board, with one lane where it has none yet; without ``compiled`` nothing answers there."""
    hardware = graph if graph.nodes[0].parallelism is not None else serial(graph)
    facts = facts_of(hardware, **more)
    csim = build(hardware, generate(hardware, Target(), 250.0), frames=1000) if compiled else None
    return _placed(hardware, home, facts, _nothing if csim is None else streaming_accelerator(csim, facts), csim)


def place_engine(graph: Graph, found: Program, home: Path, *, simulated: bool = True) -> Placed:
    """The engine ``found`` for ``graph`` on a board; without ``simulated`` nothing answers there."""
    facts = facts_of(graph, found)
    sources = generate_engine(found.shape, BEATS)  # of the largest image: the same for every network of a shape
    home.mkdir(parents=True, exist_ok=True)
    (home / facts["memory"]["file"]).write_bytes(found.memory.tobytes())
    run = engine_accelerator(EngineSim(graph, found, sources), facts) if simulated else _nothing
    return _placed(graph, home, facts, run)


def _placed(graph: Graph, home: Path, facts: dict[str, Any], run: Hardware, csim: CSim | None = None) -> Placed:
    home.mkdir(parents=True, exist_ok=True)
    shutil.copy(shipped.__file__, home / "accelerator.py")
    (home / "network.json").write_text(json.dumps(facts))
    (home / f"{facts['design']}.bit").write_bytes(bitstream(facts["design"]))
    (home / f"{facts['design']}.hwh").write_text(hardware_handoff(facts), encoding="utf-8")
    assert graph.encoding is not None
    images = random_inputs(graph.encoding, (5, *graph.given_shape))
    found = evaluate(graph, encode(graph, images))
    told = zip(facts["outputs"], graph.outputs, strict=True)
    codes = {entry["samples"]: answers(output, found[output.value]) for entry, output in told}
    np.savez(home / "samples.npz", images=images, **codes)  # type: ignore[arg-type]
    driver = load_driver(home / "accelerator.py")
    return Placed(graph, home, facts, driver, Board(run, facts["registers"], facts["base"]), csim)


def _nothing(*_: Any) -> None:
    """An accelerator that is done at once."""
