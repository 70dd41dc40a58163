"""The reduction of a graph to a problem of choices: units whose lanes follow from each other are one decision."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from itertools import combinations

from toolchain.dse.links import link, stream_fifo
from toolchain.dse.problem import Decision, Joint, Option, Port, Problem, prune
from toolchain.errors import UserError
from toolchain.ir.graph import Graph
from toolchain.ir.ops.node import Node
from toolchain.ir.types import Parallelism, Value
from toolchain.passes.pad_channels import ChannelGroups, channel_groups, pad_channels
from toolchain.passes.size_fifos import join_surplus
from toolchain.passes.split_row_convs import row_forms
from toolchain.resources import Resources, total
from toolchain.units.fabric import use_uram
from toolchain.units.lanes import READER, boundary_options, fits_streams, padded_count, writers
from toolchain.units.limits import MAX_STREAM_BITS
from toolchain.units.table import options, schedule, unit_cost, unit_of
from toolchain.units.totals import stream_cycles, writer_cost


@dataclass
class Chain:
    """Units whose lanes follow from the first one or two of them; ``source`` is the reader for the first chain."""

    name: str
    nodes: list[Node] = field(default_factory=list)


def chains(graph: Graph) -> list[Chain]:
    """The graph's units by decision, the reader's first. Forks must have been inserted.

    Raises:
        UserError: a window is not followed by the unit that reduces it.
    """
    found = [Chain(READER)]
    by_value = {graph.input.name: found[0]}
    for node in graph.nodes:
        before = by_value[node.inputs[0]]
        after_window = bool(before.nodes) and unit_of(before.nodes[-1]).makes_windows
        unit = unit_of(node)
        if after_window and not unit.reduces_windows:
            raise UserError(
                f"no unit reduces the window '{before.nodes[-1].name}'",
                where=node.name,
                hint="a window feeds a matrix-vector product, a depthwise filter or a pool",
            )
        if not (unit.follows or after_window):
            before = Chain(node.name)
            found.append(before)
        before.nodes.append(node)
        by_value |= {value.name: before for value in node.outputs}
    return found


def expand(graph: Graph, *, plain: bool = False, ultra: bool = False) -> Problem:
    """The choices of ``graph`` (INTEGER level, forks inserted), each pruned to its Pareto set, and what joins them.

    Args:
        plain: whether matrix-vector units have one form only: weights from a memory, one column of a row at a time.
        ultra: whether memories and FIFOs may lie in UltraRAM too.

    Raises:
        UserError: a unit has no legal lanes, or a window stands alone.
    """
    made = expansion(graph, plain=plain, ultra=ultra)
    return made.joined(made.decisions())


def expansion(graph: Graph, *, plain: bool = False, ultra: bool = False) -> Expansion:
    """Prepare the expansion from which `expand` makes its problem."""
    return Expansion(graph, plain, ultra, channel_groups(graph))


Padded = tuple[str, ...]
"""Names of groups of channels that are padded, ascending."""

MOST_APART = 3
"""Groups of a decision that are padded each by itself; of more, all or none."""


@dataclass(frozen=True)
class Expansion:
    """A graph with what its decisions and joints are, each in the versions of the graph that its channels can have."""

    graph: Graph
    plain: bool
    ultra: bool
    groups: ChannelGroups

    @cached_property
    def awkward(self) -> dict[str, int]:
        """The groups that few lanes divide, by name, with the larger counts of channels that more lanes divide."""
        free = {name: count for name, count in self.groups.counts.items() if name not in self.groups.fixed}
        return {name: more for name, count in free.items() if (more := padded_count(count)) > count}

    @cached_property
    def versions(self) -> dict[Padded, _Version]:
        """The versions of the graph made so far."""
        return {}

    def version(self, padded: Padded) -> _Version:
        """Return the version in which the groups ``padded`` are padded; each is made once."""
        if padded not in self.versions:
            counts = {name: self.awkward[name] for name in padded}
            self.versions[padded] = _Version(
                pad_channels(self.graph, counts), self.plain, self.ultra, self.groups, counts
            )
        return self.versions[padded]

    def paddings(self, names: set[str]) -> list[Padded]:
        """Return the groups of channels that can be padded at the values ``names``; the empty choice comes first."""
        groups = sorted(self.groups.of(names) & self.awkward.keys())
        counts = range(len(groups) + 1) if len(groups) <= MOST_APART else (0, len(groups))
        return [chosen for count in counts for chosen in combinations(groups, count)]

    @cached_property
    def ends(self) -> dict[str, tuple[str, str]]:
        """The values between two decisions, by the names of the one that writes and the one that reads."""
        homes = {node.name: chain.name for chain in self.chains for node in chain.nodes}
        producers = self.graph.producers()
        readers = {name: nodes[0] for name, nodes in self.graph.consumers().items() if nodes}
        home = {name: homes[producers[name].name] if name in producers else READER for name in self.graph.values()}
        target = {name: homes[node.name] for name, node in readers.items()} | self.written
        return {name: (home[name], target[name]) for name in home if home[name] != target.get(name, home[name])}

    @cached_property
    def chains(self) -> list[Chain]:
        """The units of this version by decision, see ``chains``."""
        return chains(self.graph)

    @cached_property
    def written(self) -> dict[str, str]:
        """The writers of the outputs, by the value."""
        return dict(zip((output.value for output in self.graph.outputs), writers(self.graph), strict=True))

    def decisions(self) -> tuple[Decision, ...]:
        """Return all decisions: the reader's first, those of the writers last."""
        cut = set(self.ends)
        chained = (self._decision(chain, cut) for chain in self.chains)
        return (*chained, *(self._writer(name, end) for end, name in self.written.items()))

    def joined(self, decisions: tuple[Decision, ...]) -> Problem:
        """The problem of ``decisions``, which are these ones with options of their own, and the links between them."""
        ports = {d.name: d for d in decisions}
        joints = (self._joint(name, ports[writer], ports[reader]) for name, (writer, reader) in self.ends.items())
        return Problem(decisions, tuple(joints))

    def _joint(self, name: str, writer: Decision, reader: Decision) -> Joint:
        writes, reads = ({o.ports[name] for o in side.options} for side in (writer, reader))
        links = {
            (a, b): link(self.version(a.padded).values[name], a, b)
            for a in writes
            for b in reads
            if a.padded == b.padded
        }
        return Joint(name, writer.name, reader.name, links)

    def _writer(self, name: str, end: str) -> Decision:
        versions = map(self.version, self.paddings({end}))
        return Decision(name, prune([option for version in versions for option in version.writing(name, end)]))

    def _decision(self, chain: Chain, cut: set[str]) -> Decision:
        """The options of ``chain``; values in ``cut`` lead into other decisions."""
        names = {name for node in chain.nodes for name in (*node.inputs, *(value.name for value in node.outputs))}
        names |= {self.graph.input.name} if chain.name == READER else set()
        versions = map(self.version, self.paddings(names))
        found = [option for version in versions for option in version.options(chain, cut)]
        if not found:
            units = ", ".join(f"'{node.name}'" for node in chain.nodes)
            raise UserError(f"no legal lanes for {units}", hint=f"streams are at most {MAX_STREAM_BITS} bits wide")
        return Decision(chain.name, prune(found))


@dataclass(frozen=True)
class _Version:
    """The graph with the ``padded`` channels of some groups, and the options of decisions in it."""

    graph: Graph
    plain: bool
    ultra: bool
    groups: ChannelGroups
    padded: Mapping[str, int]

    @cached_property
    def values(self) -> dict[str, Value]:
        return self.graph.values()

    @cached_property
    def nodes(self) -> dict[str, Node]:
        return {node.name: node for node in self.graph.nodes}

    @cached_property
    def surplus(self) -> dict[tuple[str, int], int]:
        return join_surplus(self.graph)

    def writing(self, writer: str, end: str) -> Iterator[Option]:
        """Yield the options of the ``writer`` of the value ``end``."""
        value = self.values[end]
        maker = self.graph.producers().get(end)
        flat = maker is not None and maker.renames
        for n in boundary_options(value, flat=flat):
            ports = {value.name: self._port(value.name, n)}
            lanes = {writer: Parallelism(n, n)}
            yield Option(lanes, stream_cycles(value, n), writer_cost(), ports, self.padded)

    def options(self, chain: Chain, cut: set[str]) -> Iterator[Option]:
        """Yield the options of ``chain`` with this version's nodes."""
        for form in self._forms(Chain(chain.name, [self.nodes[node.name] for node in chain.nodes])):
            yield from self._options(form, cut)

    @cached_property
    def joins(self) -> dict[str, int]:
        """Most elements of each value that wait in front of a join."""
        found: dict[str, int] = {}
        for (name, index), count in self.surplus.items():
            value = self.nodes[name].inputs[index]
            found[value] = max(found.get(value, 0), count)
        return found

    def _storages(self, node: Node, inputs: list[Value], lanes: Parallelism) -> list[Parallelism]:
        """``lanes``, and with UltraRAM where a memory of ``node`` or a FIFO that it writes is large enough."""
        if not self.ultra or node.renames:
            return [lanes]
        within = replace(lanes, ultra=True)
        pays = unit_cost(node, inputs[0], within, *inputs[1:]).uram > 0 or any(
            use_uram(-(-self.joins.get(value.name, 0) // lanes.lanes_out), lanes.lanes_out * value.qint.bits)
            for value in node.outputs
        )
        return [lanes, within] if pays else [lanes]

    def _port(self, name: str, lanes: int, pause: int = 0, *, ultra: bool = False) -> Port:
        parts = self.groups.parts[name]
        return Port(lanes, pause, tuple(group for group in self.padded if group in parts), ultra)

    def _forms(self, chain: Chain) -> list[Chain]:
        """``chain`` as it stands, and with its product as every row convolution that it has."""
        forms = [] if self.plain else row_forms(chain.nodes)
        return [chain, *(Chain(chain.name, nodes) for nodes in forms)]

    def _options(self, chain: Chain, cut: set[str]) -> Iterator[Option]:
        values = self.values | {value.name: value for node in chain.nodes for value in node.outputs}
        facts = lru_cache(maxsize=None)(lambda node, lanes: _facts(node, [values[name] for name in node.inputs], lanes))
        fifos = lru_cache(maxsize=None)(
            lambda name, lanes, pauses, ultra: stream_fifo(values[name], lanes, pauses, ultra=ultra)
        )
        for lanes in self._assignments(chain, values):
            if self.plain and any(p.constant for p in lanes.values()):
                continue
            slowest, parts, ports = 0, [], {}
            units: dict[str, Resources] = {}
            pauses: dict[str, int] = {}
            ultra = {self.graph.input.name: False}
            if chain.name == READER:
                words, value = lanes[READER].lanes_out, self.graph.input
                parts.append(writer_cost())  # the reader's unit is the writer's mirror image
                slowest, pauses[value.name] = stream_cycles(value, words), 0
                if value.name in cut:
                    ports[value.name] = self._port(value.name, words)
            for node in chain.nodes:
                chosen = lanes[node.name]
                taken, needed, readings, writing = facts(node, chosen)
                slowest, units[node.name] = max(slowest, taken), needed
                for i, (name, reading) in enumerate(zip(node.inputs, readings, strict=True)):
                    if name in cut:
                        ports[name] = self._port(name, chosen.lanes_in, reading + self._waiting(node, i, chosen))
                    elif not node.renames:
                        parts.append(fifos(name, chosen.lanes_in, pauses[name] + reading, ultra[name]))
                held = pauses.get(node.inputs[0], 0) if node.renames else writing
                within = ultra.get(node.inputs[0], False) if node.renames else chosen.ultra
                pauses |= {value.name: held for value in node.outputs}
                ultra |= {value.name: within for value in node.outputs}
                outputs = [value.name for value in node.outputs if value.name in cut]
                ports |= {name: self._port(name, chosen.lanes_out, held, ultra=within) for name in outputs}
            yield Option(lanes, slowest, total((*parts, *units.values())), ports, self.padded, units)

    def _waiting(self, node: Node, index: int, lanes: Parallelism) -> int:
        """Words that stand in front of a join until its other branch delivers."""
        if len(node.inputs) < 2:
            return 0
        return -(-self.surplus[node.name, index] // lanes.lanes_in)

    def _assignments(self, chain: Chain, values: Mapping[str, Value]) -> Iterator[dict[str, Parallelism]]:
        """Yield every legal choice of lanes for the units of ``chain``."""
        if chain.name != READER:
            yield from self._extend(chain.nodes, {}, {}, values)
            return
        flat = bool(chain.nodes) and chain.nodes[0].renames  # forks were inserted, so it is the only reader
        for n in boundary_options(self.graph.input, flat=flat):
            lanes = Parallelism(n, n)
            yield from self._extend(chain.nodes, {READER: lanes}, {self.graph.input.name: lanes}, values)

    def _extend(
        self,
        nodes: list[Node],
        chosen: dict[str, Parallelism],
        streams: dict[str, Parallelism],
        values: Mapping[str, Value],
    ) -> Iterator[dict[str, Parallelism]]:
        """``chosen`` extended by every legal choice for ``nodes``; ``streams`` holds the lanes of the values so far."""
        if not nodes:
            yield chosen
            return
        node, inputs = nodes[0], [values[name] for name in nodes[0].inputs]
        for lanes in options(node, inputs[0], streams.get(inputs[0].name)):
            if not fits_streams(node, inputs[0], lanes):
                continue
            for stored in self._storages(node, inputs, lanes):
                written = {value.name: stored for value in node.outputs}
                yield from self._extend(nodes[1:], chosen | {node.name: stored}, streams | written, values)


def _facts(node: Node, inputs: list[Value], lanes: Parallelism) -> tuple[int, Resources, tuple[int, ...], int]:
    """Cycles, resources, and the words that pauses leave on every input and take from the outputs."""
    timing = schedule(node, inputs[0], lanes)
    return timing.cycles, unit_cost(node, inputs[0], lanes, *inputs[1:]), *timing.pause_words()
