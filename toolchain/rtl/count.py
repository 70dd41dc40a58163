"""LUTs, flip-flops, DSP slices and block RAMs of the units in SystemVerilog, counted by yosys one by one.

Nothing is optimized across units, and nothing is placed. Multipliers that are to lie in DSP slices are modules of their
own (``modules/dsp.sv``) and counted as the slices that hold them; yosys would pack fewer of their additions.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from math import ceil
from operator import index
from pathlib import Path
from typing import Any

from toolchain.errors import FlowError
from toolchain.files import write_text
from toolchain.hls_templates.generate import place_units
from toolchain.hls_templates.streams import Stream
from toolchain.ir.graph import Graph
from toolchain.programs import threads
from toolchain.resources import Resources, multiplier_slices, total
from toolchain.rtl.generate import Module, alone, unit_alone, unit_files, used_modules
from toolchain.rtl.packing import packed_luts
from toolchain.rtl.yosys import demand_yosys, identity, netlists
from toolchain.simulate.cache import cache_folder, in_use, touch
from toolchain.simulate.compiler import digest
from toolchain.units.fabric_costs import fifo as fifo_cost
from toolchain.units.totals import cost

MEMORY_LUTS = {
    **{"SRLC16E": 1, "SRLC32E": 1, "RAM32X1S": 1, "RAM64X1S": 1, "RAM128X1S": 2, "RAM256X1S": 4},
    **{"RAM32X1D": 2, "RAM64X1D": 2, "RAM128X1D": 4, "RAM256X1D": 8, "RAM512X1S": 8},
    **{"RAM32M": 4, "RAM64M": 4, "RAM32M16": 8, "RAM64M8": 8},
}
"""LUTs of a memory cell (AMD UG974); of two SRL16E see ``_shift_luts``."""

TOGETHER = 3000
"""Estimated LUTs of designs that are counted in one run: yosys reads its libraries for three seconds each time."""

MEMORY = 2_000_000_000
"""Bytes that a run may take unless one says otherwise."""


@dataclass(frozen=True)
class Design:
    """A unit, or the FIFO of a stream, by itself: its module ``top``, and its sources with the memories they read.

    ``luts`` are estimated: how long the count will take.
    """

    name: str
    top: str
    files: Mapping[str, str]
    luts: int = 0

    @cached_property
    def digest(self) -> str:
        """Digest of everything that the count depends on; the name has no part in it."""
        parts = (part for path in sorted(self.files) for part in (path, self.files[path]))
        return digest([*identity(), self.top, *parts])


def designs(graph: Graph) -> dict[str, list[Design]]:
    """The designs of every unit of a HARDWARE graph by its node's name: itself and the FIFOs that it writes."""
    found: dict[str, list[Design]] = {}
    for placed in place_units(graph):
        top = f"alone_{placed.name}"
        own = {**unit_files(placed), f"{top}.sv": unit_alone(placed, top)}
        texts = used_modules(text for path, text in own.items() if path.endswith(".sv"))
        unit_design = Design(placed.node.name, top, {**own, **texts}, cost(placed.node, graph).lut)
        found[placed.node.name] = [unit_design, *(_fifo(stream) for stream in placed.outputs)]
    return found


def fifo(depth: int, bits: int, storage: str = "srl") -> Design:
    """A FIFO of ``depth`` words of so many ``bits``; ``storage`` as `toolchain.hls_templates.streams` says."""
    numbers = {"DEPTH": str(depth), "WIDTH": str(bits), "STYLE": f'"{storage}"'}
    unit = Module("a stream", "fifo", "fpgaflow_fifo", numbers, (), ())
    top = f"fifo_{depth}x{bits}_{storage}"  # the same for equal ones, and no other's
    text = alone(top, unit, [bits], [bits])
    return Design(
        f"FIFO of {depth} words", top, {f"{top}.sv": text, **used_modules([text])}, fifo_cost(depth, bits).lut
    )


def _fifo(stream: Stream) -> Design:
    return replace(fifo(stream.depth, stream.bits, stream.storage), name=f"stream {stream.name}")


def count(design: Design, memory: int = MEMORY) -> Resources:
    """Return the resources of ``design``, from the cache if it was counted before; yosys may take ``memory`` bytes.

    Raises:
        UserError: no yosys.
        FlowError: yosys failed or took too much; the design is named.
    """
    demand_yosys()
    with in_use():
        found = known(design)
        if found is None:
            try:
                (found,) = _counted_together([design], memory)
            except FlowError as error:
                raise FlowError(f"yosys failed on {design.name}: {error}") from None
        return found


def known(design: Design) -> Resources | None:
    """Return the resources of ``design`` that the cache holds, or None; a damaged file holds none."""
    path = cached(design)
    try:
        lut, ff, dsp, bram18, uram = map(index, json.loads(path.read_text(encoding="utf-8")))
    except (FileNotFoundError, ValueError, TypeError):
        return None
    touch(path)
    return Resources(lut, ff, dsp, bram18, uram)


def cached(design: Design) -> Path:
    """Return the path of the cache file that holds its count."""
    return cache_folder() / "lib" / f"{design.digest}.json"


def _counted_together(together: Sequence[Design], memory: int) -> list[Resources]:
    """Counts of designs with unlike tops, in one run."""
    sources = {path: text for design in together for path, text in design.files.items()}
    modules = netlists([design.top for design in together], sources, memory)
    found = [module_resources(modules[design.top]) for design in together]
    for design, counts in zip(together, found, strict=True):
        write_text(cached(design), json.dumps(list(counts)))
    return found


def count_units(
    graph: Graph, *, jobs: int = 2, memory: int = MEMORY, progress: Callable[[int, int], None] | None = None
) -> dict[str, Resources | str]:
    """Return each unit's resources with the FIFOs that it writes, by node name; for one that failed, the reason.

    For ``jobs`` and ``memory`` see ``counted``.

    Raises:
        UserError: no yosys.
    """
    wanted = designs(graph)
    found = counted((d for parts in wanted.values() for d in parts), jobs=jobs, memory=memory, progress=progress)
    return {name: _sum([found[design.digest] for design in parts]) for name, parts in wanted.items()}


def counted(
    several: Iterable[Design],
    *,
    jobs: int = 2,
    memory: int = MEMORY,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, Resources | str]:
    """Return each design's resources by digest, or the reason why it failed; equal designs are counted once.

    Each of ``jobs`` runs may take its part of ``memory``; what fails so is tried once more with all of it.

    Raises:
        UserError: no yosys.
    """
    demand_yosys()
    unlike = {design.digest: design for design in several}
    found: dict[str, Resources | str] = {}

    def tell() -> None:
        if progress is not None:
            progress(sum(isinstance(result, Resources) for result in found.values()), len(unlike))

    with in_use():
        tell()
        with threads(jobs) as pool:
            for counts in pool.map(lambda part: _tried(part, memory // jobs), list(_runs(unlike.values()))):
                found |= counts
                tell()
        for failed in [unlike[key] for key, result in found.items() if jobs > 1 and isinstance(result, str)]:
            found |= _tried([failed], memory)
            tell()
    return found


def _runs(unlike: Iterable[Design]) -> Iterator[list[Design]]:
    """Designs to count together: unlike tops, of ``TOGETHER`` LUTs or one."""
    together: list[Design] = []
    for design in unlike:
        tops = {other.top for other in together}
        if together and (design.top in tops or design.luts + sum(other.luts for other in together) > TOGETHER):
            yield together
            together = []
        together.append(design)
    yield from [together] if together else []


def _tried(together: Sequence[Design], memory: int) -> dict[str, Resources | str]:
    """Counts by digest, or why there is none; where a run of several fails, of each by itself."""
    found: dict[str, Resources | str] = {d.digest: counts for d in together if (counts := known(d)) is not None}
    rest = [design for design in together if design.digest not in found]
    try:
        if len(rest) > 1:
            counted = _counted_together(rest, memory)
            return found | {design.digest: counts for design, counts in zip(rest, counted, strict=True)}
    except FlowError:
        pass
    for design in rest:
        try:
            found[design.digest] = count(design, memory)
        except FlowError as error:
            found[design.digest] = str(error)
    return found


def _sum(parts: Sequence[Resources | str]) -> Resources | str:
    failed = [part for part in parts if isinstance(part, str)]
    return failed[0] if failed else total(part for part in parts if isinstance(part, Resources))


def module_resources(module: Mapping[str, Any]) -> Resources:
    """Return the resources of a module of `toolchain.rtl.yosys.netlists`."""
    cells = Counter(cell["type"] for cell in module["cells"].values())
    return Resources(
        lut=packed_luts(module) + _shift_luts(module) + sum(MEMORY_LUTS.get(kind, 0) * n for kind, n in cells.items()),
        ff=sum(n for kind, n in cells.items() if _FLIP_FLOP.fullmatch(kind)),
        dsp=sum(map(_slices, module["cells"].values())),
        bram18=cells["RAMB18E2"] + 2 * cells["RAMB36E2"],
        uram=cells["URAM288"] + cells["URAM288_BASE"],
    )


def _shift_luts(module: Mapping[str, Any]) -> int:
    """LUTs of the SRL16E: one holds two that have their clock, enable and address in common (AMD UG574)."""
    shared = ("CLK", "CE", "A0", "A1", "A2", "A3")
    wires = (cell["connections"] for cell in module["cells"].values() if cell["type"] == "SRL16E")
    return sum(ceil(n / 2) for n in Counter(tuple(nets[port][0] for port in shared) for nets in wires).values())


_FLIP_FLOP = re.compile(r"FD[CPRS]E(_1)?")


def _slices(cell: Mapping[str, Any]) -> int:
    """DSP slices of a cell."""
    kind: str = cell["type"]
    if kind == "DSP48E2":
        return 1
    if "fpgaflow_dsp_" not in kind:
        return 0
    if "fpgaflow_dsp_product" not in kind:
        return 1  # products that a plan packs or chains fit a slice
    return multiplier_slices(len(cell["connections"]["a"]), len(cell["connections"]["b"]))
