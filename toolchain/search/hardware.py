"""Costs of networks on a board: found quickly on given engines, and proven by the integer programs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from math import inf
from typing import Any

from toolchain.boards import load_board
from toolchain.dse.bits import with_bits
from toolchain.dse.bound import bound
from toolchain.dse.explore import explore
from toolchain.engine.candidates import Budget
from toolchain.engine.cost import engine_cost
from toolchain.engine.floor import Floor
from toolchain.engine.joint import faster_jointly
from toolchain.engine.layers import Cut, narrowed
from toolchain.engine.options import Choices, base_shapes
from toolchain.engine.precision import fastest
from toolchain.engine.schedule import row_words
from toolchain.engine.shape import Shape, shape_facts, shape_of
from toolchain.errors import NoRoom, UserError
from toolchain.flow.engine_found import memory_rate
from toolchain.flow.options import Search, prepared_board
from toolchain.ir.ops.products import MatVec
from toolchain.passes.pipeline import hardware_form
from toolchain.records import Record
from toolchain.search.fixed import FixedEngine
from toolchain.search.graphs import graph_of
from toolchain.search.network import Network, largest, network_at, smallest
from toolchain.search.passes import Task, cut_of
from toolchain.search.space import Space

_ABOVE = 1 + 1e-6
"""Factor of a limit that a network's own bits reach: losses are counted in parts, rounded up."""

ENGINE_BITS = 8
"""Activations of fewer bits are quantized by thresholds, which the engine does not run."""


class Proof(Record):
    """The best accelerator for a network: cycles a frame, a proven lower bound of them, and the engine's shape.

    ``status`` is "optimal" or, where the program ran out of time, "feasible"; ``shape`` is empty of a streaming one.
    """

    cycles: float
    bound: float
    status: str
    seconds: float
    shape: dict[str, int]
    resources: dict[str, int]

    @property
    def gap(self) -> float:
        """Relative distance to the bound."""
        return max(0.0, (self.cycles - self.bound) / self.cycles)


def stored_shape(facts: dict[str, int]) -> Shape:
    """The engine of a record's shape.

    Raises:
        UserError: it is of another version.
    """
    shape = shape_of(facts)
    if shape is None:
        raise UserError("the store's engines are of another version of fpgaflow", hint="search into another folder")
    return shape


def clock_of(search: Search) -> float:
    """The clock in MHz that is asked for, or the board's."""
    return search.clock_mhz or load_board(search.board).clock.default_mhz


@dataclass(frozen=True)
class Hardware:
    """The board, its clock and budget (``search``), and the task of the networks of ``space``."""

    space: Space
    task: Task
    search: Search

    @cached_property
    def clock_mhz(self) -> float:
        """Clock of the fabric."""
        return clock_of(self.search)

    @cached_property
    def budget(self) -> Budget:
        """The resources that an engine may take, and the bytes that its memory moves a clock cycle."""
        board = prepared_board(self.search)
        return Budget(board.budget, memory_rate(board, self.clock_mhz))

    def fps(self, cycles: float) -> float:
        """Frames a second."""
        return self.clock_mhz * 1e6 / cycles

    @cached_property
    def widest(self) -> Cut:
        """The passes of the largest network: engines are given its number formats, so that they run the others."""
        return cut_of(network_at(self.space, {**largest(self.space), "architecture": "engine"}), self.task)

    def cycles(self, network: Network, engines: Sequence[Shape]) -> tuple[float, int]:
        """Cycles of ``network`` on the best of ``engines`` and its number; infinite and -1 where none runs it.

        A streaming design has no engine: the explorer plans one, which takes seconds.
        """
        if network.architecture == "streaming":
            try:
                return self.prove(network).cycles, -1
            except UserError:
                return inf, -1
        if network.act_bits < ENGINE_BITS:
            return inf, -1
        cut, best = cut_of(network, self.task), (inf, -1)
        for index, shape in enumerate(engines):
            cycles = FixedEngine(shape, self.budget.bytes_per_cycle).cycles(cut)
            best = min(best, (cycles, index))
        return best

    def macs(self, network: Network) -> int:
        """Multiply-accumulates a frame."""
        return sum(p.macs for p in cut_of(network, self.task).passes)

    def floor(self, network: Network) -> float:
        """Return a bound of the cycles of every accelerator for ``network`` on the board from below."""
        if network.architecture == "streaming":
            board = prepared_board(self.search)
            return self.clock_mhz * 1e6 / bound(graph_of(network, self.task), board, self.clock_mhz).fps
        cut = cut_of(network, self.task)
        return min(self._floor(width).cycles(cut) for width in self.space.bits.weights)

    def _floor(self, width: int) -> Floor:
        if width not in self._floors:
            least = {**smallest(self.space), "architecture": "engine", "activations": ENGINE_BITS}
            cut = cut_of(network_at(self.space, least), self.task)
            self._floors[width] = Floor.of(narrowed(cut, width), self.budget)
        return self._floors[width]

    @cached_property
    def _floors(self) -> dict[int, Floor]:
        return {}

    def prove(self, network: Network, *, shared: bool = False) -> Proof:
        """The best accelerator for ``network`` by the integer program.

        Args:
            shared: the engine has the number formats and buffers of the largest network, where they fit.

        Raises:
            UserError: none fits the board.
        """
        if network.architecture == "streaming":
            return self._streaming(network)
        if network.act_bits < ENGINE_BITS:
            raise UserError(f"the engine does not run the thresholds of activations of {network.act_bits} bits")
        cut = cut_of(network, self.task)
        if shared:
            cut = replace(cut, within=self.widest.formats)
        found = fastest(cut, self.budget, time_limit=self.search.time_limit)
        shape = self._roomier(found.shape) if shared else found.shape
        return Proof(
            cycles=found.cycles,
            bound=found.bound,
            status="optimal" if found.gap < 1e-6 else "feasible",
            seconds=found.seconds,
            shape=shape_facts(shape),
            resources=asdict(engine_cost(shape)),
        )

    def joint_bits(
        self, network: Network, losses: Mapping[tuple[str, int], float], cycles: float
    ) -> dict[str, int] | None:
        """Bits of the layers of ``network`` that are faster than ``cycles`` with an engine or lanes found for them.

        Args:
            losses: what a layer loses in so many bits, by its name in the space; the sum stays at most that of the
                network's own bits. Depthwise filters keep theirs: the program knows one width of them.

        Returns:
            bits by the layers' names in the space; None where the program finds none in time.
        """
        widths = self.space.bits.weights
        cut = cut_of(network, self.task)
        names = [p.name for p in cut.passes if p.conv is not None]
        table = {name: {bits: losses[network.slots[name], bits] for bits in widths} for name in names}
        limit = sum(table[name][network.bits[name]] for name in names)
        wide = replace(network, bits={**network.bits, **dict.fromkeys(names, max(widths))})
        if network.architecture == "streaming":
            bits = self._joint_lanes(wide, table, limit, cycles)
        else:
            cut, seconds = cut_of(wide, self.task), self.search.time_limit
            found, _ = faster_jointly(cut, self.budget, table, widths, limit, cycles, time_limit=seconds)
            bits = None if found is None else found.bits
        return None if bits is None else {network.slots[name]: bits[name] for name in names}

    def _joint_lanes(
        self, wide: Network, table: Mapping[str, Mapping[int, float]], limit: float, cycles: float
    ) -> dict[str, int] | None:
        """Return bits by layer that lose at most ``limit``, for a streaming design faster than ``cycles``, if any."""
        graph, budget = hardware_form(graph_of(wide, self.task)), prepared_board(self.search).budget
        products = (node.name for node in graph.nodes if isinstance(node, MatVec))
        names = dict(zip(products, table, strict=True))  # the products stand in the order of the passes
        layered = with_bits(
            graph, {node: table[name] for node, name in names.items()}, self.space.bits.weights, ultra=budget.uram > 0
        )
        try:
            found = layered.solve(budget, limit * _ABOVE, time_limit=self.search.time_limit)
        except UserError:
            return None
        return {names[n]: bits for n, bits in found.bits.items()} if found.solution.cycles < cycles else None

    def _roomier(self, shape: Shape) -> Shape:
        """Return ``shape`` with rows and lines for the largest network, where they fit as well."""
        choices = Choices(lanes=(shape.lanes,), channel_words=(shape.channel_words,))
        lines = max((base.line_words for base in base_shapes(self.widest, choices)), default=0)
        rows = row_words(self.widest.passes, shape)
        wide = replace(shape, row_words=max(shape.row_words, rows), line_words=max(shape.line_words, lines))
        return wide if engine_cost(wide).fits(self.budget.resources) else shape

    def _streaming(self, network: Network) -> Proof:
        plan = explore(
            graph_of(network, self.task),
            prepared_board(self.search),
            clock_mhz=self.clock_mhz,
            time_limit=self.search.time_limit,
        )
        record = plan.solver
        assert record is not None and record.cycles is not None
        proved = max(record.cycles * (1 - record.gap), self.floor(network))  # the gap may be of resources, and whole
        return Proof(
            cycles=record.cycles,
            bound=min(record.cycles, proved),
            status=record.status,
            seconds=record.seconds,
            shape={},
            resources={},
        )

    def smallest(self, architecture: str) -> Network:
        """The smallest network of the space that an architecture runs."""
        point = {**smallest(self.space), "architecture": architecture}
        if architecture == "engine":
            point["activations"] = max(self.space.bits.activations)
        return network_at(self.space, point)

    def demand_room(self) -> None:
        """Raise NoRoom where not even the smallest network of the space fits the board."""
        faults: list[UserError] = []
        for architecture in self.space.architecture:
            try:
                self.prove(self.smallest(architecture))
                return
            except UserError as error:
                faults.append(error)
        what = "; ".join(f"{name}: {error.what}" for name, error in zip(self.space.architecture, faults, strict=True))
        raise NoRoom(
            f"no network of the space '{self.space.name}' fits: the smallest, {what}",
            where=self.search.board,
            hint=faults[0].hint,
        )

    def facts(self) -> dict[str, Any]:
        """The facts that a store's figures depend on: board, clock, budget and the memory's bytes a cycle."""
        budget = {"budget": asdict(self.budget.resources), "memory": self.budget.bytes_per_cycle}
        return {"board": self.search.board, "clock_mhz": self.clock_mhz, **budget}
