"""Options charged with what yosys counts of their units in SystemVerilog.

A network has thousands of options, and a count takes seconds. So those alone are counted that a solution takes, and
their counts move the prices of all others: a unit that is not counted costs its estimate times what the counts of its
like are of their estimates. Rounds follow until a solution is of counted options alone. FIFOs and converters are
estimated while options are chosen, and counted where a plan is held against the budget.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from toolchain.dse.problem import Decision, Option, Problem
from toolchain.dse.solve import Infeasible, Solution
from toolchain.ir.graph import Graph
from toolchain.ir.types import Parallelism
from toolchain.resources import Resources, total
from toolchain.rtl.count import MEMORY, count_units, counted, designs
from toolchain.rtl.generate import demand_rtl
from toolchain.units.totals import cost, graph_cost

MOST = 1.5
"""The share of the budget up to which designs are counted if none fits by estimates; no count is 1.5 times less."""

Build = Callable[[Mapping[str, Option]], Graph]
"""The HARDWARE graph of one option a decision, by the decision's name."""

Solve = Callable[[Problem, Resources, int | None], Solution]
"""The best selection within a budget, of at most so many cycles if they are told; raises Infeasible."""


@dataclass(frozen=True)
class Counting:
    """The settings of the counts: yosys runs at once, the bytes for all of them, and a callback for progress.

    The callback gets the number of designs that are counted, and of all.
    """

    jobs: int = 2
    memory: int = MEMORY
    progress: Callable[[int, int], None] | None = None


Key = tuple[str, int]
"""A decision and the place of one of its options."""


@dataclass
class Counts:
    """Counts of some options of ``estimated``, and what they make of it; ``kinds`` are those of units by their names.

    ``units`` are counts by an option's key and the unit's name, estimates of what yosys failed on.
    """

    estimated: Problem
    build: Build
    counting: Counting
    kinds: Mapping[str, str] = field(default_factory=dict)
    units: dict[Key, Mapping[str, Resources]] = field(default_factory=dict)

    def settled(self, solve: Solve, budget: Resources, cycles: int | None, *, sparing: bool) -> Solution:
        """The best selection of counted options; where the rate alone matters (not ``sparing``), one that has the best.

        Raises:
            Infeasible: nothing fits, whatever is counted.
            UserError: a unit has no SystemVerilog, or there is no yosys.
        """
        while True:
            problem = self.problem()
            try:
                found = solve(problem, budget, cycles)
            except Infeasible as error:
                found = self._roomy(solve, problem, budget, cycles, error)
            else:
                if not self._waits(problem, found):
                    return found
                if not sparing and (known := self._known(solve, problem, budget, found)):
                    return known
            self.count(self._keys(problem, found))

    def problem(self) -> Problem:
        """The options with their counts, the others with estimates that the counts correct."""
        factors = self._factors()
        same = {(name, lanes): count for name, lanes, _, count in self._counted()}

        def charged(key: Key, option: Option) -> Option:
            units = {}
            for name, estimate in option.units.items():
                lanes = option.lanes[name]
                likely = same.get((name, lanes)) or _corrected(estimate, *factors(name, lanes))
                units[name] = self.units.get(key, {}).get(name, likely)
            return replace(option, resources=option.resources - total(option.units.values()) + total(units.values()))

        return _mapped(self.estimated, charged)

    def count(self, keys: Mapping[str, Key]) -> None:
        """Count one option of every decision; what yosys fails on keeps its estimate, with a warning.

        Raises:
            UserError: a unit has no SystemVerilog, or there is no yosys.
        """
        chosen = {name: self._option(key) for name, key in keys.items()}
        hardware = self.build(chosen)
        demand_rtl(hardware, hint="--costs estimated")
        found = {name: parts[0] for name, parts in designs(hardware).items()}
        wanted = [found[name] for option in chosen.values() for name in option.units if name in found]
        limits = self.counting
        counts = counted(wanted, jobs=limits.jobs, memory=limits.memory, progress=limits.progress)
        for failed in (result for result in counts.values() if isinstance(result, str)):
            logging.getLogger(__name__).warning("estimated, not counted: %s", failed)
        for decision, option in chosen.items():
            results = {name: counts[found[name].digest] for name in option.units if name in found}
            self.units[keys[decision]] = {
                name: option.units[name] if isinstance(result, str) else result for name, result in results.items()
            }

    def _roomy(
        self, solve: Solve, problem: Problem, budget: Resources, cycles: int | None, error: Infeasible
    ) -> Solution:
        """A selection whose counts may fit where nothing does by estimates; raises ``error`` where all is counted."""
        try:
            found = solve(problem, budget.scaled(MOST), cycles or problem.cycle_counts()[-1])
        except Infeasible:
            raise error from None
        if not self._waits(problem, found):
            raise error
        return found

    def _known(self, solve: Solve, problem: Problem, budget: Resources, found: Solution) -> Solution | None:
        """A selection of counted options that is as fast as ``found``."""
        decisions = (
            Decision(d.name, tuple(o for i, o in enumerate(d.options) if (d.name, i) in self.units))
            for d in problem.decisions
        )
        counted = replace(problem, decisions=tuple(decisions))
        if not all(any(option.cycles <= found.cycles for option in d.options) for d in counted.decisions):
            return None
        try:
            return replace(solve(counted, budget, found.cycles), cycles_bound=found.cycles_bound)
        except Infeasible:
            return None

    def _keys(self, problem: Problem, found: Solution) -> dict[str, Key]:
        """Return by decision the key of the option that ``found`` takes."""
        places = {(d.name, id(option)): i for d in problem.decisions for i, option in enumerate(d.options)}
        return {name: (name, places[name, id(option)]) for name, option in found.chosen.items()}

    def _waits(self, problem: Problem, found: Solution) -> bool:
        return not self.units.keys() >= set(self._keys(problem, found).values())

    def _option(self, key: Key) -> Option:
        return next(d for d in self.estimated.decisions if d.name == key[0]).options[key[1]]

    def _counted(self) -> Iterator[tuple[str, Parallelism, Resources, Resources]]:
        """Name, lanes, estimate and count of every unit that is counted."""
        for key, units in self.units.items():
            option = self._option(key)
            yield from ((name, option.lanes[name], option.units[name], count) for name, count in units.items())

    def _factors(self) -> Callable[[str, Parallelism], tuple[float, float]]:
        """LUTs and flip-flops that counts are of estimates: of a unit's own in the same form, else of its kind's."""
        sums: dict[tuple[str, str], tuple[Resources, Resources]] = {}
        for name, lanes, estimate, count in self._counted():
            for like in self._alike(name, lanes):
                before = sums.get(like, (Resources(), Resources()))
                sums[like] = before[0] + estimate, before[1] + count

        def of(name: str, lanes: Parallelism) -> tuple[float, float]:
            estimates, counts = next((sums[like] for like in self._alike(name, lanes) if like in sums), (None, None))
            if estimates is None or counts is None:
                return 1.0, 1.0
            return counts.lut / max(estimates.lut, 1), counts.ff / max(estimates.ff, 1)

        return of

    def _alike(self, name: str, lanes: Parallelism) -> tuple[tuple[str, str], ...]:
        products = lanes.products_per_dsp or 0
        form = f"{min(products, 2)} products, {lanes.columns} columns, {lanes.constant}"
        return (name, form), (f"kind {self.kinds.get(name, '')}", form)


def counted_cost(hardware: Graph, counting: Counting) -> Resources:
    """Return the resources of a HARDWARE graph: counts of units, converters and FIFOs, estimates of the rest."""
    counts = count_units(hardware, jobs=counting.jobs, memory=counting.memory, progress=counting.progress)
    known = {name: result for name, result in counts.items() if isinstance(result, Resources)}
    estimates = total(cost(node, hardware) for node in hardware.nodes if node.name in known)
    return graph_cost(hardware) - estimates + total(known.values())


def _corrected(estimate: Resources, luts: float, ffs: float) -> Resources:
    return replace(estimate, lut=round(estimate.lut * luts), ff=round(estimate.ff * ffs))


def _mapped(problem: Problem, changed: Callable[[Key, Option], Option]) -> Problem:
    decisions = (
        Decision(d.name, tuple(changed((d.name, i), option) for i, option in enumerate(d.options)))
        for d in problem.decisions
    )
    return replace(problem, decisions=tuple(decisions))
