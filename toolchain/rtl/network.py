"""A product with constants in SystemVerilog: its additions in a pipeline, two of them one behind the other a stage."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil

from toolchain.units.adder_graph import AdderGraph
from toolchain.units.fabric_costs import SUMS_A_STAGE


@dataclass(frozen=True)
class Operand:
    """Input or sum ``number``, ``waits`` registers later than it was computed."""

    number: int
    waits: int


@dataclass(frozen=True)
class Timed:
    """The timing of an adder network: the step of each number, and the operands that wait.

    ``operands`` has a pair for every sum, ``outputs`` one operand or None for every output; ``waiting`` lists every
    operand that waits.
    """

    steps: int
    operands: tuple[tuple[Operand, Operand], ...]
    outputs: tuple[Operand | None, ...]

    @property
    def waiting(self) -> tuple[Operand, ...]:
        """The operands that wait, each once."""
        every = [*(o for pair in self.operands for o in pair), *(o for o in self.outputs if o is not None)]
        return tuple(dict.fromkeys(o for o in every if o.waits))


def _levels(network: AdderGraph) -> list[int]:
    """Additions one behind the other up to every number."""
    levels = [0] * network.inputs
    for each in network.sums:
        levels.append(1 + max(levels[each.left], levels[each.right]))
    return levels


def network_steps(network: AdderGraph) -> int:
    """Registers between the inputs and the outputs."""
    return ceil(max(_levels(network)) / SUMS_A_STAGE)


def timed(network: AdderGraph) -> Timed:
    """``network`` in its pipeline."""
    times = [max(ceil(level / SUMS_A_STAGE) - 1, 0) for level in _levels(network)]
    steps = network_steps(network)
    own = times[network.inputs :]
    operands = tuple(
        (Operand(each.left, at - times[each.left]), Operand(each.right, at - times[each.right]))
        for each, at in zip(network.sums, own, strict=True)
    )
    outputs = tuple(None if o.source is None else Operand(o.source, steps - times[o.source]) for o in network.outputs)
    return Timed(steps, operands, outputs)
