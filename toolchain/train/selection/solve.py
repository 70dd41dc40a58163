"""The best selection of channels in a given time, from three programs."""

from __future__ import annotations

import math
import time
from typing import Literal

from toolchain.train.selection.counts import best_channels, solve_counts
from toolchain.train.selection.cpsat import solve as solve_cpsat
from toolchain.train.selection.highs import solve_highs
from toolchain.train.selection.program import ChannelProgram, Choice, Kept, counts_of

_COUNTS_SHARE = 0.75  # share of the time for the program over counts; small ones need next to none


def solve(program: ChannelProgram, seconds: float, solver: Literal["highs", "cpsat", "greedy"] = "highs") -> Choice:
    """The best selection found in ``seconds``, at least as good as the greedy one; or that one itself.

    Raises:
        UserError: a limit cannot be met, or the solver is not installed.
    """
    program.check()
    start, kept = time.monotonic(), program.greedy()
    if solver == "greedy":
        return Choice(kept, program.objective(kept), program.objective({}), time.monotonic() - start)
    kept = _better(program, kept, best_channels(program, counts_of(kept), kept))
    counts, bound = solve_counts(program, _COUNTS_SHARE * seconds)
    if counts is not None:
        kept = _better(program, kept, best_channels(program, counts, kept))
    value, rest = program.objective(kept), seconds - (time.monotonic() - start)
    found, other = solve_cpsat(program, kept, rest) if solver == "cpsat" else solve_highs(program, value, rest)
    kept = _better(program, kept, found)
    value, bounds = program.objective(kept), (bound, other, program.objective({}))
    return Choice(kept, value, max(value, min(b for b in bounds if b < math.inf)), time.monotonic() - start)


def _better(program: ChannelProgram, kept: Kept, found: Kept) -> Kept:
    """Return ``found`` if it is a selection within the limits that is worth more, else ``kept``."""
    whole = all(len(found[name]) in program.allowed(name) for name in program.free)
    if whole and program.fits(counts_of(found)) and program.objective(found) > program.objective(kept):
        return found
    return kept
