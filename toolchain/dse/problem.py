"""The choice of an accelerator as plain data: one option a decision, links between them, no graph in sight."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from toolchain.ir.types import Parallelism
from toolchain.resources import KINDS, Resources, total


@dataclass(frozen=True, order=True)
class Port:
    """The port of an option to a stream: elements a word, and the words that the stream's FIFO holds for its pauses.

    ``padded`` names the stream's groups of channels that the option pads: both ends of a stream pad the same. With the
    ``ultra`` of its writer the stream's FIFOs may lie in UltraRAM.
    """

    lanes: int
    pause: int = 0
    padded: tuple[str, ...] = field(default=(), hash=False)  # sets keep the order that they have without it
    ultra: bool = field(default=False, hash=False)


@dataclass(frozen=True)
class Option:
    """One way to build the units of a decision: their lanes, cycles per frame of the slowest, and what they take.

    ``ports`` has one entry a joint of the decision, by the joint's name. ``padded`` are the channels of the groups that
    it pads. ``units`` are the parts of the resources that estimates of its units are, by their names. ``bits`` are
    those of the weights that it multiplies, by the layer's name, where they are chosen too, and ``loss`` what these
    cost of what the problem may lose.
    """

    lanes: Mapping[str, Parallelism]
    cycles: int
    resources: Resources
    ports: Mapping[str, Port] = field(default_factory=dict)
    padded: Mapping[str, int] = field(default_factory=dict)
    units: Mapping[str, Resources] = field(default_factory=dict)
    bits: Mapping[str, int] = field(default_factory=dict)
    loss: int = 0


@dataclass(frozen=True)
class Decision:
    """Units whose lanes are chosen together."""

    name: str
    options: tuple[Option, ...]


@dataclass(frozen=True)
class Link:
    """The FIFO between two ports and, where their widths differ, the converters."""

    cycles: int
    resources: Resources


@dataclass(frozen=True)
class Joint:
    """A stream between two decisions: what each pair of ports (writer's, reader's) takes. Other pairs are illegal."""

    name: str
    writer: str
    reader: str
    links: Mapping[tuple[Port, Port], Link]


@dataclass(frozen=True)
class Problem:
    """Pick one option of each decision; the slowest sets the frame rate, options' and links' resources add up.

    The losses of the options add up to ``most_loss`` at most, where there is one.
    """

    decisions: tuple[Decision, ...]
    joints: tuple[Joint, ...] = ()
    most_loss: int | None = None

    @cached_property
    def kinds(self) -> tuple[str, ...]:
        """Resources that any option or link takes."""
        parts = [o.resources for d in self.decisions for o in d.options]
        parts += [link.resources for joint in self.joints for link in joint.links.values()]
        return tuple(kind for kind in KINDS if any(getattr(part, kind) for part in parts))

    def within(self, cycles: int, *, matched: bool = False) -> Problem:
        """Return the problem of the options that take at most ``cycles`` a frame and are not beaten; none may be left.

        An option is beaten when another one takes at most the same of everything whatever its neighbours' ports are,
        the dearer links to them included. With ``matched`` it must not need more converters either.
        """
        fast = tuple(Decision(d.name, tuple(o for o in d.options if o.cycles <= cycles)) for d in self.decisions)
        joints = _trimmed(self.joints, fast, cycles)
        sides = _sides(joints)
        kept = tuple(Decision(d.name, _unbeaten(d, sides.get(d.name, []), matched=matched)) for d in fast)
        return Problem(kept, _trimmed(joints, kept, cycles), self.most_loss)

    def links(self, picked: Sequence[Option]) -> tuple[tuple[Joint, tuple[Port, Port]], ...]:
        """Each joint with the ports that ``picked`` (one option a decision) has on it."""
        chosen = {d.name: option for d, option in zip(self.decisions, picked, strict=True)}
        return tuple((j, (chosen[j.writer].ports[j.name], chosen[j.reader].ports[j.name])) for j in self.joints)

    def legal(self, picked: Sequence[Option]) -> bool:
        """Return whether every joint has a link between the ports of ``picked``."""
        return all(pair in joint.links for joint, pair in self.links(picked))

    def allowed(self, picked: Sequence[Option]) -> bool:
        """Return whether ``picked`` loses at most ``most_loss``."""
        return self.most_loss is None or sum(option.loss for option in picked) <= self.most_loss

    def used(self, picked: Sequence[Option]) -> Resources:
        """Return the resources of ``picked``, links included."""
        links = (joint.links[pair].resources for joint, pair in self.links(picked))
        return total((*(option.resources for option in picked), *links))

    def least(self) -> Resources:
        """Return a lower bound of each resource over all picks, links left out."""
        smallest = (Resources(*map(min, zip(*(o.resources for o in d.options), strict=True))) for d in self.decisions)
        return total(smallest)

    def slowest(self, picked: Sequence[Option]) -> int:
        """Cycles a frame of ``picked``."""
        links = (joint.links[pair].cycles for joint, pair in self.links(picked))
        return max((*(option.cycles for option in picked), *links))

    def mismatches(self, picked: Sequence[Option]) -> int:
        """Joints of ``picked`` that need converters."""
        return sum(a.lanes != b.lanes for _, (a, b) in self.links(picked))

    def cycle_counts(self) -> list[int]:
        """Cycle counts that the slowest unit can have, ascending."""
        floor = max(min(option.cycles for option in d.options) for d in self.decisions)
        links = {link.cycles for joint in self.joints for link in joint.links.values()}
        return sorted({n for n in links | {o.cycles for d in self.decisions for o in d.options} if n >= floor})


def _trimmed(joints: Sequence[Joint], decisions: Sequence[Decision], cycles: int) -> tuple[Joint, ...]:
    """``joints`` with the links of at most ``cycles`` between ports that options still have."""
    options = {d.name: d.options for d in decisions}
    found = []
    for joint in joints:
        writes, reads = ({o.ports[joint.name] for o in options[name]} for name in (joint.writer, joint.reader))
        links = {
            pair: link
            for pair, link in joint.links.items()
            if pair[0] in writes and pair[1] in reads and link.cycles <= cycles
        }
        found.append(Joint(joint.name, joint.writer, joint.reader, links))
    return tuple(found)


Side = tuple[str, dict[Port, int], np.ndarray]
"""A joint as one of its decisions sees it: its name, the index of each own port, what (own, other) pairs take."""

_NEVER = 1e15  # stands for a pair of ports without a link


def _sides(joints: Sequence[Joint]) -> dict[str, list[Side]]:
    found: dict[str, list[Side]] = {}
    for joint in joints:
        ports = [sorted({pair[side] for pair in joint.links}) for side in (0, 1)]
        index = [{port: i for i, port in enumerate(side)} for side in ports]
        table = np.full((len(ports[0]), len(ports[1]), len(KINDS) + 1), _NEVER)
        for (a, b), link in joint.links.items():
            table[index[0][a], index[1][b]] = (*link.resources, a.lanes != b.lanes)
        found.setdefault(joint.writer, []).append((joint.name, index[0], table))
        found.setdefault(joint.reader, []).append((joint.name, index[1], table.transpose(1, 0, 2)))
    return found


def _unbeaten(decision: Decision, sides: Sequence[Side], *, matched: bool) -> tuple[Option, ...]:
    options = [o for o in decision.options if all(o.ports[name] in index for name, index, _ in sides)]
    if not options:
        return ()
    kinds = len(KINDS) + matched
    losses = [o.loss for o in options]
    rows = np.zeros((len(options), kinds + any(losses)))
    rows[:, : len(KINDS)] = [tuple(o.resources) for o in options]
    if any(losses):
        rows[:, kinds] = losses
    extra = [_dearer(table[:, :, :kinds]) for _, _, table in sides]
    places = [np.array([index[o.ports[name]] for o in options]) for name, index, _ in sides]
    chosen, count = np.empty(len(options), dtype=np.int64), 0
    for i in np.argsort(rows @ (1.0 / np.maximum(rows.mean(axis=0), 1e-9)), kind="stable"):
        kept = chosen[:count]
        worst = rows[kept]
        for table, place in zip(extra, places, strict=True):
            worst[:, :kinds] += table[place[i]][place[kept]]
        if not (worst <= rows[i]).all(axis=1).any():
            chosen[count], count = i, count + 1
    return tuple(options[i] for i in sorted(chosen[:count].tolist()))


def _dearer(table: np.ndarray) -> np.ndarray:
    """Return by (port, other port) by how much the other's links are dearer, at worst over the neighbour's ports."""
    found = np.empty((len(table), len(table), table.shape[2]))
    for port, row in enumerate(table):
        legal = row[:, 0] < _NEVER  # only pairs that this port can have need to be matched
        found[port] = (table[:, legal] - row[legal]).max(axis=1)
    return found


def prune(options: Sequence[Option]) -> tuple[Option, ...]:
    """The options that no other one of the same ports beats in cycles, every resource and loss, in their order."""
    groups: dict[tuple[tuple[str, Port], ...], list[int]] = {}
    for i, option in enumerate(options):
        groups.setdefault(tuple(sorted(option.ports.items())), []).append(i)
    kept = []
    for members in groups.values():
        rows = [(options[i].cycles, *options[i].resources, options[i].loss) for i in members]
        kept += [members[k] for k in pareto(rows)]
    return tuple(options[i] for i in sorted(kept))


def pareto(rows: Sequence[tuple[int, ...]]) -> list[int]:
    """Indices of the rows that no other row is at most equal to in every entry; the first of equal rows."""
    if not rows:
        return []
    table, first = np.unique(np.asarray(rows, dtype=np.int64), axis=0, return_index=True)
    front: list[int] = []  # positions in the sorted table: a row can only be beaten by an earlier one
    for i, row in enumerate(table):
        if not (table[front] <= row).all(axis=1).any():
            front.append(i)
    return sorted(int(first[i]) for i in front)
