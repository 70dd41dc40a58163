"""The engines an integer program chooses from: what their maps, weights and passes take."""

from __future__ import annotations

from dataclasses import dataclass, replace

from toolchain.engine.layers import Cut
from toolchain.engine.maps import Lifetime, lifetimes
from toolchain.engine.options import ConvolutionOption, EngineOptions, Tiling, UnitOption
from toolchain.engine.schedule import BEAT_BYTES, PASS_CYCLES, Places
from toolchain.engine.shape import Shape
from toolchain.engine.timing import idle_cycles, timings
from toolchain.resources import Resources, total


@dataclass(frozen=True)
class Budget:
    """The resources that an engine may take, and the bytes that its memory moves a clock cycle."""

    resources: Resources
    bytes_per_cycle: float
    prefetch: bool = True
    """Whether weights are loaded while the pass before runs; else their time is added, for comparison."""


def places_of(cut: Cut, index: int, inside: frozenset[str]) -> Places:
    """Return which maps of pass ``index`` lie in memory; those in ``inside`` are on the chip."""
    p = cut.passes[index]
    return Places(
        p.source not in inside, p.merge is not None and p.merge.residual not in inside, p.stored not in inside
    )


def weight_cycles(tiling: Tiling, index: int, bytes_per_cycle: float) -> float:
    """Cycles that the weights of a pass take on the memory port, without any map."""
    places = Places(False, False, False)
    return tiling.schedules[index].beats(places, tiling.following(index))["weights"] * BEAT_BYTES / bytes_per_cycle


def start_cycles(tiling: Tiling, budget: Budget) -> float:
    """Cycles in front of the passes: the first weights, and all of them where they do not come in meanwhile."""
    first = timings(tiling.schedules[:1], [Places(True, False, True)], budget.bytes_per_cycle)[0].cycles
    passes = 0 if budget.prefetch else len(tiling.schedules)
    return first + sum(weight_cycles(tiling, i, budget.bytes_per_cycle) for i in range(passes))


def least_cycles(tiling: Tiling, budget: Budget) -> float:
    """Bound the cycles of every engine with ``tiling`` from below, whatever its other units and maps are."""
    pairs = enumerate(tiling.cycles)
    return sum(
        (max(n, weight_cycles(tiling, i, budget.bytes_per_cycle)) + PASS_CYCLES for i, n in pairs),
        start=start_cycles(tiling, budget),
    )


@dataclass(frozen=True)
class Candidates:
    """The engines of one number of lanes, and what a frame takes on each."""

    cut: Cut
    options: EngineOptions
    budget: Budget

    def memory_time(self, convolution: ConvolutionOption, index: int) -> float:
        """Return the cycles of the memory port for a pass's weights and for reading its source again.

        Only a source that no bank can hold is read again, from its second reading on.
        """
        s, rate = convolution.tiling.schedules[index], self.budget.bytes_per_cycle
        again = s.source_groups * (s.reads - 1) if s.p.outside else 0
        return weight_cycles(convolution.tiling, index, rate) + again * BEAT_BYTES / rate

    def map_time(self, index: int) -> tuple[float, float, float]:
        """Cycles that source, residual and result of a pass take, each read or written once."""
        s = self.options.convolutions[0].tiling.schedules[index]
        beats = replace(s, tiles=1, groups=1 << 20).beats(Places(True, True, True))
        rate = BEAT_BYTES / self.budget.bytes_per_cycle
        return beats["source"] * rate, beats["residual"] * rate, beats["result"] * rate

    def idle(self, window: UnitOption, index: int) -> int:
        """Cycles of a pass in which not all units run, without those that wait for constants."""
        s = replace(self.options.convolutions[0].tiling.schedules[index], shape=self._windowed(window))
        return idle_cycles(s) - s.preload

    def _windowed(self, window: UnitOption) -> Shape:
        return replace(self.options.convolutions[0].tiling.schedules[0].shape, taps=window.shape.taps)

    def fits(self, *chosen: UnitOption) -> bool:
        """Return whether the choices fit the budget together."""
        return total((self.options.fixed, *(o.resources for o in chosen))).fits(self.budget.resources)

    def lives(self) -> list[Lifetime]:
        """The maps that can stay on the chip."""
        return lifetimes(self.cut, self.options.base)

    def cycles_of(self, convolution: ConvolutionOption, window: UnitOption, inside: frozenset[str]) -> float | None:
        """Cycles a frame; None where a map that must stay on the chip does not."""
        rate = self.budget.bytes_per_cycle
        places = [places_of(self.cut, i, inside) for i in range(len(self.cut.passes))]
        if any(places[i].source for i in convolution.tiling.source_inside) or any(
            places[i].result for i in convolution.tiling.result_inside
        ):
            return None
        schedules = [replace(s, shape=replace(s.shape, taps=window.shape.taps)) for s in convolution.tiling.schedules]
        passes = timings(schedules, places, rate)[1:]
        return sum(t.cycles for t in passes) + start_cycles(convolution.tiling, self.budget)
