"""Options with what yosys counts of their units in SystemVerilog in place of estimates.

A network has thousands of options, and a count takes seconds. So those alone are counted that a selection of the cycles
found could take: fast enough and beaten by no other, the options on the decisions' Pareto fronts. Counts move what is
found; rounds follow until all on the fronts are counted. FIFOs and converters are estimated while options are chosen,
and counted where a plan is held against the budget.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from toolchain.dse.problem import Decision, Option, Problem
from toolchain.ir.graph import Graph
from toolchain.resources import Resources, total
from toolchain.rtl.count import MEMORY, Design, count_units, counted, designs
from toolchain.rtl.generate import demand_rtl
from toolchain.units.table import unit_cost
from toolchain.units.totals import cost, graph_cost

MOST = 1.5
"""Of the budget that an option may take by its estimate to be counted: no count is so much less."""

Build = Callable[[Mapping[str, Option]], Graph]
"""The HARDWARE graph of one option a decision, by the decision's name."""


@dataclass(frozen=True)
class Counting:
    """How many runs of yosys there are at once, the bytes that they may take together, and whom they tell how many of
    how many designs are counted."""

    jobs: int = 2
    memory: int = MEMORY
    progress: Callable[[int, int], None] | None = None


def uncounted(problem: Problem, cycles: Iterable[int], budget: Resources) -> list[Option]:
    """Options with estimates on the fronts of what takes at most any of ``cycles`` a frame."""
    fronts = [decision for n in cycles for decision in problem.within(n).decisions]
    found = {id(option): option for decision in fronts for option in decision.options}
    most = budget.scaled(MOST)
    return [option for option in found.values() if not option.counted and option.resources.fits(most)]


def with_counts(problem: Problem, waiting: Sequence[Option], counting: Counting, build: Build) -> Problem:
    """``problem`` with counts of the options ``waiting``; what yosys fails on keeps its estimate, with a warning.

    Raises:
        UserError: a unit has no SystemVerilog, or there is no yosys.
    """
    units = {id(option): parts for built in _built(problem, waiting, build) for option, parts in built}
    unlike = {design.digest: design for parts in units.values() for design, _ in parts}
    counts = counted(unlike.values(), jobs=counting.jobs, memory=counting.memory, progress=counting.progress)
    for failed in (result for result in counts.values() if isinstance(result, str)):
        logging.getLogger(__name__).warning("estimated, not counted: %s", failed)
    wanted = {id(option) for option in waiting}

    def known(option: Option) -> Option:
        if id(option) not in wanted:
            return option
        found = option.resources
        for design, estimate in units.get(id(option), ()):
            result = counts[design.digest]
            found += Resources() if isinstance(result, str) else result - estimate
        return replace(option, resources=found, counted=True)

    decisions = (Decision(d.name, tuple(map(known, d.options))) for d in problem.decisions)
    return replace(problem, decisions=tuple(decisions))


def counted_cost(hardware: Graph, counting: Counting) -> Resources:
    """What a HARDWARE graph takes: the counts of its units, converters and FIFOs, estimates of the rest."""
    counts = count_units(hardware, jobs=counting.jobs, memory=counting.memory, progress=counting.progress)
    known = {name: result for name, result in counts.items() if isinstance(result, Resources)}
    estimates = total(cost(node, hardware) for node in hardware.nodes if node.name in known)
    return graph_cost(hardware) - estimates + total(known.values())


Units = list[tuple[Design, Resources]]
"""The designs of an option's units with their estimates."""


def _built(problem: Problem, waiting: Sequence[Option], build: Build) -> Iterator[list[tuple[Option, Units]]]:
    """The units of ``waiting``, an option of every decision at a time."""
    for picked, fresh in _picks(problem, waiting):
        hardware = build(picked)
        demand_rtl(hardware, hint="--costs estimated")
        nodes, found = {node.name: node for node in hardware.nodes}, designs(hardware)
        several = []
        for option in fresh:
            parts: Units = []
            for name, lanes in option.lanes.items():
                if name in found:
                    first, *others = (hardware.value(value) for value in nodes[name].inputs)
                    parts.append((found[name][0], unit_cost(nodes[name], first, lanes, *others)))
            several.append((option, parts))
        yield several


def _picks(problem: Problem, waiting: Sequence[Option]) -> Iterator[tuple[dict[str, Option], list[Option]]]:
    """One option a decision that pad the same, those of them that waited; over all, every one that can be built."""
    ids = {id(option) for option in waiting}
    left = {d.name: [o for o in d.options if id(o) in ids] for d in problem.decisions}
    groups = {d.name: {name for o in d.options for name in o.padded} for d in problem.decisions}
    while lead := next((options[0] for options in left.values() if options), None):
        picked = {}
        for d in problem.decisions:
            padded = {group: count for group, count in lead.padded.items() if group in groups[d.name]}
            alike = (option for option in (*left[d.name], *d.options) if option.padded == padded)
            if option := next(alike, None):
                picked[d.name] = option
        used = {id(option) for option in (lead, *picked.values())}
        left = {name: [o for o in options if id(o) not in used] for name, options in left.items()}
        if len(picked) == len(left):
            yield picked, [option for option in picked.values() if id(option) in ids]
            ids -= used
