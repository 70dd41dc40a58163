"""The streaming architecture: a unit a layer, laned by a plan (plan.json)."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from toolchain.boards import load_board
from toolchain.dse.bound import memory_bound
from toolchain.dse.counted import Counting
from toolchain.dse.explore import explore as find_plan
from toolchain.errors import UserError, VerificationError
from toolchain.files import digest_bytes
from toolchain.flow.architecture import Simulated
from toolchain.flow.images import Images
from toolchain.flow.options import Check, Search, planned_board
from toolchain.flow.pace import wrong_pace
from toolchain.flow.progress import Progress
from toolchain.flow.records import ModelRecord, SimulationRecord
from toolchain.flow.summary import make_report
from toolchain.flow.trained import trained
from toolchain.hls_templates.generate import demand_ports, generate
from toolchain.ir.encode import encode, host_values
from toolchain.ir.graph import Graph
from toolchain.ir.store import Stored
from toolchain.ir.types import Array
from toolchain.passes.apply_plan import check as check_plan
from toolchain.passes.apply_plan import load_plan
from toolchain.passes.minimize_fifos import minimize_fifos
from toolchain.passes.pipeline import hardware_form, to_hardware
from toolchain.plan import Plan, plan_text, read_plan
from toolchain.report.data import Report
from toolchain.resources import Resources
from toolchain.simulate.compare import compare_frames
from toolchain.simulate.csim import CSim, build
from toolchain.simulate.cycles import simulate as simulate_cycles
from toolchain.simulate.drive import drive_units
from toolchain.units.totals import graph_cost, graph_cycles


@dataclass(frozen=True)
class Streaming:
    """The plan for a network and the HARDWARE graph that it makes; see ``Architecture``."""

    name: ClassVar[str] = "streaming"
    file: ClassVar[str] = "plan.json"

    network: Stored
    plan: Plan
    hardware: Graph

    @property
    def digest(self) -> str:
        """The sha256 of the network, the plan and the board as it is now; how the plan was found is left out."""
        facts = self.plan.model_dump(exclude={"solver", "model"} | (set() if self.plan.padded else {"padded"}))
        board = load_board(self.plan.board).facts
        return digest_bytes(json.dumps([self.network.digest, facts, board], sort_keys=True).encode())

    @property
    def fps(self) -> float:
        """Frames a second of the slowest unit, or of the memory's peak where that is less."""
        clock = self.plan.clock_mhz
        memory = memory_bound(self.hardware, load_board(self.plan.board), clock)
        return min(clock * 1e6 / graph_cycles(self.hardware), memory.fps)

    @property
    def board(self) -> str:
        """The plan's board."""
        return self.plan.board

    @property
    def clock_mhz(self) -> float:
        """The plan's clock."""
        return self.plan.clock_mhz

    @property
    def resources(self) -> Resources:
        """Units, streams, the reader and the writers."""
        return graph_cost(self.hardware)

    @property
    def proof(self) -> str:
        """The status of its plan; "given" of one by hand."""
        return "given" if self.plan.solver is None else self.plan.solver.status

    @classmethod
    def explore(cls, network: Stored, search: Search, progress: Progress) -> Streaming:
        """The explorer's plan, or the checked plan file of ``search``, with the minimal FIFO depths.

        Of a plan that is given nothing is proved.

        Raises:
            NoRoom: nothing fits, or is so fast.
            UserError: the plan file does not fit the network, or it has too many outputs.
        """
        graph = network.graph
        demand_ports(graph)
        progress("explore", 0, 1)
        if search.plan is not None:
            given = load_plan(search.plan, hardware_form(graph))
            plan = given.model_copy(update={"model": network.digest, "solver": None})
        else:
            counting = Counting(progress=lambda done, of: progress("count", done, of))
            plan = find_plan(
                graph,
                planned_board(search, cls.name),
                clock_mhz=search.clock_mhz,
                target_fps=search.target_fps,
                model=network.digest,
                time_limit=search.time_limit,
                counting=counting if search.costs == "counted" else None,
            )
            assert plan.solver is not None
            plan = plan.model_copy(update={"solver": plan.solver.model_copy(update={"budget": search.budget})})
        progress("explore", 1, 1)
        progress("fifos", 0, 1)
        hardware = to_hardware(graph, plan)
        if plan.depths is None:
            hardware = minimize_fifos(hardware)
            plan = plan.model_copy(update={"depths": {name: v.depth for name, v in hardware.values().items()}})
        elif (deadlock := simulate_cycles(hardware, frames=2).deadlock) is not None:
            raise UserError(str(deadlock), where="depths of the plan", hint="leave them out to have them found")
        progress("fifos", 1, 1)
        return cls(network, plan, hardware)

    @classmethod
    def read(cls, network: Stored, folder: Path, *, by_hand: bool) -> Streaming:
        """The plan in ``folder``; of one by hand nothing is proved.

        Raises:
            UserError: the file is missing or damaged, or the plan was made for another network.
        """
        path = folder / cls.file
        if not path.is_file():
            raise UserError("no such file", where=str(path), hint="run 'fpgaflow explore' first")
        plan = read_plan(path)
        if plan.model and plan.model != network.digest:
            raise UserError(
                "plan.json was made for another graph", where=str(folder), hint="run 'fpgaflow explore' again"
            )
        check_plan(plan, hardware_form(network.graph), where=str(path))
        plan = plan.model_copy(update={"solver": None}) if by_hand else plan
        return cls(network, plan, to_hardware(network.graph, plan))

    def text(self) -> str:
        """The plan as JSON."""
        return plan_text(self.plan)

    def generate(self) -> dict[str, str | bytes]:
        """The HLS project of the plan."""
        return dict(generate(self.hardware, load_board(self.plan.board), self.plan.clock_mhz))

    def simulate(self, files: Mapping[str, bytes], images: Images, check: Check, progress: Progress) -> Simulated:
        """Drive every unit, then run the accelerator on the images.

        An image that the project's host code encodes differently is a deviation too.
        """
        csim = self.csim(files, check, frames=len(images.x), progress=progress)
        encoded_alike = True

        def feed(part: slice) -> Array:
            nonlocal encoded_alike
            codes = encode(self.hardware, images.x[part])
            encoded_alike = encoded_alike and _host_encodes(csim, images.x[part])
            return codes

        def tell(done: int, total: int) -> None:
            progress("simulate", done, total)

        driven = drive_units(csim, check.memory, progress=lambda d, n: progress("units", d, n))
        count, started = len(images.x), time.monotonic()
        try:
            found = compare_frames(csim, count, feed, check.threads, check.memory, tell)
        except VerificationError as error:
            none, spent = np.zeros(0, dtype=np.int64), time.monotonic() - started
            return Simulated(none, spent, count, str(error), csim.cycles(), csim.calls, driven)
        cycles, calls = csim.cycles(), csim.calls
        first: str | None = f"{found.node}: {found.detail}" if found.mismatches else driven.deviation
        if not first and not encoded_alike:
            first = "the project's host code encodes images differently"
        first = first or wrong_pace(self.hardware, cycles, count, calls)
        return Simulated(found.classes, found.seconds, found.mismatches, first, cycles, calls, driven)

    def csim(self, files: Mapping[str, bytes], check: Check, *, frames: int, progress: Progress) -> CSim:
        """The compiled project ``files``."""
        progress("compile", 0, 1)
        csim = build(self.hardware, texts(files), jobs=check.threads, frames=frames)
        progress("compile", 1, 1)
        return csim

    def report(self, model: ModelRecord, simulation: SimulationRecord) -> Report:
        """The facts of the build; those of the training stand beside the model file."""
        asked = {} if self.plan.solver is None else self.plan.solver.budget
        board = load_board(self.plan.board).planned(asked)
        return make_report(self.hardware, self.plan, board, model, simulation, trained(model), self.network.digest)


def texts(files: Mapping[str, bytes]) -> dict[str, str]:
    """``files`` as text.

    Raises:
        UserError: one holds none.
    """
    try:
        return {path: content.decode() for path, content in files.items()}
    except UnicodeDecodeError as error:
        raise UserError("a file of the project holds no text", hint="run 'fpgaflow generate' again") from error


def _host_encodes(csim: CSim, images: Array) -> bool:
    """Whether the project's own host code makes the codes of ``images``, and of the real values they are worth."""
    both = (images, host_values(csim.graph, images))
    return all(np.array_equal(encode(csim.graph, x), csim.encode(x)) for x in both)
